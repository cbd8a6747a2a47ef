"""What the exporter's own arithmetic costs, in processor time of this process, without polls."""

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from exporter.exposition.engagement import EngagementGauges
from exporter.http_client.client import decode
from exporter.ledger.rows import Applied
from exporter.model import families
from exporter.model.query import QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, CountRow, Reading, Window, floor_to
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import iso
from exporter.providers.manifest.mapping import Collector
from exporter.providers.manifest.provider import ManifestReader
from exporter.providers.voiceflow.mapping import (
    USAGES,
    ProjectScope,
    UsagePage,
    VoiceflowAnswer,
    collect_usage,
)
from tests.engagement.bots import drawn, means, rhythm
from tests.providers.manifest.test_shipped import MANIFESTS
from tests.providers.vendor import build_target
from tests.support.builders import RECEIVED, received, spec
from tests.support.driver import LedgerDriver, engagement_of
from tests.support.virtual import START_MS

BOTS, LEARNT_H = 50, 35 * 24
END_MS = floor_to(START_MS, HOUR_MS)
SERIES, APPLIED_H = 200, 50
APPLIED = Window(END_MS - APPLIED_H * HOUR_MS, END_MS)
PAGE_H, ROWS_AN_HOUR = 100, 50
OF_PAGE = Window(END_MS - PAGE_H * HOUR_MS, END_MS)


def engagement(targets: int) -> dict[str, float]:
    """Return what expected engagement costs where five weeks are known of each bot.

    Targets of 50 bots. ``cpu_s_a_day``: each bot is learnt once and judged every hour, read from an
    SQLite ledger and put on the page. ``kib_a_bot``: how much the process has grown by it.
    """
    specs = [spec(target=f"shop-{n}", lookback_ms=35 * DAY_MS) for n in range(targets)]
    with tempfile.TemporaryDirectory() as folder, LedgerDriver(Path(folder), *specs) as driver:
        _poll(driver, LEARNT_H)
        gauges = engagement_of(driver)
        before = _resident()
        learnt_s = _worked(gauges, driver)
        grown = _resident() - before
        driver.clock.advance(3600)
        _poll(driver, 2)
        judged_s = _worked(gauges, driver)
        assert sum(len(bot.scores) for bot in gauges.bots) == targets * BOTS * 6
    bots = targets * BOTS
    return {
        "cpu_s_a_day": learnt_s + 23 * judged_s,
        "cpu_ms_learnt": (learnt_s - judged_s) / bots * 1000,
        "cpu_ms_judged": judged_s / bots * 1000,
        "kib_a_bot": grown / bots / 1024,
    }


def _poll(driver: LedgerDriver, newest: int) -> None:
    """Let every target read its bots' newest hours, all of one bot's course."""
    course = drawn(means(rhythm(2_000), LEARNT_H + 2))
    end_ms = floor_to(driver.clock.now_ms(), HOUR_MS)
    first = LEARNT_H + (end_ms - END_MS) // HOUR_MS - newest
    for _ in driver.specs:
        counts = [
            (received(project=f"bot-{bot}"), end_ms - (newest - at) * HOUR_MS, course[first + at])
            for bot in range(BOTS)
            for at in range(newest)
        ]
        window = Window(end_ms - newest * HOUR_MS, end_ms)
        driver.poll(counts=counts, window=window)


def _worked(gauges: EngagementGauges, driver: LedgerDriver) -> float:
    gauges.restart({each.key: each for each in driver.specs})
    gauges.note(*(each.key for each in driver.specs))
    before = time.process_time()
    asyncio.run(gauges.work())
    return time.process_time() - before


def _resident() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def ledger(rounds: int) -> dict[str, float]:
    """Return processor milliseconds of an applied poll of 10,000 buckets, by what it changed.

    200 series of 50 hours each on SQLite, as one reading, with the commit; medians of the rounds,
    which are interleaved.
    """
    taken: dict[str, list[float]] = {name: [] for name in _readings(0)}
    with tempfile.TemporaryDirectory() as folder:
        query = spec(caps={RECEIVED: SERIES}, lookback_ms=APPLIED_H * HOUR_MS)
        driver = LedgerDriver(Path(folder), query)
        _apply(driver, _rows(0, range(APPLIED_H)))
        for number in range(rounds):
            for name, rows in _readings(number).items():
                taken[name].append(_apply(driver, rows))
        driver.close()
    return {f"cpu_ms_{name}": statistics.median(times) for name, times in taken.items()}


