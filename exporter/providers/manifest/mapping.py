"""Decoded answers become rows of counts and gauges: pure, as the query's program says."""

import hashlib
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import groupby
from typing import Any

import msgspec

from exporter.errors import SchemaError
from exporter.format import stamp
from exporter.model.numbers import count, level
from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import (
    LARGEST_EXACT,
    SECOND_MS,
    Event,
    Family,
    Reading,
    Series,
    Window,
    floor_to,
)
from exporter.providers.base.rows import Labels, Rows
from exporter.providers.manifest.fields import ReadField, RowContext, as_text, exact, or_none
from exporter.providers.manifest.model import ManifestQuery
from exporter.providers.manifest.program import (
    EACH,
    CompiledQuery,
    ReadLabel,
    RowFeed,
    RowFilter,
    RowProgram,
)

_EXACT = Context(prec=200)
Amount = tuple[Series, int]


@dataclass(frozen=True, slots=True, eq=False)
class BoundFeed:
    """A feed of one target: the family it feeds, and each of its labels as text or as it is read."""

    feed: RowFeed
    family: Family
    labels: tuple[str | ReadLabel, ...]

    @property
    def constants(self) -> tuple[str, ...] | None:
        """Return the label values, or None where some are read."""
        constant = tuple(label for label in self.labels if isinstance(label, str))
        return constant if len(constant) == len(self.labels) else None

    def texts(self, context: RowContext, lacking: "Lacking") -> tuple[str, ...]:
        """Return the label values of a row, after ``provider, target``."""
        lacking.rows[self] += 1
        found = []
        for label in self.labels:
            if isinstance(label, str):
                found.append(label)
                continue
            value = label.read(context) if label.read else None
            text = as_text(value)
            if text is None:
                text = label.null
            if text is None:
                lacking.drift["missing"] += 1
                lacking.add(self, label.where, value)
            found.append(text or "")
        return tuple(found)

    def unfit(self, note: str, what: str, *, absent_everywhere: bool) -> str:
        """Return why no query begins where rows lack ``what``; empty: it may."""
        if what.startswith("labels."):
            hint = "check the path, or say under null_labels what it means"
            return f"{note}; {hint}" if absent_everywhere else ""
        if self.feed.of != "additive" or self.feed.missing == "zero":
            return ""
        return f"{note}, so {self.family.name} cannot begin; check the path, or write missing: zero"


