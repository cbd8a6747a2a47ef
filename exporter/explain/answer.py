"""Why a series shows what it shows: the ledger's rows as an account that a person can add up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from exporter.config.values import suggestion
from exporter.explain.reader import (
    EVERY,
    Reader,
    Search,
    SourceQuery,
    Specs,
    StoredBucket,
    StoredSeries,
)
from exporter.explain.selector import parse
from exporter.format import number, render_labels
from exporter.ledger.hours import MEASURES
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, Family, Window
from exporter.telemetry.counters import PREFIX


class Phase(StrEnum):
    """How final a bucket is; unknown if its query was removed."""

    OPEN = "open"
    SETTLING = "settling"
    SETTLED = "settled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ExplainedBucket:
    """One bucket: ``counted`` is ``provider`` less ``baseline``; ``revisions`` how often it changed."""

    start_ms: int
    end_ms: int
    phase: Phase
    provider: float
    baseline: float
    counted: float
    revisions: int


@dataclass(frozen=True, slots=True)
class ExplainedGap:
    """A stretch of time that nothing was counted of, and why."""

    start_ms: int
    end_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class CounterSum:
    """How a counter adds up.

    ``buckets + retired = truth``; ``truth + overhang + written_off = counter``. ``held`` is shown
    in place of the counter until a scrape has returned it.
    """

    buckets: float
    retired: float
    truth: float
    overhang: float
    written_off: float
    counter: float
    held: float | None = None

    def steps(self) -> list[tuple[str, float]]:
        """Return the lines of the sum, in the order in which they add up."""
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
    """One series explained; instants are UTC milliseconds.

    ``sum`` is there for counters only. A period gauge is the sum of its buckets' provider values
    within ``period``; any other gauge is the provider's own value as of ``as_of_ms``. ``exported``
    is None where ``/metrics`` does not show the series. ``notes`` say in sentences what makes the
    value differ from the provider's own pages.
    """

    series: str
    meaning: str
    target: str
    query: str
    provider: str
    request: str
    field: str
    state: str
    exported: float | None
    since_ms: int | None
    settled_until_ms: int | None
    buckets: tuple[ExplainedBucket, ...]
    sum: CounterSum | None
    period: Window | None
    as_of_ms: int | None
    gaps: tuple[ExplainedGap, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanations:
    """Some of a selector's series: at most ``most`` of ``total``, from number ``first`` on.

    ``note`` says why there is none, where there is none.
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


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains series from a ledger. ``families`` are all that can be exported, by name."""

    reader: Reader
    specs: Specs
    families: Mapping[str, Family]
    now_ms: int

    def answer(self, text: str, first: int, most: int) -> Explanations:
        """Return the accounts of ``most`` series that the selector ``text`` asks for.

        ``first`` is the number of the first of them, from 1. Raises ``SelectorError`` and
        ``LedgerError``.
        """
        found, total = [], 0
        for record in self._find(text, range(first - 1, first - 1 + most)):
            total += 1
            if record is not None:
                found.append(explain(record, self.families, self.now_ms))
        note = "" if total else why_nothing(text, self.families)
        return Explanations(text, self.now_ms, first, most, total, tuple(found), note)

    def each(self, text: str) -> Iterator[Explanation]:
        """Yield the accounts of all series that ``text`` asks for, one at a time; raises alike."""
        for record in self._find(text, EVERY):
            if record is not None:
                yield explain(record, self.families, self.now_ms)

    def _find(self, text: str, page: range) -> Iterator[StoredSeries | None]:
        source = parse(text)
        search = Search(source.matches, source.may_match, self.specs, self.now_ms)
        return self.reader.find(search, page)


def why_nothing(text: str, families: Mapping[str, Family]) -> str:
    """Return why no series matches the selector ``text``, by the name that it begins with."""
    name = text.strip().partition("{")[0].strip()
    if not name:
        return "No series matches: no query has read one with these labels."
    if name.startswith("chatbot_engagement"):
        counters = ", else of ".join(MEASURES)
        return (
            f"No series of a provider: {name} is computed from the settled hours of {counters}. "
            "Explain that counter instead."
        )
    if name not in families:
        hint = suggestion(name, families) or "see chatbot-exporter metrics"
        return f"No series matches: there is no such metric family; {hint}"
    if name.startswith(PREFIX):
        return (
            f"No series matches: {name} is the exporter's own, so there is nothing of a provider "
            "to add up; its value is on /metrics."
        )
    return f"No series matches: no query has read one of {name} with these labels."


def explain(record: StoredSeries, families: Mapping[str, Family], now_ms: int) -> Explanation:
    """Return the account of one series. ``families`` are all that can be exported, by name."""
    family = families[record.family]
    source = record.source
    record = _in_units(record, family.per_unit)
    buckets = tuple(_bucket(row, source.spec, now_ms) for row in record.buckets)
    return Explanation(
        series=record.family + render_labels(tuple(record.labels), tuple(record.labels.values())),
        meaning=family.meaning or family.help,
        target=source.target,
        query=source.query,
        provider=source.provider,
        request=source.spec.request if source.spec else "",
        field=_field(record, source.spec, families),
        state=record.state,
        exported=record.exported,
        since_ms=source.epoch_ms,
        settled_until_ms=source.cursor_ms,
        buckets=buckets,
        sum=_sum(record, buckets),
        period=record.period,
        as_of_ms=record.end_ms,
        gaps=tuple(ExplainedGap(*gap) for gap in source.gaps),
        notes=tuple(_notes(record, buckets)),
    )


def _in_units(record: StoredSeries, per_unit: int) -> StoredSeries:
    """Return ``record`` with the ledger's whole parts of a unit as units: dollars."""
    if per_unit == 1:
        return record
    state = record.counter_state
    if state is not None:
        numbers = ("retired", "overhang", "written_off", "counter", "held")
        found = {name: getattr(state, name) for name in numbers}
        state = replace(state, **{n: v and v / per_unit for n, v in found.items()})
    buckets = [replace(b, obs=b.obs / per_unit, base=b.base / per_unit) for b in record.buckets]
    return replace(record, counter_state=state, buckets=tuple(buckets))


