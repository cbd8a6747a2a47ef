"""Decoded answers as rows of counts and gauges, by the query's program: pure functions."""

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import msgspec

from exporter.errors import SchemaError
from exporter.format import MINUTE, stamp
from exporter.model.numbers import count, level
from exporter.model.query import QuerySpec
from exporter.model.samples import SECOND_MS, Event, Series, Window, floor_to
from exporter.providers.base.rows import Rows
from exporter.providers.manifest.expressions import repeated_ms
from exporter.providers.manifest.program import (
    CompiledQuery,
    ReadField,
    RowContext,
    RowFeed,
    RowFilter,
    RowProgram,
    as_text,
    or_none,
)

_EXACT = Context(prec=200)
Amount = tuple[Series, int]


@dataclass(slots=True)
class MissingFields:
    """How many ``rows`` each feed had, and how many of them have null, or nothing, in a field.

    ``asked`` counts the rows in which a filter read a field, ``absent`` those without the field;
    ``seen`` counts all rows, ``chosen`` those that pass the query's filters.
    """

    drift: Counter[str] = field(default_factory=Counter)
    rows: Counter[RowFeed] = field(default_factory=Counter)
    fields: Counter[tuple[RowFeed, str, bool]] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    absent: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    chosen: int = 0

    def admits(self, filters: Sequence[RowFilter], row: RowContext) -> bool:
        """Return whether a row passes every filter."""
        return all(self._admits(each, row) for each in filters)

    def _admits(self, rule: RowFilter, row: RowContext) -> bool:
        value = rule.read(row)
        if not rule.optional:
            self.asked[rule.field] += 1
            self.absent[rule.field] += value is msgspec.UNSET
        return rule.admits(value)

    def add(self, feed: RowFeed, what: str, value: Any) -> None:
        """Note that a row has ``value``, null or ``UNSET``, in a field that a feed reads."""
        self.fields[feed, what, value is msgspec.UNSET] += 1

    def texts(self, feed: RowFeed, row: RowContext) -> tuple[str, ...]:
        """Return the label values of a row, after ``provider, target``."""
        self.rows[feed] += 1
        found = []
        for label in feed.labels.values():
            if label.read is None:
                found.append(label.constant)
                continue
            value = label.read(row)
            text = as_text(value)
            if text is None:
                text = label.null
            if text is None:
                self.drift["missing"] += 1
                self.add(feed, label.where, value)
            found.append(text or "")
        return tuple(found)

    def note_in(self, rows: Rows) -> None:
        """Note in ``rows`` which fields are missing, and why a query cannot begin without them."""
        rows.drift.update(self.drift)
        if self.seen and not self.chosen:
            rows.note(f"only and except admit none of {self.seen} rows")
        for name, times in self.asked.items():
            if self.absent[name] == times:
                note = f"no row has {name}, which a filter reads"
                rows.note(note)
                rows.unfit = rows.unfit or f"{note}; check the path, or list it under optional"
                rows.drift["missing"] += times
        for (feed, what, absent), times in self.fields.items():
            total = self.rows[feed]
            share = f"{'all' if times == total else f'{times} of'} {total} rows"
            share = "the only row" if total == 1 else share
            note = f"{what} is {'absent' if absent else 'null'} in {share}"
            everywhere = absent and times == total
            rows.unfit = rows.unfit or _unfit(feed, note, what, absent_everywhere=everywhere)
            rows.note(note)


def _unfit(feed: RowFeed, note: str, what: str, *, absent_everywhere: bool) -> str:
    """Return why a query cannot begin while rows lack ``what``; empty if it can."""
    if what.startswith("labels."):
        hint = "check the path, or give its meaning under null_labels"
        return f"{note}; {hint}" if absent_everywhere else ""
    if feed.of != "additive" or feed.missing == "zero":
        return ""
    return f"{note}, so {feed.family.name} cannot begin; check the path, or write missing: zero"


