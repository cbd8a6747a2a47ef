"""When vendors are really asked: their own request logs, over refusals, restarts and neighbours."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exporter.polling import schedule
from exporter.simulator.server import LoggedRequest, Service
from exporter.simulator.traffic import Traffic
from tests.faults.bench import Bench, Samples
from tests.support.virtual import run_virtual

pytestmark = pytest.mark.slow
SETTINGS = {"interval": "1m", "slow_interval": "2m", "lookback": "2h", "zero_hold": "1s"}
PROBE_MS = 300_000
HOURS = "/api/insights"


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the jitter away, so that two runs can be compared to the millisecond."""
    monkeypatch.setattr(schedule, "JITTER", 0.0)


def asked(service: Service, path: str | None = None) -> list[LoggedRequest]:
    """Return the requests in the order in which they arrived."""
    found = [seen for seen in service.requests if path in (None, seen.path)]
    return sorted(found, key=lambda seen: seen.at_ms)


def refused(bench: Bench, status: int) -> Callable[[], bool]:
    return lambda: any(seen.status == status for seen in bench.service.requests)


def measures(name: Any) -> Callable[[Any], bool]:
    """Return whether a Voiceflow call asks for the query ``name``."""
    return lambda call: call.body["data"]["name"] == name


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
async def test_retry_after_keeps_the_whole_target_quiet_until_then(
    as_date: bool,
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        bench.service.faults.on("throttled", times=1, retry_after=400, as_date=as_date)
        await bench.until(refused(bench, 429), 200)
        await bench.wait(700)
    log = asked(bench.service)
    number = [seen.status for seen in log].index(429)
    quiet_ms = log[number + 1].at_ms - log[number].at_ms
    assert 399_000 <= quiet_ms <= 410_000  # a date has whole seconds
    assert {seen.path for seen in log[number + 1 :]} >= {HOURS, f"{HOURS}/top_flows"}
    assert bench.own("throttled_total") == 1


async def test_a_refused_key_opens_the_circuit_at_once_and_success_closes_it(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        assert bench.own("circuit_open") == 0

        bench.service.faults.on("unauthorized", when=lambda call: call.path == HOURS)
        await bench.until(refused(bench, 401), 200)
        await bench.wait(1)
        assert bench.own("circuit_open") == 1

        await bench.wait(2 * PROBE_MS / 1000)
        bench.service.faults.off("unauthorized")
        await bench.wait(PROBE_MS / 1000 + 15)
        assert bench.own("circuit_open") == 0
        assert bench.all_polled()
        await bench.wait(150)
    log = asked(bench.service, HOURS)
    first = [seen.status for seen in log].index(401)
    probes = log[first : first + 4]
    assert [seen.status for seen in probes] == [401, 401, 401, 200]
    gaps = [later.at_ms - earlier.at_ms for earlier, later in pairwise(probes)]
    assert all(PROBE_MS <= gap < PROBE_MS + 6_000 for gap in gaps)
    assert log[first + 4].at_ms - log[first + 3].at_ms < 65_000


@pytest.mark.usefixtures("steady")
def test_a_restart_never_shortens_an_interval(tmp_path: Path) -> None:
    def log(name: str, restarts: int) -> list[tuple[int, str]]:
        folder = tmp_path / name
        folder.mkdir()
        bench = Bench(folder, ["flowxo"], SETTINGS | {"interval": "5m", "slow_interval": "7m"})

        async def main() -> None:
            for _ in range(restarts + 1):
                async with bench.running():
                    await bench.wait(1_400 / (restarts + 1))

        run_virtual(main(), bench.clock)
        return [(seen.at_ms, seen.path) for seen in asked(bench.service)]

    plain = log("plain", 0)

    assert len([path for _, path in plain if path == HOURS]) >= 5
    assert log("restarted", 12) == plain


Lived = tuple[list[tuple[int, str]], list[Samples]]


def lived(folder: Path, neighbours: Mapping[str, str]) -> tuple[Lived, dict[str, float]]:
    """Return all that is seen of a healthy target, and how often each neighbour failed."""
    folder.mkdir()
    bench = Bench(folder, ["flowxo", *neighbours], SETTINGS)
    seen: list[Samples] = []

    async def main() -> None:
        for name, fault in neighbours.items():
            bench.services[name].faults.on(fault)
        async with bench.running():
            for _ in range(40):
                bench.vendor.release()
                bench.vendor.hold()
                await bench.wait(15)
                seen.append(of_target(bench.scraped, "flowxo"))

    run_virtual(main(), bench.clock)
    log = [(one.at_ms, one.path) for one in asked(bench.services["flowxo"])]
    failures = {name: bench.own("poll_failures_total", target=name) for name in neighbours}
    return (log, seen), failures


def of_target(samples: Samples, target: str) -> Samples:
    return {key: value for key, value in samples.items() if ("target", target) in key[1]}


@pytest.mark.usefixtures("steady")
def test_a_hanging_and_a_failing_target_change_nothing_of_a_healthy_third(tmp_path: Path) -> None:
    (log, samples), _ = lived(tmp_path / "alone", {})

    beside, failures = lived(tmp_path / "beside", {"voiceflow": "hang", "inkeep": "server_error"})

    assert all(number >= 3 for number in failures.values())
    assert len(log) > 15
    # A neighbour's end may let the poller look up to 50 ms sooner than it would have.
    assert [path for _, path in beside[0]] == [path for _, path in log]
    assert [at for at, _ in beside[0]] == pytest.approx([at for at, _ in log], abs=100)
    for there, here in zip(beside[1], samples, strict=True):
        assert there == pytest.approx(here, rel=0, abs=0.1)


async def test_a_failing_query_does_not_stop_its_targets_others(tmp_path: Path) -> None:
    queries = {"queries": ["interactions", "function_usage"]}
    bench = Bench(tmp_path, ["voiceflow"], SETTINGS | queries, Traffic(7, per_hour=120))
    calls = "chatbot_function_calls_total"

    bench.service.faults.on("server_error", when=measures("interactions"))
    from_ms = bench.vendor.hold()
    async with bench.running():
        await bench.until(lambda: bench.own("target_up", query="function_usage/shop") == 1, 120)
        bench.vendor.release()
        await bench.wait(900)
        to_ms = bench.vendor.hold()
        await bench.wait(150)
        truth = bench.truth("voiceflow", from_ms, to_ms)
        counted = bench.counted("voiceflow", truth)
    assert truth[calls] > 5
    assert counted[calls] == truth[calls]
    assert bench.own("circuit_open") == 1
    assert bench.values("chatbot_exporter_target_up", query="interactions/shop") == [0]
    assert bench.own("poll_failures_total", query="function_usage/shop") == 0
