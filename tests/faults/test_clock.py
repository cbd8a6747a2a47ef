"""The wall clock is set forward and back: polling goes on, and no count is wrong."""

from pathlib import Path

import pytest

from exporter import app
from tests.faults.bench import PREFIX, Bench

HOUR_MS = 3_600_000
SETTINGS = {"interval": "1m", "slow_interval": "2m", "lookback": "4h", "zero_hold": "1s"}
STEPS = {
    "an hour ahead, an hour back, and corrected": [1, -1, -1, 1],
    "a day back and corrected": [-24, 24],
}


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the clock less often than in reality: these tests last for hours of virtual time."""
    monkeypatch.setattr(app, "TICK_S", 5)


@pytest.mark.slow
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("kind", ["flowxo", "chatlayer"])
async def test_a_step_of_the_clock_stops_no_poll_and_changes_no_count(
    kind: str, steps: list[int], tmp_path: Path
) -> None:
    bench = Bench(tmp_path, [kind], SETTINGS, scrape_s=30)
    late: list[float] = []

    from_ms = bench.vendor.hold()
    async with bench.running():
        await bench.begin()
        for hours in steps:
            await bench.wait(240)
            bench.clock.step(hours * HOUR_MS)
            requests = len(bench.service.requests)
            since_s = bench.clock.monotonic()
            await bench.until(lambda: len(bench.service.requests) > requests, 120)  # noqa: B023
            late.append(bench.clock.monotonic() - since_s)
        await bench.wait(240)
        to_ms = bench.vendor.hold()
        await bench.wait(240)
        assert bench.all_polled()
        assert bench.own("clock_steps_total") == len(steps)
        truth = bench.truth(kind, from_ms, to_ms)
        assert sum(truth.values()) > 5
        assert bench.counted(kind, truth) == truth
    assert max(late) <= 90
    assert bench.falls == set()


async def test_polls_keep_their_claims_when_the_clock_is_set_forward(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ["flowxo"], {"interval": "1m", "slow_interval": "1h"}, scrape_s=30)
    bench.service.faults.on("slow", times=1, seconds=25)

    async with bench.running():
        await bench.wait(10)
        bench.clock.step(HOUR_MS)
        await bench.wait(30)
        assert bench.own("claims_lost_total") == bench.own("poll_failures_total") == 0
        assert bench.values(PREFIX + "target_up", query="hourly") == [1]


async def test_quiet_that_was_asked_for_while_the_clock_was_ahead_ends_when_it_is_set_back(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS | {"slow_interval": "30m"})

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        await bench.wait(70)
        bench.service.faults.on("throttled", times=1, retry_after=3600)
        bench.clock.step(240 * HOUR_MS)
        await bench.until(lambda: bench.own("throttled_total") == 1, 120)
        bench.clock.step(-240 * HOUR_MS)
        requests = len(bench.service.requests)
        await bench.wait(30)
        asked = {seen.path for seen in bench.service.requests[requests:]}
        assert asked >= {"/api/insights", "/api/insights/top_flows"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flowxo", "chatlayer"])
async def test_a_clock_that_was_set_back_while_the_exporter_was_down_is_noticed_at_its_start(
    kind: str, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, [kind], SETTINGS, scrape_s=30)

    from_ms = bench.vendor.hold()
    async with bench.running():
        await bench.begin()
        await bench.wait(600)
    bench.clock.step(-HOUR_MS)
    requests = len(bench.service.requests)
    bench.scraped.clear()
    async with bench.running():
        await bench.wait(15)
        assert len(bench.service.requests) > requests
        assert bench.own("clock_steps_total") == 1
        await bench.wait(240)
        bench.clock.step(HOUR_MS)
        to_ms = bench.vendor.hold()
        await bench.wait(240)
        truth = bench.truth(kind, from_ms, to_ms)
        assert bench.counted(kind, truth) == truth