def _readings(number: int) -> Mapping[str, Sequence[CountRow]]:
    """Return a round's readings in the order in which they are applied."""
    every, newest = range(APPLIED_H), range(APPLIED_H - 1, APPLIED_H)
    return {
        "all_changed": _rows(2 * number + 1, every),
        "nothing_changed": _rows(2 * number + 1, every),
        "newest_hour_changed": _rows(2 * number + 1, every, newest),
    }


def _rows(step: int, hours: range, grown: range = range(0)) -> list[CountRow]:
    """Return rows by hour as vendors give them, each with labels of its own; none is 0."""
    return [
        (
            (RECEIVED, (f"project-{number % 10}", "main", f"channel-{number}")),
            APPLIED.start_ms + hour * HOUR_MS,
            float(100 + number + step + (hour in grown)),
        )
        for hour in hours
        for number in range(SERIES)
    ]


def _apply(driver: LedgerDriver, rows: Sequence[CountRow]) -> float:
    claim = driver.claim()
    reading = Reading(APPLIED, counts=rows)
    before = time.process_time()
    applied: Applied = driver.apply_last(claim, reading)
    taken = (time.process_time() - before) * 1000
    if applied.held or applied.rows != SERIES * APPLIED_H:
        raise AssertionError(applied)
    return taken


def page() -> bytes:
    """Return a page of 5,000 rows of Voiceflow, each with its own labels and hour."""
    rows = [
        {
            "period": iso(OF_PAGE.start_ms + hour * HOUR_MS),
            "projectID": "p",
            "environmentID": f"e{number % 5}",
            "type": f"t{number // 5}",
            "count": number,
        }
        for hour in range(PAGE_H)
        for number in range(ROWS_AN_HOUR)
    ]
    return msgspec.json.encode({"result": {"items": rows}})


def by_provider(body: bytes, spec: QuerySpec) -> Reading:
    """Return the reading of a page as the provider makes it."""
    items = decode(body, VoiceflowAnswer[UsagePage], "POST /v2/query/usage").result.items
    rows = Rows(OF_PAGE, spec, {})
    collect_usage(items, rows, usage=USAGES["interactions"], scope=ProjectScope("p"))
    return rows.reading()


def by_manifest(body: bytes, query: ManifestReader) -> Reading:
    """Return the reading of the same page as a manifest makes it."""
    answer = decode(body, query.query.program.answer, "POST /v2/query/usage")
    rows = Rows(OF_PAGE, query.spec, {})
    collector = Collector(query.query, query.spec, rows, OF_PAGE.end_ms)
    collector.add([answer], OF_PAGE)
    collector.finish()
    return rows.reading()


def manifest_query() -> ManifestReader:
    """Return the query of the test suite's Voiceflow manifest."""
    built = build_target(
        provider="manifest",
        manifest=str(MANIFESTS / "voiceflow.yaml"),
        secrets={"key": "k"},
        variables={"project": "p", "alias": "p"},
    )
    (query,) = built.queries
    assert isinstance(query, ManifestReader)
    return query


def manifest(rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of CPU of a page by manifest, and by a provider in Python, in turns."""
    body, query = page(), manifest_query()
    ways = partial(by_manifest, body, query), partial(by_provider, body, query.spec)
    one, two = (sorted(way().counts) for way in ways)
    assert one == two
    assert len(one) == PAGE_H * ROWS_AN_HOUR
    assert {series[0] for series, _, _ in one} == {families.INTERACTIONS.name}
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, way in zip(found, ways, strict=True):
            times.append(_cpu_ms(way))
    return found


def _cpu_ms(way: Callable[[], Reading]) -> float:
    started = time.process_time()
    way()
    return (time.process_time() - started) * 1000
