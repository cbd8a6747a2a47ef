"""Explains a series: presents the ledger's rows as a sum that a person can check.

One transaction reads a query, so that all parts of an explanation are consistent.
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from exporter.config.values import suggestion
from exporter.explain.selector import parse
from exporter.format import exact_sum, number, render_labels
from exporter.ledger import engine
from exporter.ledger.hours import MEASURES
from exporter.ledger.rows import SeriesState, Shown, decode_labels, encode_labels
from exporter.ledger.rules import settled_day
from exporter.ledger.tables import bucket, gap, gauge, query, series
from exporter.ledger.view import read_views
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import HOUR_MS, Family, Window
from exporter.telemetry.counters import PREFIX, PROCESS_METRICS

Wanted = Callable[[str, Mapping[str, str]], bool]
"""Returns whether the series with this name and these labels is selected."""


class Phase(StrEnum):
    """How final a bucket is; unknown if its query was removed."""

    OPEN = "open"
    SETTLING = "settling"
    SETTLED = "settled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ExplainedBucket:
    """One bucket: ``counted`` is ``provider - baseline``; it was revised ``revisions`` times."""

    start_ms: int
    end_ms: int
    phase: Phase
    provider: float
    baseline: float
    counted: float
    revisions: int


@dataclass(frozen=True, slots=True)
class ExplainedGap:
    """A range of time in which nothing was counted, and why."""

    start_ms: int
    end_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class CounterSum:
    """The sum behind a counter.

    ``buckets + retired = truth``; ``truth + overhang + written_off = counter``. ``held`` is shown
    instead of the counter until a scrape has returned it.
    """

    buckets: float
    retired: float
    truth: float
    overhang: float
    written_off: float
    counter: float
    held: float | None = None

    def steps(self) -> list[tuple[str, float]]:
        """Return the lines of the sum in order."""
        lines = [
            ("counted in buckets", self.buckets),
            ("+ retired", self.retired),
            ("= provider's values since the first poll", self.truth),
            ("+ overhang", self.overhang),
            ("+ written off", self.written_off),
            ("= counter", self.counter),
        ]
        return lines if self.held is None else [*lines, ("shown at first", self.held)]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one series; instants are UTC milliseconds.

    Only counters have a ``sum``. A period gauge is the sum of its buckets' provider values within
    ``period``; any other gauge is the provider's own value as of ``as_of_ms``. ``exported`` is None
    if ``/metrics`` does not show the series; ``state`` is live, dormant, hidden or removed.
    ``notes`` are sentences on why the value differs from the provider's own pages.
    """

    series: str
    meaning: str
    target: str
    query: str
    provider: str
    request: str
    field: str
    state: SeriesState | Literal["removed"]
    exported: float | None
    since_ms: int | None
    settled_until_ms: int | None
    buckets: tuple[ExplainedBucket, ...] = ()
    sum: CounterSum | None = None
    period: Window | None = None
    as_of_ms: int | None = None
    gaps: tuple[ExplainedGap, ...] = ()
    notes: tuple[str, ...] = ()


Explain = Callable[..., Explanation]
Load = Callable[[], Explanation]
"""Explains a matching series, which costs more than finding it."""


