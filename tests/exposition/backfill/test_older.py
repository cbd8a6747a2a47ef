"""What the vendor is asked for before the ledger's past, and what of it is written."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from exporter.errors import BudgetSpent
from exporter.exposition.backfill.older import MissingPast, OlderBuckets, OlderReader
from exporter.exposition.backfill.source import LedgerPast, PastKind
from exporter.format import stamp
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.ledger.rules import ALL, TARGET, Room
from exporter.model.query import Budget, PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Readings, Series, Window
from exporter.providers.base.plugin import CustomQuery
from exporter.simulator import SIMULATORS
from exporter.simulator.traffic import Traffic
from tests.exposition.backfill import scene
from tests.exposition.backfill.scene import END_MS, FAMILIES, Scene, samples
from tests.providers.vendor import build_target
from tests.support.builders import spec
from tests.support.virtual import START_MS, VirtualClock

RECEIVED = "chatbot_messages_received_total"
PERIOD = "chatbot_period_messages_received{"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene.lived(tmp_path_factory.mktemp("ledger"), 11) as made:
        yield made


@pytest.fixture
def past(lived: Scene) -> Iterator[LedgerPast]:
    found = lived.opened()
    yield found
    lived.service.faults.off("refused")
    lived.service.faults.off("unavailable")
    found.close()


async def unspent(_budget: Budget | None) -> None:
    """Take nothing."""


def asked(lived: Scene, past: LedgerPast, since_ms: int) -> list[str]:
    """Let the past begin at ``since_ms``; return what went wrong."""
    buckets = OlderBuckets()
    reader = OlderReader(lived.clock, Transport(lived.transport()), unspent, FAMILIES, buckets)
    problems = asyncio.run(reader.read([lived.target], past.missing(Window(since_ms, END_MS))))
    past.put_before(buckets)
    return problems


def grown(lines: list[str], family: str) -> float:
    """Return by how much all series of a family grew, as ``increase()`` has it: from 0 on."""
    before: dict[str, float] = {}
    total = 0.0
    for line in lines:
        series, value, _ = line.rsplit(" ", 2)
        if line.startswith(family):
            was, now = before.get(series, 0.0), float(value)
            total += now - was if now >= was else now
            before[series] = now
    return total


@pytest.mark.parametrize("family", [RECEIVED, "chatbot_flow_triggers_total"])
def test_counters_grow_by_what_happened_before_the_ledger_began(
    lived: Scene, past: LedgerPast, family: str
) -> None:
    since_ms = lived.floor_ms - 2 * DAY_MS
    known = grown([*samples(lived.backfilled([PastKind.COUNTERS]))], family)

    assert asked(lived, past, since_ms) == []
    whole = grown([*samples(lived.written(past, [PastKind.COUNTERS]))], family)

    earlier = [at for at in lived.happened(family, since_ms) if at < lived.floor_ms]
    assert whole - known == len(earlier) > 20


def test_the_part_that_the_ledger_knows_is_the_same_with_it(lived: Scene, past: LedgerPast) -> None:
    alone = [*samples(lived.backfilled([PastKind.COUNTERS]))]

    asked(lived, past, lived.floor_ms - DAY_MS)

    whole = [*samples(lived.written(past, [PastKind.COUNTERS]))]
    later = [line for line in whole if float(line.split()[-1]) * 1000 >= lived.floor_ms]
    first = {line.split()[0]: float(line.split()[-1]) for line in reversed(alone)}
    assert [line for line in later if float(line.split()[-1]) >= first[line.split()[0]]] == alone
    assert len(whole) > len(later)


def test_period_gauges_reach_as_far(lived: Scene, past: LedgerPast) -> None:
    asked(lived, past, lived.floor_ms - DAY_MS)

    text = lived.written(past, [PastKind.PERIODS])

    instants = [float(line.split()[-1]) for line in samples(text) if line.startswith(PERIOD)]
    assert min(instants) * 1000 < lived.floor_ms - 20 * HOUR_MS


def test_the_vendor_is_asked_once_and_not_for_what_the_ledger_knows(
    lived: Scene, past: LedgerPast
) -> None:
    before = len(lived.service.requests)
    since_ms = lived.floor_ms - 10 * DAY_MS
    (missing,) = past.missing(Window(since_ms, END_MS)).values()

    asked(lived, past, since_ms)

    own = lived.service.requests[before:]
    assert len(own) == missing.calls(lived.clock.now_ms()) == 2  # weeks
    assert missing.window.end_ms == lived.floor_ms
    assert past.missing(Window(lived.floor_ms, END_MS)) == {}
    until_ms = lived.floor_ms - DAY_MS
    (earlier,) = past.missing(Window(until_ms - DAY_MS, until_ms)).values()
    assert earlier.window == Window(until_ms - DAY_MS, until_ms)


def test_what_the_vendor_refuses_is_not_known(lived: Scene, past: LedgerPast) -> None:
    lived.service.faults.on("refused", skip=1)
    since_ms = lived.floor_ms - 10 * DAY_MS

    assert asked(lived, past, since_ms) == []

    (query,) = past.queries
    assert lived.floor_ms - 7 * DAY_MS <= query.shown.start_ms < lived.floor_ms - 6 * DAY_MS


def test_a_vendor_that_does_not_answer_is_a_problem(lived: Scene, past: LedgerPast) -> None:
    lived.service.faults.on("unavailable")

    (problem,) = asked(lived, past, lived.floor_ms - DAY_MS)

    assert problem.startswith("promo/hourly: ")
    assert "503" in problem


def test_a_count_that_an_answer_lacks_is_a_problem_and_not_zero(
    lived: Scene, past: LedgerPast
) -> None:
    ((key, missing),) = past.missing(Window(lived.floor_ms - DAY_MS, END_MS)).items()

    async def read(_api: ApiClient, request: PollRequest) -> Readings:
        yield Reading(request.window, kept=frozenset({RECEIVED}))

    buckets = OlderBuckets()
    reader = OlderReader(lived.clock, Transport(lived.transport()), unspent, FAMILIES, buckets)
    target = replace(lived.target, queries=(CustomQuery(missing.spec, read),))
    problems = asyncio.run(reader.read([target], {key: missing}))
    buckets.close()

    since = stamp(missing.window.start_ms)
    assert problems == [f"promo/hourly: the answer lacks {RECEIVED} from {since} on"]


def test_a_series_takes_one_place_under_a_cap_in_all_slices() -> None:
    def channel(name: str) -> Series:
        return RECEIVED, ("shop", "", name)

    left = Counter({TARGET: 5, ALL: 5, RECEIVED: 2})
    days = [Window(n * DAY_MS, (n + 1) * DAY_MS) for n in range(9)]
    missing = MissingPast(1, spec(), Window(0, 9 * DAY_MS), Room({channel("web")}, lambda: left))
    buckets = OlderBuckets()
    for day in days:
        counts = [(channel(name), day.start_ms, 10.0) for name in ("web", "a", "b", "c")]
        buckets.add(missing, FAMILIES, Reading(day, counts=counts))

    sums = {
        json.loads(labels)["channel"]: sum(n for _, n in buckets.units(query, family, labels))
        for query, family, labels in buckets.series()
    }

    assert sums == {"web": 90, "a": 90, "b": 90, "other": 90}


def test_the_one_call_of_a_budget_is_for_hours() -> None:
    clock = VirtualClock()
    service = SIMULATORS["xenioo"](clock, Traffic(5, per_hour=2))
    built = build_target(**service.target(scene.URL) | {"name": "promo"})
    (spec,) = (each.spec for each in built.queries)
    window = Window(START_MS - 5 * DAY_MS, START_MS - 2 * DAY_MS)
    room = Room((), lambda: Counter(dict.fromkeys((ALL, TARGET, *FAMILIES), 99)))
    buckets = OlderBuckets()
    transport = Transport(httpx.ASGITransport(service))
    reader = OlderReader(clock, transport, unspent, FAMILIES, buckets)

    problems = asyncio.run(reader.read([built], {spec.key: MissingPast(1, spec, window, room)}))

    oldest_ms = buckets.oldest_ms(1)
    buckets.close()
    assert problems == []
    assert oldest_ms is not None
    assert oldest_ms - window.start_ms < DAY_MS


def test_a_call_budget_is_spent_before_a_vendor_is_asked_and_once(
    lived: Scene, past: LedgerPast
) -> None:
    spec = replace(lived.query.spec, budget=Budget("account", HOUR_MS))
    ((key, missing),) = past.missing(Window(lived.floor_ms - 20 * DAY_MS, END_MS)).items()
    spent: list[Budget | None] = []

    async def read(_api: ApiClient, request: PollRequest) -> Readings:
        await request.spend()
        yield Reading(request.window)

    async def spend(budget: Budget | None) -> None:
        spent.append(budget)
        raise BudgetSpent("the account's call is spent")

    buckets = OlderBuckets()
    reader = OlderReader(lived.clock, Transport(lived.transport()), spend, FAMILIES, buckets)
    target = replace(lived.target, queries=(CustomQuery(spec, read),))
    problems = asyncio.run(reader.read([target], {key: replace(missing, spec=spec)}))
    buckets.close()

    assert spent == [spec.budget]
    assert problems == ["promo/hourly: the account's call is spent"]


def test_what_the_ledger_has_retired_is_asked_for_whole(tmp_path: Path) -> None:
    with scene.lived(tmp_path, 12) as lived:
        known = grown([*samples(lived.backfilled([PastKind.COUNTERS]))], "chatbot_")
        lived.retire(hours=6)
        past = lived.opened()
        (missing,) = past.missing(Window(lived.floor_ms, END_MS)).values()

        assert asked(lived, past, lived.floor_ms) == []
        whole = grown([*samples(lived.written(past, [PastKind.COUNTERS]))], "chatbot_")

        lived.retire(hours=9)
        meanwhile = grown([*samples(lived.written(past, [PastKind.COUNTERS]))], "chatbot_")

        past.close()
        assert missing.window.end_ms == lived.floor_ms + 6 * HOUR_MS
        assert known == whole == meanwhile