def _field(record: StoredSeries, spec: QuerySpec | None, families: Mapping[str, Family]) -> str:
    if spec is None:
        return ""
    of_period = {each.period_name: each.name for each in list(families.values()) if each.period}
    return spec.fields.get(of_period.get(record.family, record.family), "")


def _bucket(row: StoredBucket, spec: QuerySpec | None, now_ms: int) -> ExplainedBucket:
    end_ms = row.start_ms + (spec.granularity_ms if spec else HOUR_MS)
    return ExplainedBucket(
        start_ms=row.start_ms,
        end_ms=end_ms,
        phase=_phase(end_ms, spec, now_ms),
        provider=row.obs,
        baseline=row.base,
        counted=row.obs - row.base,
        revisions=row.revised,
    )


def _phase(end_ms: int, spec: QuerySpec | None, now_ms: int) -> Phase:
    if spec is None:
        return Phase.UNKNOWN
    if end_ms > now_ms:
        return Phase.OPEN
    return Phase.SETTLING if end_ms + spec.settle_ms > now_ms else Phase.SETTLED


def _sum(record: StoredSeries, buckets: tuple[ExplainedBucket, ...]) -> CounterSum | None:
    counter_state = record.counter_state
    if counter_state is None:
        return None
    counted = sum(bucket.counted for bucket in buckets)
    return CounterSum(
        buckets=counted,
        retired=counter_state.retired,
        truth=counted + counter_state.retired,
        overhang=counter_state.overhang,
        written_off=counter_state.written_off,
        counter=counter_state.counter,
        held=counter_state.held,
    )


def _notes(record: StoredSeries, buckets: tuple[ExplainedBucket, ...]) -> Iterator[str]:
    yield from _about_state(record)
    yield from _about_query(record.source)
    if record.counter_state is None:
        yield _about_gauge(record)
        return
    baseline = sum(bucket.baseline for bucket in buckets)
    if baseline:
        yield (
            f"{number(baseline)} of the provider's values predate the first poll (baseline, excluded)."
        )
    if record.counter_state.retired:
        yield f"Buckets that polls no longer read are kept as one sum (retired): {number(record.counter_state.retired)}."
    if record.counter_state.overhang:
        yield (
            f"{number(record.counter_state.overhang)} was counted and later retracted by the provider "
            "(overhang). A counter never falls: later growth repays it, or it is written off."
        )
    if record.counter_state.written_off:
        yield (
            f"{number(record.counter_state.written_off)} was retracted by the provider and not repaid in "
            "time. It is written off, so that new growth counts."
        )
    if any(bucket.phase is Phase.OPEN for bucket in buckets):
        yield "The newest bucket is still open: the provider may still add to it."


def _about_state(record: StoredSeries) -> Iterator[str]:
    counter_state = record.counter_state
    if counter_state is not None and counter_state.held is not None and record.exported is not None:
        yield (
            f"Shown as {number(counter_state.held)} until a scrape has returned that value, so that increase() "
            "sees the first growth."
        )
    match record.state:
        case "dormant":
            yield "Not on /metrics: no change for 35 days. It returns with the next growth."
        case "hidden":
            yield "Not on /metrics: an alias or allow list replaced it with another series."
        case "removed":
            yield "Not on /metrics: the settings no longer have this query."
        case _:
            return


def _about_query(source: SourceQuery) -> Iterator[str]:
    if source.epoch_ms is None:
        yield "Nothing is counted yet: no successful poll."
    if source.quarantined:
        yield "The newest response lost most of its counts. It is quarantined until two more polls confirm it."
    if source.gaps:
        yield "Some spans of time could not be read and are not counted; see the gaps."


def _about_gauge(record: StoredSeries) -> str:
    if record.period is not None:
        return (
            "The provider's value for the newest settled period, baseline included: the sum of its "
            "buckets."
        )
    return "The provider's own value at the last read. Such values must not be added up."