@dataclass(frozen=True, slots=True)
class QueryReader:
    """Finds and explains the series of the query in ``row``.

    ``spec`` is None for a query that is no longer in the settings. ``families`` are all that can be
    exported, by name.
    """

    tx: sa.Connection
    row: sa.Row[Any]
    spec: QuerySpec | None
    families: Mapping[str, Family]
    wanted: Wanted
    now_ms: int

    def series(self) -> Iterator[Load]:
        """Yield for each wanted series a function that explains it, counters first."""
        shown: Sequence[Shown] = ()
        periods: Mapping[str, int] = {}
        if self.spec is not None:
            views = read_views(self.tx, [self.spec], self.families, self.now_ms)
            view = views[self.spec.key]
            shown, periods = view.shown, view.state.periods
        own = sa.select(gap.c.from_ms, gap.c.to_ms, gap.c.reason)
        own = own.where(gap.c.query_id == self.row.id).order_by(gap.c.from_ms)
        gaps = tuple(ExplainedGap(*each) for each in self.tx.execute(own))
        explained = partial(self._explained, gaps)
        yield from self._counters(shown, explained)
        yield from self._gauges(shown, periods, explained)

    def _counters(self, shown: Sequence[Shown], explained: Explain) -> Iterator[Load]:
        exported = {(each.family, each.labels): each.value for each in shown}
        mine = sa.select(series).where(series.c.query_id == self.row.id)
        for row in self.tx.execute(mine.order_by(series.c.family, series.c.labels)).all():
            family = self.families.get(row.family)
            if family is None:
                continue
            values = decode_labels(family.labels, row.labels)
            labels = dict(zip(family.labels, values, strict=True))
            if self.wanted(row.family, labels):
                value = exported.get((row.family, values))
                of_series = partial(explained, row.family, row.family, labels, value)
                yield partial(self._counter, row, family.per_unit, of_series)

    def _counter(self, row: sa.Row[Any], unit: int, of_series: Explain) -> Explanation:
        buckets = self._buckets([row.id], unit)
        counted = exact_sum(bucket.counted for bucket in buckets)
        retired = row.retired / unit
        added = CounterSum(
            buckets=counted,
            retired=retired,
            truth=exact_sum((counted, retired)),
            overhang=row.overhang / unit,
            written_off=row.written_off / unit,
            counter=row.c / unit,
            held=None if row.held is None else row.held / unit,
        )
        return of_series(state=row.state, sum=added, buckets=buckets)

    def _gauges(
        self, shown: Sequence[Shown], periods: Mapping[str, int], explained: Explain
    ) -> Iterator[Load]:
        counted = {each.period_name: each for each in list(self.families.values()) if each.period}
        for each in shown:
            source = counted.get(each.family)
            names = source.period_labels if source else self.families[each.family].labels
            labels = dict(zip(names, each.labels, strict=True))
            if each.created_ms is not None or not self.wanted(each.family, labels):
                continue
            fed = source.name if source else each.family
            of_series = partial(explained, each.family, fed, labels, each.value)
            if source:
                end_ms = periods[labels["period"]]
                yield partial(self._of_period, source, labels, end_ms, of_series)
            else:
                yield partial(self._of_window, each, of_series)

    def _of_period(
        self, family: Family, labels: Mapping[str, str], end_ms: int, of_series: Explain
    ) -> Explanation:
        name, zone = labels["period"], self.spec.timezone if self.spec else "UTC"
        period = settled_day(end_ms, zone) if name == "day" else Window(end_ms - HOUR_MS, end_ms)
        buckets = self._buckets(self._members(family, labels), family.per_unit, period)
        return of_series(buckets=buckets, period=period)

    def _members(self, family: Family, labels: Mapping[str, str]) -> list[int]:
        """Return the counters that a period gauge sums: equal in all labels that the gauge has."""
        rows = self.tx.execute(
            sa.select(series.c.id, series.c.labels).where(
                series.c.query_id == self.row.id,
                series.c.family == family.name,
                series.c.state == "live",
            )
        )
        alike = [name for name in family.labels if name in labels]
        return [
            row.id
            for row in rows
            for found in [msgspec.json.decode(row.labels, type=dict[str, str])]
            if all(found.get(name, "") == labels[name] for name in alike)
        ]

    def _of_window(self, shown: Shown, of_series: Explain) -> Explanation:
        text = encode_labels(self.families[shown.family].labels, shown.labels)
        mine = (gauge.c.family == shown.family) & (gauge.c.labels == text)
        newest = sa.select(gauge.c.end_ms).where(gauge.c.query_id == self.row.id, mine)
        return of_series(as_of_ms=self.tx.scalar(newest))

    def _explained(
        self,
        gaps: tuple[ExplainedGap, ...],
        name: str,
        fed: str,
        labels: Mapping[str, str],
        exported: float | None,
        *,
        state: SeriesState = "live",
        **found: Any,
    ) -> Explanation:
        """Return the explanation of the series ``name``, for which the query feeds ``fed``."""
        row, spec, family = self.row, self.spec, self.families[name]
        made = Explanation(
            series=name + render_labels(tuple(labels), tuple(labels.values())),
            meaning=family.meaning or family.help,
            target=row.target,
            query=row.name,
            provider=row.provider,
            request=spec.request if spec else "",
            field=spec.fields.get(fed, "") if spec else "",
            state=state if spec else "removed",
            exported=exported,
            since_ms=row.epoch_ms,
            settled_until_ms=row.cursor_ms,
            gaps=gaps,
            **found,
        )
        return replace(made, notes=tuple(_notes(made, quarantined=row.quarantine > 0)))

    def _buckets(
        self, numbers: Sequence[int], unit: int, inside: Window | None = None
    ) -> tuple[ExplainedBucket, ...]:
        """Return the buckets of the series ``numbers`` summed by start; ``unit`` parts make one."""
        columns = (bucket.c.obs, bucket.c.base, bucket.c.revised)
        mine = sa.select(bucket.c.start_ms, *map(sa.func.sum, columns))
        mine = mine.where(bucket.c.series_id.in_(numbers))
        if inside is not None:
            mine = mine.where(
                bucket.c.start_ms >= inside.start_ms, bucket.c.start_ms < inside.end_ms
            )
        rows = self.tx.execute(mine.group_by(bucket.c.start_ms).order_by(bucket.c.start_ms))
        step_ms = self.spec.granularity_ms if self.spec else HOUR_MS
        return tuple(
            ExplainedBucket(
                start_ms,
                start_ms + step_ms,
                _phase(start_ms + step_ms, self.spec, self.now_ms),
                *(obs / unit, base / unit, (obs - base) / unit),
                revised,
            )
            for start_ms, obs, base, revised in rows
        )


