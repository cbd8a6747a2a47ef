"""The past that a first start reads: five weeks within a minute, and none of it counts."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from exporter.ledger import slices
from exporter.model.samples import DAY_MS, HOUR_MS
from exporter.polling import schedule
from exporter.providers.base.times import parse_instant
from exporter.simulator import SIMULATORS
from exporter.simulator.traffic import Traffic
from tests.faults.bench import Bench, case_of
from tests.support.virtual import run_virtual

PACES = {"voiceflow": 5, "inkeep": 2, "flowxo": 2, "chatlayer": 5, "xenioo": 0}
DAYS = {"xenioo": 29}  # of 30 asked for, what is whole however the vendor counts days


def floors(bench: Bench) -> dict[str, int]:
    """Return from when on each bucketed query's hours are known."""
    with closing(sqlite3.connect(bench.folder / "ledger.db")) as ledger:
        return dict(ledger.execute("SELECT name, floor_ms FROM query JOIN slice ON query_id = id"))


def stored(bench: Bench, family: str, from_ms: int, until_ms: int) -> float:
    """Return what the ledger holds of ``family`` in hours between two instants."""
    with closing(sqlite3.connect(bench.folder / "ledger.db")) as ledger:
        found = ledger.execute(
            "SELECT sum(obs) FROM bucket JOIN series ON id = series_id"
            " WHERE family = ? AND start_ms >= ? AND start_ms < ?",
            (family, from_ms, until_ms),
        )
        ((total,),) = found.fetchall()
        return float(total or 0)


def happened(bench: Bench, name: str, family: str, from_ms: int, until_ms: int) -> int:
    kind, attributes = case_of(name).counts[family]
    return bench.traffic.truth(kind, (from_ms, until_ms), bench.vendor.now_ms(), **attributes)


async def last_read(bench: Bench, name: str) -> int:
    """Poll for a while; return as of when the vendor was read last."""
    if name == "xenioo":  # which is read once an hour
        await bench.wait(190 * 60)
        return max(seen.at_ms for seen in bench.service.requests if seen.rows)
    await bench.wait(900)
    until_ms = bench.vendor.hold()
    await bench.wait(900)
    return until_ms


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SIMULATORS))
async def test_five_weeks_are_known_within_a_minute_and_counters_begin_at_zero(
    name: str, tmp_path: Path
) -> None:
    own: dict[str, str] = {} if name == "xenioo" else {"interval": "5m"}
    pace = {"requests_per_second": PACES[name], "lookback": "4h", "initial_lookback": "35d"} | own
    bench = Bench(tmp_path, [name], pace, Traffic(7, per_hour=2), scrape_s=300)
    first_ms = bench.vendor.hold()

    async with bench.running():
        await bench.wait(60)
        assert set(bench.counters().values()) == {0}
        oldest_ms = first_ms - DAYS.get(name, 35) * DAY_MS
        assert max(floors(bench).values()) <= oldest_ms + 12 * HOUR_MS
        days = (first_ms - oldest_ms) / DAY_MS
        assert min(bench.values("chatbot_exporter_history_days")) >= days - 0.5
        bench.vendor.release()
        grown = bench.truth(name, first_ms, await last_read(bench, name))
        assert bench.counted(name, grown) == grown
    assert not bench.falls
    assert any(grown.values())
    families, truth = grown.keys() - case_of(name).streamed, Counter[str]()
    from_ms, until_ms = ((first_ms // DAY_MS - back) * DAY_MS for back in (28, 0))
    for day_ms in range(from_ms, until_ms, DAY_MS):  # whose hours are made up once for all families
        for family in families:
            truth[family] += happened(bench, name, family, day_ms, day_ms + DAY_MS)
    for family in families:
        assert stored(bench, family, from_ms, until_ms) == truth[family]


def is_old(window: Mapping[str, str], now_ms: int) -> bool:
    """Say whether a request asks for the past."""
    return parse_instant(window["end"]) < now_ms - 2 * HOUR_MS


def live_polls(folder: Path, history: str | int) -> list[int]:
    """Return when hours were polled live, by a vendor that answers nothing of the past."""
    folder.mkdir()
    own = {"interval": "20s", "slow_interval": "1h", "lookback": "4h", "initial_lookback": history}
    bench = Bench(folder, ["flowxo"], own, Traffic(None), scrape_s=60)
    service = bench.service
    service.faults.on("hang", when=lambda call: is_old(call.params, call.now_ms))

    async def main() -> None:
        async with bench.running():
            await bench.wait(300)

    run_virtual(main(), bench.clock)
    hours = [seen for seen in service.requests if seen.path == "/api/insights"]
    assert any(is_old(seen.params, seen.at_ms) for seen in hours) is bool(history)
    return [seen.at_ms for seen in hours if not is_old(seen.params, seen.at_ms)]


@pytest.mark.slow
def test_a_past_that_hangs_delays_no_live_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "JITTER", 0.0)

    with_history, without = live_polls(tmp_path / "a", "35d"), live_polls(tmp_path / "b", 0)

    assert len(with_history) == len(without) >= 15
    assert max(abs(a - b) for a, b in zip(with_history, without, strict=True)) <= 100


@pytest.mark.slow
async def test_a_past_that_always_has_to_give_way_has_its_turn_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "STARVED_MS", 300_000)
    own = {"interval": "20s", "slow_interval": "1h", "lookback": "4h", "initial_lookback": "14d"}
    bench = Bench(tmp_path, ["flowxo"], own, Traffic(None), scrape_s=600)
    bench.service.faults.on("slow", seconds=25)  # the next slot is sooner than a slice is read

    async with bench.running():
        await bench.wait(660)
    seen = bench.service.requests
    hours = [each for each in seen if each.path == "/api/insights" and each.status == 200]
    old = [each for each in hours if is_old(each.params, each.at_ms)]
    assert 1 <= len(old) <= 2
    assert len(hours) > 6 * len(old)
