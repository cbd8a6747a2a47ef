"""What holds for every provider, run against its simulator in process and in virtual time.

A provider's ``test_compliance.py`` derives a class from ``Compliance`` and gives it a ``case``.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, pairwise
from typing import Any, ClassVar, TypeVar

import httpx
import pytest

from exporter.config.model import Privacy, Secret
from exporter.errors import ProviderError
from exporter.http_client.transport import Transport
from exporter.model.families import NORMALISED
from exporter.model.query import PollRequest
from exporter.model.samples import (
    DAY_MS,
    HOUR_MS,
    Family,
    GaugeRow,
    MetricType,
    Reading,
    Series,
    Window,
    ceil_to,
    floor_to,
)
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import Query, Target
from exporter.simulator import VENDORS
from exporter.simulator.conversations import Kind as Happening
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic
from tests.providers.vendor import URL, build_target, options_of
from tests.support.fault_matrix import MATRIX, NEVER_ANSWERED, Errors, expected
from tests.support.mutations import CANARY, Mutated
from tests.support.virtual import START_MS, VirtualClock, run_virtual

T = TypeVar("T", str, tuple[str, str])
WRONG_ANSWERS = 60
WINDOW = Window(floor_to(START_MS, HOUR_MS) - 12 * HOUR_MS, floor_to(START_MS, HOUR_MS))


@cache
def made_up(per_hour: float) -> Traffic:
    """Return traffic that all tests share, since making it up takes longer than they do."""
    return Traffic(seed=7, per_hour=per_hour)


def _question(query: Query, window: Window, now_ms: int) -> PollRequest:
    del query
    return PollRequest(window, now_ms)


@dataclass(frozen=True, slots=True, eq=False)  # each is its own key
class Case:
    """What is special about one provider.

    ``settings`` are added to the simulator's own target. ``requests`` matches ``METHOD /path`` of
    every request that is allowed. ``counts`` are the counters that must equal what happened, hour by
    hour; ``unchecked`` those without such a truth; ``streamed`` those that count nothing stamped
    before the first poll. ``errors`` are injected faults that become another error here than in the
    matrix (None: they change nothing); the key may also be ``(query's kind, fault)``. ``quirks`` are
    modes of the simulator that must change answers and not the counts; ``own_faults`` are modes that must become
    an error, by ``(query's kind, mode)``. ``reasons`` say why one of these, or the ``known series``,
    are empty; what is empty without a reason fails. ``quiet`` events of each kind come in an hour
    where answers are to have one page.
    """

    kind: str
    requests: str
    counts: Mapping[str, tuple[Happening, Mapping[str, Any]]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    unchecked: frozenset[str] = frozenset()
    streamed: frozenset[str] = frozenset()
    errors: Errors = field(default_factory=dict)
    quirks: frozenset[str] = frozenset()
    own_faults: Mapping[tuple[str, str], type[ProviderError]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    quiet: float = 2
    privacy: Privacy = field(default_factory=Privacy)
    question: Callable[[Query, Window, int], PollRequest] = _question


class Recorded(httpx.ASGITransport):
    """Leads to a simulator and keeps the bodies of its answers."""

    def __init__(self, service: Service, answers: list[bytes]) -> None:
        super().__init__(service)
        self._answers = answers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        self._answers.append(await response.aread())
        return response


class Bench:
    """One target on one simulator."""

    def __init__(
        self,
        case: Case,
        *,
        window: Window = WINDOW,
        per_hour: float = 6,
        traffic: Traffic | None = None,
    ) -> None:
        self.case = case
        self.window = window
        self.clock = VirtualClock()
        self.service: Service = VENDORS[case.kind](self.clock, traffic or made_up(per_hour))
        named = {"name": "shop", "provider": case.kind}
        entries = named | self.service.target(URL) | dict(case.settings)
        self.answers: list[bytes] = []
        self.options = options_of(**entries)
        self.target: Target = build_target(case.privacy, **entries)

    @property
    def secrets(self) -> list[str]:
        found = [getattr(self.options, name) for name in type(self.options).model_fields]
        found += [*getattr(self.options, "secrets", {}).values()]
        return [value.read() for value in found if isinstance(value, Secret)]

    def read(self, query: Query) -> list[Reading]:
        """Return every reading of one poll."""
        return run_virtual(self._read(query, []), self.clock)

    def read_badly(
        self, query: Query, way: httpx.AsyncBaseTransport | None = None
    ) -> tuple[list[Reading], ProviderError | None]:
        """Return what was read before the poll failed, and how it failed."""
        found: list[Reading] = []
        try:
            run_virtual(self._read(query, found, way), self.clock)
        except ProviderError as error:
            return found, error
        return found, None

    def count(self) -> Counter[tuple[str, int]]:
        """Return the sum of every counter and hour, over all queries."""
        return counted_in(chain.from_iterable(map(self.read, self.target.queries)))

    async def _read(
        self, query: Query, found: list[Reading], way: httpx.AsyncBaseTransport | None = None
    ) -> list[Reading]:
        transport = Transport(way or Recorded(self.service, self.answers))
        api = self.target.client(transport, self.clock)
        request = self.case.question(query, self.window, self.clock.now_ms())
        async for reading in query.read(api, request):
            found.append(reading)  # noqa: PERF401 - what came before a failure must show
        return found

    def truth(self, family: str, **more: Any) -> dict[int, int]:
        """Return what happened in each bucket of the window, as far as it shows now."""
        happening, attributes = self.case.counts[family]
        step_ms = next(
            query.spec.granularity_ms
            for query in self.target.queries
            if family in query.spec.fields
        )
        span = floor_to(self.window.start_ms, step_ms), ceil_to(self.window.end_ms, step_ms)
        found = self.service.traffic.hourly(
            happening, span, self.clock.now_ms(), **{**attributes, **more}
        )
        sums: Counter[int] = Counter()
        for (at_ms, *_), value in found.items():
            sums[floor_to(at_ms, step_ms)] += value
        return dict(+sums)


@cache
def clean(case: Case) -> tuple[Bench, list[list[Reading]]]:
    """Return a bench where nothing is wrong, and the readings of each of its queries."""
    bench = Bench(case)
    return bench, [bench.read(query) for query in bench.target.queries]


class Compliance:
    """The suite; a subclass sets ``case``."""

    case: ClassVar[Case]

    def test_a_complete_read_equals_what_happened(self) -> None:
        bench, found = clean(self.case)

        counted = counted_in(chain.from_iterable(found))

        assert {family for family, _ in counted} == self.case.counts.keys() | self.case.unchecked
        for family in self.case.counts:
            assert hours(counted, family) == bench.truth(family), family

    def cases(self, name: str, found: Iterable[T]) -> list[T]:
        """Return what a test goes through, sorted; where that is nothing, a reason must say why."""
        some, reason = sorted(found), self.case.reasons.get(name)
        assert bool(some) != bool(reason), (
            f"{name}: {some or 'none'}; the case's reasons[{name!r}] says why there are none: {reason}"
        )
        if reason:
            pytest.skip(reason)
        return some

    def test_a_quirk_of_the_vendor_changes_answers_and_no_count(self) -> None:
        plain = Bench(self.case, per_hour=self.case.quiet)  # with hours in which nothing happens
        plain.count()
        for quirk in self.cases("quirks", self.case.quirks):
            bench = Bench(self.case, per_hour=self.case.quiet)
            bench.service.faults.on(quirk)

            counted = bench.count()

            assert bench.answers != plain.answers, f"{quirk} does nothing"
            for family in self.case.counts:
                assert hours(counted, family) == bench.truth(family), (quirk, family)

    def test_readings_cover_the_window_without_holes(self) -> None:
        long = Window(WINDOW.end_ms - 8 * DAY_MS, WINDOW.end_ms)
        bench = Bench(self.case, window=long, per_hour=0.5)

        for query in bench.target.queries:
            readings = bench.read(query)

            assert [reading.more for reading in readings] == [True] * (len(readings) - 1) + [False]
            for one, two in pairwise(readings):
                assert one.window.end_ms == two.window.start_ms
            if not any(reading.lists_of for reading in readings):
                assert readings[0].window.start_ms <= bench.window.start_ms
                assert readings[-1].window.end_ms >= bench.window.end_ms

    def test_every_series_has_its_familys_labels_and_kind(self) -> None:
        bench, found = clean(self.case)
        known = _families(bench)
        seen: set[str] = set()

        for reading in chain.from_iterable(found):
            for (name, values), kind in _series(reading):
                assert len(values) == len(known[name].labels) - 2, name
                assert known[name].kind is kind, name
                seen.add(name)
            assert {row.series[0] for row in reading.lists} <= reading.lists_of
        assert seen

    def test_a_clean_read_shows_no_drift(self) -> None:
        _, found = clean(self.case)

        assert [dict(each.drift) for each in chain.from_iterable(found) if each.drift] == []

    @pytest.mark.parametrize("fault", sorted(MATRIX.keys() - NEVER_ANSWERED.keys(), key=str))
    def test_a_fault_becomes_its_error_and_no_reading(self, fault: str) -> None:
        kinds = {query.spec.name.partition("/")[0] for query in Bench(self.case).target.queries}
        assert kinds
        for kind in kinds:
            self._fails_as(kind, fault, expected(kind, fault, self.case.errors))

    def test_a_vendors_own_fault_becomes_its_error_and_no_reading(self) -> None:
        for kind, fault in self.cases("own_faults", self.case.own_faults):
            self._fails_as(kind, fault, self.case.own_faults[kind, fault])

    def test_wrong_values_are_read_or_refused_and_never_repeated(self) -> None:
        """An error that is none of the vendor's would be a mistake of this program."""
        for number in range(WRONG_ANSWERS):
            bench = Bench(self.case, per_hour=3)
            for query in bench.target.queries:
                rng = random.Random(f"{query.spec.name} {number}")  # noqa: S311 - the same each time
                readings, error = bench.read_badly(query, Mutated(bench.service, rng))

                assert error is None or str(error)
                assert CANARY not in str(error), (query.spec.name, number)
                values = [row[2] for reading in readings for row in reading.counts]
                assert all(0 <= value <= 2**53 for value in values), (query.spec.name, number)

    def test_known_series_are_fed_and_read(self) -> None:
        bench, found = clean(self.case)
        known: defaultdict[str, list[Reading]] = defaultdict(list)
        for query, read in zip(bench.target.queries, found, strict=True):
            for family in {series[0] for series in query.spec.known}:
                known[family] += read

        for name in self.cases("known series", known):
            assert name in {family for family, _ in counted_in(known[name])}

    def _fails_as(self, kind: str, fault: str, wanted: type[ProviderError] | None) -> None:
        bench = Bench(self.case)
        query = next(q for q in bench.target.queries if q.spec.name.partition("/")[0] == kind)
        bench.service.faults.on(fault)

        readings, error = bench.read_badly(query)

        assert type(error) is (wanted or type(None)), (kind, fault)
        assert not readings or wanted is None, (kind, fault)
        assert not any(secret in f"{error!r} {error}" for secret in bench.secrets)

    def test_requests_keep_to_the_documented_paths(self) -> None:
        bench, _ = clean(self.case)

        assert bench.service.requests
        for seen in bench.service.requests:
            assert re.fullmatch(self.case.requests, f"{seen.method} {seen.path}"), seen.path
            assert seen.status == 200


def _families(bench: Bench) -> Mapping[str, Family]:
    kind = PROVIDERS[bench.options.provider]
    own = {family.name: family for family in (*kind.families, *bench.options.own_families())}
    return own | {name: NORMALISED[name] for name in kind.feeds or NORMALISED}


def counted_in(readings: Iterable[Reading]) -> Counter[tuple[str, int]]:
    """Return the sum of every counter and hour."""
    sums: Counter[tuple[str, int]] = Counter()
    for reading in readings:
        for (name, _), at_ms, value in reading.counts:
            sums[name, at_ms] += int(value)
        for event in reading.events:
            for name, _ in event.counts:
                sums[name, floor_to(event.at_ms, HOUR_MS)] += 1
    return sums


def hours(counted: Counter[tuple[str, int]], family: str) -> dict[int, int]:
    return {at_ms: value for (name, at_ms), value in counted.items() if name == family and value}


def _gauges(reading: Reading) -> list[GaugeRow]:
    return [*reading.buckets, *reading.levels, *reading.lists]


def _series(reading: Reading) -> list[tuple[Series, MetricType]]:
    counted = [series for series, _, _ in reading.counts]
    counted += [series for event in reading.events for series in event.counts]
    shown = [row.series for row in _gauges(reading)]
    return [(s, MetricType.COUNTER) for s in counted] + [(s, MetricType.GAUGE) for s in shown]