def _phase(end_ms: int, spec: QuerySpec | None, now_ms: int) -> Phase:
    if spec is None:
        return Phase.UNKNOWN
    if end_ms > now_ms:
        return Phase.OPEN
    return Phase.SETTLING if end_ms + spec.settle_ms > now_ms else Phase.SETTLED


STATES = {
    "dormant": "Not on /metrics: no change for 35 days. It returns with the next growth.",
    "hidden": "Not on /metrics: by the settings, its query no longer reports it (fields, aliases, allow lists).",
    "removed": "Not on /metrics: the settings no longer have this query.",
}


def _notes(made: Explanation, *, quarantined: bool) -> Iterator[str]:
    held = made.sum.held if made.sum else None
    if held is not None and made.exported is not None:
        yield (
            f"Shown as {number(held)} until a scrape has returned that value, so that increase() sees "
            "the first growth."
        )
    if made.state in STATES:
        yield STATES[made.state]
    if made.since_ms is None:
        yield "Nothing is counted yet: no successful poll."
    if quarantined:
        yield "The newest response lost most of its counts. It is quarantined until two more polls confirm it."
    if made.gaps:
        yield "Some spans of time could not be read and are not counted; see the gaps."
    if made.sum is not None:
        yield from _about_counter(made.sum, made.buckets)
    elif made.period is not None:
        yield (
            "The provider's value for the newest settled period, baseline included: the sum of its "
            "buckets."
        )
    else:
        yield "The provider's own value at the last read. Such values must not be added up."


def _about_counter(added: CounterSum, buckets: Sequence[ExplainedBucket]) -> Iterator[str]:
    notes = {
        "{} of the provider's values predate the first poll (baseline, excluded).": exact_sum(
            bucket.baseline for bucket in buckets
        ),
        "Buckets that polls no longer read are kept as one sum (retired): {}.": added.retired,
        (
            "{} was counted, but is not in the provider's values now (overhang): the provider took it "
            "back, or ledger restore added it. A counter never falls: later growth repays it, or it is "
            "written off."
        ): added.overhang,
        (
            "{} of overhang was not repaid in time. It is written off, so that new growth counts."
        ): added.written_off,
    }
    yield from (note.format(number(value)) for note, value in notes.items() if value)
    if any(bucket.phase is Phase.OPEN for bucket in buckets):
        yield "The newest bucket is still open: the provider may still add to it."


