"""Why a series shows what it shows: the ledger's rows as an account that a person can add up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from exporter.config.values import suggestion
from exporter.explain.reader import (
    EVERY,
    CounterSum,
    ExplainedBucket,
    ExplainedGap,
    Phase,
    Reader,
    Search,
    SourceQuery,
    Specs,
    StoredSeries,
)
from exporter.explain.selector import parse
from exporter.format import exact_sum, number, render_labels
from exporter.ledger.hours import MEASURES
from exporter.model.query import QuerySpec
from exporter.model.samples import Family, Window
from exporter.telemetry.counters import PREFIX


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
                found.append(explain(record, self.families))
        note = "" if total else why_nothing(text, self.families)
        return Explanations(text, self.now_ms, first, most, total, tuple(found), note)

    def each(self, text: str) -> Iterator[Explanation]:
        """Yield the accounts of all series that ``text`` asks for, one at a time; raises alike."""
        for record in self._find(text, EVERY):
            if record is not None:
                yield explain(record, self.families)

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


def explain(record: StoredSeries, families: Mapping[str, Family]) -> Explanation:
    """Return the account of one series. ``families`` are all that can be exported, by name."""
    family = families[record.family]
    source = record.source
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
        buckets=record.buckets,
        sum=record.sum,
        period=record.period,
        as_of_ms=record.end_ms,
        gaps=source.gaps,
        notes=tuple(_notes(record)),
    )


def _field(record: StoredSeries, spec: QuerySpec | None, families: Mapping[str, Family]) -> str:
    if spec is None:
        return ""
    of_period = {each.period_name: each.name for each in list(families.values()) if each.period}
    return spec.fields.get(of_period.get(record.family, record.family), "")


def _notes(record: StoredSeries) -> Iterator[str]:
    yield from _about_state(record)
    yield from _about_query(record.source)
    if record.sum is None:
        yield _about_gauge(record)
        return
    baseline = exact_sum(bucket.baseline for bucket in record.buckets)
    notes = {
        "{} of the provider's values predate the first poll (baseline, excluded).": baseline,
        "Buckets that polls no longer read are kept as one sum (retired): {}.": record.sum.retired,
        (
            "{} was counted and later retracted by the provider (overhang). A counter never falls: "
            "later growth repays it, or it is written off."
        ): record.sum.overhang,
        (
            "{} was retracted by the provider and not repaid in time. It is written off, so that new "
            "growth counts."
        ): record.sum.written_off,
    }
    yield from (note.format(number(value)) for note, value in notes.items() if value)
    if any(bucket.phase is Phase.OPEN for bucket in record.buckets):
        yield "The newest bucket is still open: the provider may still add to it."


STATES = {
    "dormant": "Not on /metrics: no change for 35 days. It returns with the next growth.",
    "hidden": "Not on /metrics: an alias or allow list replaced it with another series.",
    "removed": "Not on /metrics: the settings no longer have this query.",
}


def _about_state(record: StoredSeries) -> Iterator[str]:
    held = record.sum.held if record.sum else None
    if held is not None and record.exported is not None:
        yield (
            f"Shown as {number(held)} until a scrape has returned that value, so that increase() sees "
            "the first growth."
        )
    if record.state in STATES:
        yield STATES[record.state]


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