@dataclass(slots=True)
class Collector:
    """Adds answers to ``rows``; ``finish`` returns the events of a stream.

    ``now_ms`` is when they were requested. ``present`` are the buckets that the answers have.
    """

    query: CompiledQuery
    spec: QuerySpec
    rows: Rows
    now_ms: int
    lacking: MissingFields = field(default_factory=MissingFields)
    present: set[int] = field(default_factory=set)
    far: int = 0
    twice: int = 0
    _records: dict[str, tuple[RowContext, int]] = field(default_factory=dict)
    _amounts: defaultdict[Amount, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _shown: set[tuple[str, tuple[str, ...], int]] = field(default_factory=set)
    _zone: str | None = field(init=False)

    def __post_init__(self) -> None:
        self._zone = self.query.local_zone

    def add(self, answers: Sequence[Any], part: Window) -> None:
        """Add the answers for ``part``; rows outside it belong to another request."""
        program, shape = self.query.program, self.query.settings.shape
        if shape == "range":
            self._add_range(answers, part)
            return
        buckets = dict[int, int | None]()
        unique = shape == "buckets" and self.query.one_a_bucket
        twice = set[int]()
        for context in contexts(program, answers, program.at_level):
            at_ms = self._at(context)
            if at_ms not in buckets:
                buckets[at_ms] = self._bucket(at_ms, part)
            elif unique:
                self._check_repeated(at_ms, twice)
            bucket_ms = buckets[at_ms]
            if bucket_ms is None:
                continue
            self.present.add(bucket_ms)
            for row in _descend(program, context, len(program.levels)):
                if program.id is None:
                    self._add_row(row, bucket_ms)
                else:  # lists shift, and records change, while their pages are read
                    key = record_id(program.id, row)
                    known, _ = self._records.get(key, ((None,), 0))
                    self.twice += known[0] is row[0]
                    self._records[key] = row, at_ms

    def _bucket(self, at_ms: int, part: Window) -> int | None:
        """Return the start of the bucket that holds ``at_ms``, or None outside ``part``."""
        shape, step_ms = self.query.settings.shape, self.spec.granularity_ms
        start_ms = floor_to(at_ms, step_ms)
        near = Window(part.start_ms - step_ms, part.end_ms + step_ms)
        self.far += not near.holds(at_ms)  # it was not requested
        later_ms = self._later_ms(at_ms)
        if later_ms is not None and part.holds(later_ms):
            self.present.add(floor_to(later_ms, step_ms))
        if not part.holds(at_ms if shape == "records" else start_ms):
            return None
        self.rows.drift["unexpected_type"] += shape == "buckets" and at_ms != start_ms
        return start_ms

    def _check_repeated(self, at_ms: int, twice: set[int]) -> None:
        """Note in ``twice`` the second row of an instant; raise ``SchemaError`` if it is an error.

        A clock change repeats an hour, whose two rows have one local time.
        """
        if at_ms in twice or self._later_ms(at_ms) is None:
            raise SchemaError(f"{self.query.name}: duplicate bucket")
        twice.add(at_ms)

    def _later_ms(self, at_ms: int) -> int | None:
        """Return the later instant that rows with the local time of ``at_ms`` may have, too."""
        return None if self._zone is None else repeated_ms(at_ms, self._zone)

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
            self.rows.note("no row covers the window, which counts as a window without traffic")
        if not _covers(spans, part, whole=part.end_ms <= self.now_ms):
            words = "rows do not cover the window exactly"
            raise SchemaError(f"{self.query.name}: {words}")

    def finish(self) -> list[Event]:
        """Count each record once, as last read; round the sums of decimals, half to even."""
        events = list[Event]()
        for key, (row, at_ms) in self._records.items():
            if not self.query.settings.stream:
                self._add_row(row, floor_to(at_ms, self.spec.granularity_ms))
            elif self._wanted(row):
                events.append(self._event(key, row, at_ms))
        self.lacking.note_in(self.rows)
        self._note_strange()
        for (series, bucket_ms), total in self._amounts.items():
            whole = int(total.to_integral_value(ROUND_HALF_EVEN, _EXACT))
            self.rows.add(series, bucket_ms, whole)
        return events

    def _at(self, context: RowContext) -> int:
        at = self.query.program.at
        if at is None:
            raise AssertionError("only a range has rows without a time")
        return at(context)

    def _wanted(self, row: RowContext) -> bool:
        """Return whether a row counts; raise ``SchemaError`` if it is not as expected."""
        check_expected(self.query.program.expect, row)
        chosen = self.lacking.admits(self.query.program.only, row)
        self.lacking.seen += 1
        self.lacking.chosen += chosen
        return chosen

    def _fed(self, row: RowContext) -> Iterator[tuple[RowFeed, tuple[str, ...]]]:
        """Yield the feeds that a row counts for, and its label values."""
        for feed in self.query.program.feeds:
            if not feed.only or self.lacking.admits(feed.only, row):
                yield feed, self.lacking.texts(feed, row)

    def _event(self, key: str, row: RowContext, at_ms: int) -> Event:
        """Return a record as an event; the ledger knows earlier ids."""
        identity = f"{self.rows.memo.get('ids', self.spec.name)}\n{key}"
        digest = hashlib.blake2b(identity.encode(), digest_size=16).digest()
        counts = tuple(self.rows.series(feed.family, labels) for feed, labels in self._fed(row))
        return Event(digest, at_ms, counts, zlib.crc32(repr((at_ms, counts)).encode()))

    def _add_row(self, row: RowContext, bucket_ms: int) -> None:
        if not self._wanted(row):
            return
        for feed, labels in self._fed(row):
            if feed.of != "additive":
                self._show(feed, labels, bucket_ms, row)
            elif feed.exact:
                self._add_amount(feed, labels, bucket_ms, row)
            else:
                number = _whole(feed, row, self.lacking) if feed.values else feed.constant
                self.rows.count(feed.family, labels, bucket_ms, number)

    def _add_amount(
        self, feed: RowFeed, labels: tuple[str, ...], bucket_ms: int, row: RowContext
    ) -> None:
        amount = _amount(feed, row, self.lacking)
        if amount is None:
            self.rows.count(feed.family, labels, bucket_ms, None)
            return
        key = self.rows.series(feed.family, labels), bucket_ms
        parts = _EXACT.multiply(amount, Decimal(feed.family.per_unit))
        self._amounts[key] = _EXACT.add(self._amounts[key], parts)

    def _show(
        self, feed: RowFeed, labels: tuple[str, ...], bucket_ms: int, row: RowContext
    ) -> None:
        if self._later_ms(bucket_ms) is not None:
            return  # a bucket of two hours: no gauge of an hour shows it
        if feed.exact:
            amount = _amount(feed, row, self.lacking)
            value = None if amount is None else float(amount)
        else:
            numbers = _numbers(feed, row, self.lacking)
            value = None if numbers is None else level(numbers[0][1], feed.field, least=feed.least)
        if value is None:
            self.rows.drift["missing"] += 1
            return
        key = feed.family.name, labels, bucket_ms
        if key in self._shown:
            raise SchemaError(f"{feed.field}: duplicate bucket, and such values do not add up")
        self._shown.add(key)
        show = self.rows.level if feed.of == "level" else self.rows.bucket_value
        show(feed.family, labels, bucket_ms, value)

    def _note_strange(self) -> None:
        """Note, as drift, instants far outside the window, and ids repeated within one answer."""
        self.rows.drift["unexpected_type"] += self.far + self.twice
        if self.far:
            start, end = (stamp(at_ms, MINUTE) for at_ms in astuple(self.rows.window))
            words = f"rows of {self.far} instants lie outside the window {start} to {end} UTC"
            self.rows.note(f"{words}; give --at, the time of the answers")
        if self.twice:
            words = f"{self.twice} rows of one answer have the id of another and replace it"
            self.rows.note(f"{words}: does id identify a row?")


def _covers(spans: Sequence[tuple[int, int]], part: Window, *, whole: bool) -> bool:
    """Return whether ``spans`` follow one another from start to end of ``part``, or are empty.

    They may end within a part that is not over, unless the ``whole`` part must be covered.
    """
    at_ms = part.start_ms
    for start_ms, end_ms in sorted(spans):
        if start_ms != at_ms or end_ms <= start_ms:
            return False
        at_ms = end_ms
    return not spans or at_ms == part.end_ms or (at_ms < part.end_ms and not whole)


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
        raise SchemaError(f"{found.name}: the list contains null")
    return list(listed)


def record_id(read: ReadField, row: RowContext) -> str:
    """Return a record's id as text; raise ``SchemaError`` if it is missing."""
    found = as_text(read(row))
    if not found:
        raise SchemaError("id: missing", "missing")
    return found


def _numbers(
    feed: RowFeed, row: RowContext, lacking: MissingFields
) -> list[tuple[str, Any]] | None:
    """Return the numbers that a row adds up, with their paths; None if a missing one is kept."""
    numbers = []
    for what, read in feed.values:
        found = read(row)
        for number in found if isinstance(found, list) else (found,):
            if or_none(number) is not None:
                numbers.append((what, number))
                continue
            if feed.missing == "error":
                raise SchemaError(f"{what}: missing", "missing")
            lacking.add(feed, what, number)
            if feed.missing == "keep":
                return None
    return numbers


def _whole(feed: RowFeed, row: RowContext, lacking: MissingFields) -> int | None:
    numbers = _numbers(feed, row, lacking)
    try:
        return None if numbers is None else sum(count(number, what) for what, number in numbers)
    except SchemaError as error:
        if error.kind != "non_integer":
            raise
        hint = "fractions need a family of your own, with a resolution such as 0.0001"
        raise SchemaError(f"{error}: {hint}", error.kind) from None


def _amount(feed: RowFeed, row: RowContext, lacking: MissingFields) -> Decimal | None:
    numbers = _numbers(feed, row, lacking)
    if numbers is None:
        return None
    total = Decimal(0)
    for what, number in numbers:
        if number < feed.least:
            raise SchemaError(f"{what}: negative", "negative")
        total = _EXACT.add(total, number)
    return _EXACT.multiply(total, feed.scale)


def check_expected(rules: Sequence[RowFilter], context: RowContext) -> None:
    """Raise ``SchemaError`` if a field has an unexpected value."""
    for rule in rules:
        if not rule.admits(rule.read(context)):
            raise SchemaError(f"{rule.field}: unexpected value", "unknown_enum")