@dataclass(slots=True)
class Lacking:
    """How many ``rows`` each feed had, and how many of them have null, or nothing, in a field.

    ``asked`` and ``absent`` count the rows whose field a filter read, and those without it; ``seen``
    and ``chosen`` all rows, and those that the query's filters leave.
    """

    drift: Counter[str] = field(default_factory=Counter)
    rows: Counter[BoundFeed] = field(default_factory=Counter)
    fields: Counter[tuple[BoundFeed, str, bool]] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    absent: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    chosen: int = 0

    def admits(self, filters: Sequence[RowFilter], row: RowContext) -> bool:
        """Say whether a row passes every filter."""
        return all(self._admits(each, row) for each in filters)

    def _admits(self, rule: RowFilter, row: RowContext) -> bool:
        value = rule.read(row)
        if not rule.optional:
            self.asked[rule.field] += 1
            self.absent[rule.field] += value is msgspec.UNSET
        return rule.admits(value)

    def add(self, bound: BoundFeed, what: str, value: Any) -> None:
        """Note that a row has ``value``, null or ``UNSET``, in a field that a feed reads."""
        self.fields[bound, what, value is msgspec.UNSET] += 1

    def note_in(self, rows: Rows) -> None:
        """Write down in ``rows`` which fields are lacking, and why no query begins so."""
        rows.drift.update(self.drift)
        if self.seen and not self.chosen:
            rows.notes.append(f"only and except leave none of {self.seen} rows")
        for name, times in self.asked.items():
            if self.absent[name] == times:
                note = f"{name}, by which rows are chosen, is in no row"
                rows.notes.append(note)
                rows.unfit = rows.unfit or f"{note}; check the path, or list it under optional"
                rows.drift["missing"] += times
        for (bound, what, absent), times in self.fields.items():
            total = self.rows[bound]
            share = f"{'all' if times == total else f'{times} of'} {total} rows"
            share = "the only row" if total == 1 else share
            note = f"{what} is {'absent' if absent else 'null'} in {share}"
            everywhere = absent and times == total
            rows.unfit = rows.unfit or bound.unfit(note, what, absent_everywhere=everywhere)
            if note not in rows.notes:
                rows.notes.append(note)


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A query of one target: what is read, and what it feeds."""

    name: str
    settings: ManifestQuery
    program: RowProgram
    feeds: tuple[BoundFeed, ...]

    @property
    def label_rules(self) -> Mapping[str, LabelRule]:
        """Return how label values become those that are shown."""
        return {
            label: LabelRule(rule.map, None if rule.allow is None else frozenset(rule.allow))
            for label, rule in self.settings.label_rules.items()
        }

    @property
    def fixed(self) -> Mapping[Series, BoundFeed]:
        """Return the series whose labels no row tells, and what feeds each."""
        labels = Labels(self.label_rules, sys.maxsize)
        return {
            labels.series(bound.family, *bound.constants): bound
            for bound in self.feeds
            if bound.constants is not None
        }

    @property
    def one_a_bucket(self) -> bool:
        """Return whether two rows of one instant can only be one row given twice."""
        of_rows = self.program.at_level == len(self.program.levels)
        return of_rows and all(bound.constants is not None for bound in self.feeds)


def bind(
    compiled: CompiledQuery, families: Mapping[str, Family], variables: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], BoundQuery]]:
    """Yield the query for a target, once for each value of its loop, with this value by its name."""
    loop = compiled.settings.for_each
    looped = [{name: value} for name, values in loop.items() for value in values]
    for each in looped or [dict[str, str]()]:
        fed = [by[value] for by in loop.values() if isinstance(by, dict) for value in each.values()]
        given = {f"variables.{name}": value for name, value in variables.items()}
        given |= {f"{EACH}.{name}": value for name, value in each.items()}
        yield each, _bind(compiled, families[fed[0]] if fed else None, given)


def _bind(compiled: CompiledQuery, looped: Family | None, given: Mapping[str, str]) -> BoundQuery:
    feeds = list[BoundFeed]()
    for feed in compiled.program.feeds:
        family = feed.family or looped
        if family is None:
            continue
        labels: list[str | ReadLabel] = []
        for name in family.labels[2:]:
            label = feed.labels.get(name)
            if label is None:
                labels.append(feed.window if name == "window" else "")
            elif label.read is None:
                labels.append(given[label.variable] if label.variable else label.constant)
            else:
                labels.append(label)
        feeds.append(BoundFeed(feed, family, tuple(labels)))
    return BoundQuery(compiled.name, compiled.settings, compiled.program, tuple(feeds))


@dataclass(slots=True)
class Collector:
    """Adds answers to ``rows``. ``present`` are the buckets that the answers have.

    ``now_ms`` is when they were asked for.
    """

    query: BoundQuery
    rows: Rows
    step_ms: int
    now_ms: int
    lacking: Lacking = field(default_factory=Lacking)
    present: set[int] = field(default_factory=set)
    far: int = 0
    twice: int = 0
    _records: dict[str, tuple[RowContext, int]] = field(default_factory=dict)
    _amounts: defaultdict[Amount, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _shown: set[tuple[str, tuple[str, ...], int]] = field(default_factory=set)

    def add(self, answers: Sequence[Any], part: Window) -> None:
        """Add the answers for ``part``; rows outside it belong to another request."""
        shape = self.query.settings.shape
        if shape == "range":
            self._add_range(answers, part)
            return
        program, buckets = self.query.program, dict[int, int | None]()
        unique = shape == "buckets" and self.query.one_a_bucket
        for context in contexts(program, answers, program.at_level):
            at_ms = self._at(context)
            if unique and at_ms in buckets:
                raise SchemaError(f"{self.query.name}: a bucket came twice")
            if at_ms not in buckets:
                start_ms = floor_to(at_ms, self.step_ms)
                inside = part.holds(at_ms if shape == "records" else start_ms)
                buckets[at_ms] = start_ms if inside else None
                self.far += _is_far(at_ms, part, self.step_ms)
                self.rows.drift["unexpected_type"] += (
                    inside and shape == "buckets" and at_ms != start_ms
                )
            bucket_ms = buckets[at_ms]
            if bucket_ms is not None:
                self.present.add(bucket_ms)
                for row in _descend(program, context, len(program.levels)):
                    if program.id is None:
                        self._add_row(row, bucket_ms)
                    else:  # lists shift, and records change, while their pages are read
                        key = record_id(program.id, row)
                        known, _ = self._records.get(key, ((None,), 0))
                        self.twice += known[0] is row[0]
                        self._records[key] = row, bucket_ms

    def _add_range(self, answers: Sequence[Any], part: Window) -> None:
        program, inclusive = self.query.program, self.query.settings.window.end
        spans = []
        for context in contexts(program, answers, program.at_level):
            if program.at and program.until:
                end_ms = program.until(context)
                if inclusive == "inclusive":  # 23:59:59.999, or 23:59:59
                    end_ms = floor_to(end_ms + SECOND_MS, SECOND_MS)
                spans.append((program.at(context), end_ms))
            for row in _descend(program, context, len(program.levels)):
                self._add_row(row, part.start_ms)
        self.present.add(part.start_ms)
        if program.until and not spans:
            self.rows.drift["missing"] += 1
            self.rows.notes.append("no row covers the window, which counts as one without traffic")
        if not _covers(spans, part, whole=part.end_ms <= self.now_ms):
            words = "rows do not cover the window exactly"
            raise SchemaError(f"{self.query.name}: {words}")

    def finish(self) -> None:
        """Count each record once, as last read; round the sums of decimals, half to even."""
        for row, bucket_ms in self._records.values():
            self._add_row(row, bucket_ms)
        self.lacking.note_in(self.rows)
        _note_strange(self.rows, self.far, self.twice)
        for (series, bucket_ms), total in self._amounts.items():
            whole = int(total.to_integral_value(ROUND_HALF_EVEN, _EXACT))
            if whole > LARGEST_EXACT:
                raise SchemaError(f"{series[0]}: larger than can be counted")
            self.rows.add(series, bucket_ms, whole)

    def _at(self, context: RowContext) -> int:
        at = self.query.program.at
        if at is None:
            raise AssertionError("only a range has rows without a time")
        return at(context)

    def _add_row(self, row: RowContext, bucket_ms: int) -> None:
        if not wanted(self.query.program, row, self.lacking):
            return
        for bound in self.query.feeds:
            feed = bound.feed
            if feed.only and not self.lacking.admits(feed.only, row):
                continue
            labels = bound.texts(row, self.lacking)
            if feed.of != "additive":
                self._show(bound, labels, bucket_ms, row)
            elif feed.exact:
                self._add_amount(bound, labels, bucket_ms, row)
            else:
                number = _whole(bound, row, self.lacking) if feed.values else feed.constant
                self.rows.count(bound.family, labels, bucket_ms, number)

    def _add_amount(
        self, bound: BoundFeed, labels: tuple[str, ...], bucket_ms: int, row: RowContext
    ) -> None:
        amount = _amount(bound, row, self.lacking)
        if amount is None:
            self.rows.count(bound.family, labels, bucket_ms, None)
            return
        key = self.rows.series(bound.family, labels), bucket_ms
        parts = _EXACT.multiply(amount, Decimal(bound.family.per_unit))
        self._amounts[key] = _EXACT.add(self._amounts[key], parts)

    def _show(
        self, bound: BoundFeed, labels: tuple[str, ...], bucket_ms: int, row: RowContext
    ) -> None:
        feed, family = bound.feed, bound.family
        if feed.exact:
            amount = _amount(bound, row, self.lacking)
            value = None if amount is None else float(amount)
        else:
            numbers = _numbers(bound, row, self.lacking)
            value = None if numbers is None else level(numbers[0][1], feed.field, least=feed.least)
        if value is None:
            self.rows.drift["missing"] += 1
            return
        key = family.name, labels, bucket_ms
        if key in self._shown:
            raise SchemaError(f"{feed.field}: a bucket came twice, and such values do not add up")
        self._shown.add(key)
        show = self.rows.level if feed.of == "level" else self.rows.bucket_value
        show(family, labels, bucket_ms, value)


def _covers(spans: Sequence[tuple[int, int]], part: Window, *, whole: bool) -> bool:
    """Say whether ``spans`` follow one another from begin to end of ``part``, or are none.

    They may end within a part that is not over, unless the ``whole`` of it must be covered.
    """
    at_ms = part.start_ms
    for start_ms, end_ms in sorted(spans):
        if start_ms != at_ms or end_ms <= start_ms:
            return False
        at_ms = end_ms
    return not spans or at_ms == part.end_ms or (at_ms < part.end_ms and not whole)


def _is_far(at_ms: int, part: Window, step_ms: int) -> bool:
    """Say whether an instant is so far outside ``part`` that nobody asked for it."""
    return not Window(part.start_ms - step_ms, part.end_ms + step_ms).holds(at_ms)


def _note_strange(rows: Rows, far: int, twice: int) -> None:
    """Note, as drift, instants far outside the window and ids that came twice in one answer."""
    rows.drift["unexpected_type"] += far + twice
    if far:
        start, end = (stamp(at_ms)[:-7] for at_ms in astuple(rows.window))
        words = f"rows of {far} instants lie outside the window {start} to {end} UTC"
        rows.notes.append(f"{words}; give --at, the time of the answers")
    if twice:
        words = f"{twice} rows of one answer have the id of another and replace it"
        rows.notes.append(f"{words}: does id tell rows apart?")


def contexts(program: RowProgram, answers: Sequence[Any], depth: int) -> Iterator[RowContext]:
    """Yield the contexts of the items at level ``depth``."""
    for answer in answers:
        yield from _descend(program, (answer,), depth)


def _descend(program: RowProgram, context: RowContext, depth: int) -> Iterator[RowContext]:
    if len(context) > depth:
        yield context
        return
    for item in items(program, context):
        yield from _descend(program, (*context, item), depth)


def items(program: RowProgram, context: RowContext) -> Sequence[Any]:
    """Return the items of the level that follows ``context``; those of a map are pairs."""
    if not program.levels:
        return context
    found = program.levels[len(context) - 1]
    listed: Any = or_none(found.read(context))
    if listed is None:
        parent = f"in {program.levels[len(context) - 2].name}" if context[1:] else "in the answer"
        raise SchemaError(f"{found.name}: {found.path} is not {parent}", "missing")
    if found.entries:
        listed = listed.items()
    if None in listed or (found.entries and any(value is None for _, value in listed)):
        raise SchemaError(f"{found.name}: null in the list of it")
    return list(listed)


def record_id(read: ReadField, row: RowContext) -> str:
    """Return what tells a record apart; raise ``SchemaError`` where it is missing."""
    found = as_text(read(row))
    if not found:
        raise SchemaError("id: missing", "missing")
    return found


def _numbers(bound: BoundFeed, row: RowContext, lacking: Lacking) -> list[tuple[str, Any]] | None:
    """Return the numbers that a row adds up, with their paths; None where a missing one keeps all."""
    numbers = []
    for what, read in bound.feed.values:
        found = read(row)
        for number in found if isinstance(found, list) else (found,):
            if or_none(number) is not None:
                numbers.append((what, number))
                continue
            if bound.feed.missing == "error":
                raise SchemaError(f"{what}: missing", "missing")
            lacking.add(bound, what, number)
            if bound.feed.missing == "keep":
                return None
    return numbers


def _whole(bound: BoundFeed, row: RowContext, lacking: Lacking) -> int | None:
    numbers = _numbers(bound, row, lacking)
    try:
        return None if numbers is None else sum(count(number, what) for what, number in numbers)
    except SchemaError as error:
        if error.kind != "non_integer":
            raise
        hint = "fractions need an own family with a resolution, such as 0.0001"
        raise SchemaError(f"{error}: {hint}", error.kind) from None


def _amount(bound: BoundFeed, row: RowContext, lacking: Lacking) -> Decimal | None:
    numbers = _numbers(bound, row, lacking)
    if numbers is None:
        return None
    total = Decimal(0)
    for what, number in numbers:
        if exact(number, what) < bound.feed.least:
            raise SchemaError(f"{what}: negative", "negative")
        total = _EXACT.add(total, number)
    return _EXACT.multiply(total, bound.feed.scale)


def wanted(program: RowProgram, row: RowContext, lacking: Lacking) -> bool:
    """Say whether a row counts; raises ``SchemaError`` where it is not as the manifest expects."""
    check_expected(program.expect, row)
    chosen = lacking.admits(program.only, row)
    lacking.seen += 1
    lacking.chosen += chosen
    return chosen


def check_expected(rules: Sequence[RowFilter], context: RowContext) -> None:
    """Raise ``SchemaError`` where a field has a value that is not expected."""
    for rule in rules:
        if not rule.admits(rule.read(context)):
            raise SchemaError(f"{rule.field}: not a value that is expected", "unknown_enum")


def events(
    query: BoundQuery, spec: QuerySpec, answers: Sequence[Any], part: Window, rows: Rows
) -> list[Event]:
    """Return the records of ``part`` as events, each id once; the ledger knows earlier ids."""
    program, labels = query.program, Labels(spec.label_rules, spec.label_value_bytes)
    found: dict[bytes, Event] = {}
    answer_of: dict[bytes, Any] = {}
    far = twice = 0
    lacking = Lacking()
    if program.at is None or program.id is None:
        raise AssertionError("records have a time and an id")
    for row in contexts(program, answers, len(program.levels)):
        at_ms = program.at(row)
        far += _is_far(at_ms, part, spec.granularity_ms)
        if not part.holds(at_ms) or not wanted(program, row, lacking):
            continue
        identity = f"{spec.name}\n{record_id(program.id, row)}"
        digest = hashlib.blake2b(identity.encode(), digest_size=16).digest()
        twice += answer_of.get(digest) is row[0]
        answer_of[digest] = row[0]
        counts = tuple(
            labels.series(bound.family, *bound.texts(row, lacking))
            for bound in query.feeds
            if lacking.admits(bound.feed.only, row)
        )
        found[digest] = Event(digest, at_ms, counts, zlib.crc32(repr((at_ms, counts)).encode()))
    lacking.note_in(rows)
    _note_strange(rows, far, twice)
    return list(found.values())


def by_presence(
    reading: Reading, present: set[int], fed: frozenset[str], step_ms: int
) -> list[Reading]:
    """Return ``reading`` in parts, so that buckets of ``fed`` that are not ``present`` stay."""
    starts = range(reading.window.start_ms, reading.window.end_ms, step_ms)
    parts = list[Reading]()
    for there, run in groupby(starts, lambda start_ms: start_ms in present):
        listed = list(run)
        window = Window(listed[0], listed[-1] + step_ms)
        part = replace(
            reading,
            window=window,
            counts=[row for row in reading.counts if window.holds(row[1])],
            kept=reading.kept if there else fed,
            buckets=[row for row in reading.buckets if window.holds(row.window.start_ms)],
            levels=[row for row in reading.levels if window.holds(row.window.start_ms)],
            drift=reading.drift if not parts else {},
            dropped=reading.dropped if not parts else {},
            notes=reading.notes if not parts else (),
            more=True,
        )
        parts.append(part)
    return [*parts[:-1], replace(parts[-1], more=reading.more)]