EVERY = range(sys.maxsize)


@dataclass(frozen=True, slots=True)
class Explanations:
    """Some of a selector's series: at most ``most`` of ``total``, starting with number ``first``.

    If there are none, ``note`` says why.
    """

    selector: str
    now_ms: int
    first: int
    most: int
    total: int
    series: tuple[Explanation, ...]
    note: str = ""

    @property
    def last(self) -> int:
        """Return the number of the last series here."""
        return self.first + len(self.series) - 1


class Explainer:
    """Explains series from the ledger at ``url``, read-only, while an exporter may write it.

    ``families`` are all that can be exported, by name. Raises ``LedgerError``, and
    ``SelectorError`` for an invalid selector.
    """

    def __init__(
        self,
        url: str,
        specs: Mapping[QueryKey, QuerySpec],
        families: Mapping[str, Family],
        now_ms: int,
    ) -> None:
        self._engine = engine.read_only(url)
        self._specs = specs
        self._families = families
        self._now_ms = now_ms

    def close(self) -> None:
        """Close the connection to the ledger."""
        self._engine.dispose()

    def answer(self, text: str, first: int, most: int) -> Explanations:
        """Explain up to ``most`` of the series that the selector ``text`` matches.

        ``first`` is the number of the first one, counted from 1.
        """
        every = list(self.find(text, range(first - 1, first - 1 + most)))
        found = tuple(each for each in every if each is not None)
        note = "" if every else why_nothing(text, self._families)
        return Explanations(text, self._now_ms, first, most, len(every), found, note)

    def find(self, text: str, page: range = EVERY) -> Iterator[Explanation | None]:
        """Yield the series that ``text`` matches; those of one query are as of one instant.

        Series whose number, from 0, is not in ``page`` yield only None. A page is read at once,
        for which ``EVERY`` series may be too many. No transaction stays open between two queries:
        SQLite cannot shorten its write-ahead log while somebody reads an older state.
        """
        wanted = parse(text)
        with engine.reading(self._engine) as tx:
            engine.check_schema(self._engine)
            ids = tx.scalars(sa.select(query.c.id).order_by(query.c.target, query.c.name)).all()
        numbers = itertools.count()
        for query_id in ids:
            with engine.reading(self._engine) as tx:
                row = tx.execute(sa.select(query).where(query.c.id == query_id)).one_or_none()
                if row is None or not wanted.may_match(
                    {"target": row.target, "provider": row.provider}
                ):
                    continue
                spec = self._specs.get((row.target, row.name)) if row.state == "active" else None
                reader = QueryReader(tx, row, spec, self._families, wanted.matches, self._now_ms)
                found = (load() if next(numbers) in page else None for load in reader.series())
                if page is EVERY:
                    yield from found
                part = [*found]
            yield from part


def why_nothing(text: str, families: Mapping[str, Family]) -> str:
    """Return why no series matches the selector ``text``, judging by the name it begins with."""
    name = text.strip().partition("{")[0].strip()
    if not name:
        return "No series matches: no query has read one with these labels."
    if name.startswith("chatbot_engagement"):
        counters = ", else of ".join(MEASURES)
        return (
            f"Not a provider's series: {name} is computed from the settled hours of {counters}. "
            "Explain that counter instead."
        )
    if name not in families and name not in PROCESS_METRICS:
        hint = suggestion(name, families) or "see chatbot-exporter metrics"
        return f"No series matches: there is no such metric family; {hint}"
    if name.startswith(PREFIX) or name in PROCESS_METRICS:
        return (
            f"No series matches: {name} is the exporter's own metric, not a sum of provider "
            "values; see its value on /metrics."
        )
    return f"No series matches: no query has read one of {name} with these labels."
