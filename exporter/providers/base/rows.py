"""Makes a reading of an answer's items: sums, labels, drift and missing fields in one place."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from exporter.errors import SchemaError, Truncated
from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import (
    LARGEST_EXACT,
    OTHER,
    Family,
    GaugeRow,
    Reading,
    Series,
    Window,
    floor_to,
)

DIGEST_HEX = 8
MOST_BYTES = 512 * 1024 * 1024
MOST_ITEMS = 1_000_000


def shorten(value: str, limit: int) -> str:
    """Return ``value`` in at most ``limit`` UTF-8 bytes (at least 16), cut between characters.

    A cut value ends in ``~`` and eight digits of its digest, so that long values stay distinct.
    """
    encoded = value.encode()
    if len(encoded) <= limit:
        return value
    mark = "~" + hashlib.blake2b(encoded, digest_size=DIGEST_HEX // 2).hexdigest()
    return encoded[: limit - len(mark)].decode(errors="ignore") + mark


def only(value: str, limit: int) -> LabelRule:
    """Return the rule of a label that the settings fix at ``value`` in every row.

    Another value means something else, so its series begin anew.
    """
    return LabelRule(allow=frozenset({value, shorten(value, limit)}))


class Labels:
    """Builds the series of one reading, with label values of at most ``limit`` bytes.

    ``dropped`` counts, by ``(family, reason)``, the label sets that lost something, each set once.
    """

    def __init__(self, label_rules: Mapping[str, LabelRule], limit: int) -> None:
        self.dropped: Counter[tuple[str, str]] = Counter()
        self._rules = label_rules
        self._limit = limit
        self._built: dict[tuple[str, tuple[str, ...]], Series] = {}

    def series(self, family: Family, *raw: str) -> Series:
        """Return the series of ``raw``, label values after ``provider, target``; others empty."""
        key = (family.name, raw)
        if key not in self._built:
            self._built[key] = self._build(family, raw)
        return self._built[key]

    def _build(self, family: Family, raw: tuple[str, ...]) -> Series:
        labels = family.labels[2:]
        named = [
            self._rules.get(label, LabelRule()).name(value)
            for label, value in zip(labels, raw, strict=False)
        ]
        values = [shorten(value, self._limit) for value in named]
        if values != named:
            self.dropped[family.name, "label_length"] += 1
        if any(value == OTHER != before for value, before in zip(named, raw, strict=True)):
            self.dropped[family.name, "not_allowlisted"] += 1
        return family.name, (*values, *[""] * (len(labels) - len(values)))


class TooLong(Truncated):
    """A list is longer than what is read at once."""


class ReadLimit:
    """Adds up what is read for one reading, whose items stay in memory until it is complete.

    The limits are far beyond what any account has; they stop a server that never ends a list.
    """

    def __init__(self, request: str) -> None:
        self._request = request
        self._bytes = self._items = 0

    def add(self, items: int, body: bytes = b"") -> None:
        """Add ``items`` and the ``body`` kept with them; raise ``TooLong`` beyond the limits."""
        self._bytes += len(body)
        self._items += items
        if self._items > MOST_ITEMS:
            raise TooLong(f"{self._request}: more than {MOST_ITEMS:,} items for one reading")
        if self._bytes > MOST_BYTES:
            raise TooLong(f"{self._request}: answers of more than 512 MiB for one reading")


class Rows:
    """Collects the results of one complete read of ``window``; ``reading`` returns them.

    Numbers of one label set and one bucket are summed. ``labels`` are values of a family's labels
    after ``provider, target``; those not given are empty. ``drift`` counts, by kind, what differs
    from the documentation but could be left out; ``unfit`` is that of ``Reading``. ``memo`` is what
    an earlier poll remembered; ``volume`` limits the answers that are read.
    """

    def __init__(self, window: Window, spec: QuerySpec, memo: Mapping[str, Any]) -> None:
        self.window = window
        self.memo = memo
        self.volume = ReadLimit(spec.request)
        self.drift: Counter[str] = Counter()
        self.unfit = ""
        self._notes: dict[str, None] = {}
        self._step_ms = spec.granularity_ms
        self._labels = Labels(spec.label_rules, spec.label_value_bytes)
        self._counts: defaultdict[tuple[Series, int], int] = defaultdict(int)
        self._gauges: defaultdict[tuple[str, Series, Window], float] = defaultdict(float)
        self._merged: set[tuple[str, Series, Window]] = set()
        self._kept: set[str] = set()
        self._lists_of: set[str] = set()
        self._remembered: Mapping[str, Any] | None = None

    def bucket(self, at_ms: int) -> int | None:
        """Return the start of the bucket that holds ``at_ms``, or None outside the window.

        An instant inside a bucket is drift.
        """
        start_ms = floor_to(at_ms, self._step_ms)
        if not self.window.holds(start_ms):
            return None
        self.drift["unexpected_type"] += start_ms != at_ms
        return start_ms

    def count(
        self, family: Family, labels: tuple[str, ...], bucket_ms: int, number: int | None
    ) -> None:
        """Add ``number`` to a counter's bucket.

        None: the field is missing, which is drift, and the ledger's buckets of ``family`` stay.
        """
        if number is None:
            self.drift["missing"] += 1
            self._kept.add(family.name)
        else:
            self.add(self.series(family, labels), bucket_ms, number)

    def series(self, family: Family, labels: tuple[str, ...]) -> Series:
        """Return the series that counts ``labels``; label rules may merge several sets into one."""
        return self._labels.series(family, *labels)

    def add(self, series: Series, bucket_ms: int, number: int) -> None:
        """Add ``number`` to a bucket of a series."""
        self._counts[series, bucket_ms] += number

    def bucket_value(
        self, family: Family, labels: tuple[str, ...], bucket: int | Window, value: float
    ) -> None:
        """Set a gauge of one bucket that does not add up over time: a distinct count, an average.

        Label sets that label rules merge have no common value, so none is shown.
        """
        self._gauge("bucket", family, labels, bucket, value)

    def level(
        self, family: Family, labels: tuple[str, ...], bucket_ms: int, value: float | None
    ) -> None:
        """Set a gauge that holds at the end of a bucket; None: the field is missing (drift)."""
        if value is None:
            self.drift["missing"] += 1
        else:
            self._gauge("level", family, labels, bucket_ms, value)

    def window_value(
        self, family: Family, labels: tuple[str, ...], value: float, window: Window | None = None
    ) -> None:
        """Set a gauge of a whole window: an entry of a list, a distinct count over days."""
        self._gauge("list", family, labels, window or self.window, value)
        self.list_of(family.name)

    def list_of(self, *families: str) -> None:
        """Note that the lists of ``families`` were read, so that an empty list empties them."""
        self._lists_of.update(families)

    def drop(self, family: Family, reason: str) -> None:
        """Count a label set of ``family`` that lost something for ``reason``."""
        self._labels.dropped[family.name, reason] += 1

    def note(self, text: str) -> None:
        """Note, once, what rows lack: see ``Reading.notes``."""
        self._notes[text] = None

    def remember(self, **memo: Any) -> None:
        """Store ``memo``, plain JSON values, for the next poll together with this reading."""
        self._remembered = memo

    def reading(self, *, more: bool = False) -> Reading:
        """Return what was collected; ``more``: another reading of the same poll follows.

        Raises ``SchemaError`` if a sum exceeds 2^53, beyond which floats merge neighbours.
        """
        counts = [(*key, number) for key, number in self._counts.items()]
        for (name, _), _, number in counts:
            if number > LARGEST_EXACT:
                raise SchemaError(f"{name}: the sum exceeds 2^53")
        return Reading(
            self.window,
            counts=[row for row in counts if row[0][0] not in self._kept],
            kept=frozenset(self._kept),
            buckets=self._gauges_of("bucket"),
            levels=self._gauges_of("level"),
            lists=self._gauges_of("list"),
            lists_of=frozenset(self._lists_of),
            drift=+self.drift,
            dropped=self._labels.dropped,
            notes=list(self._notes),
            unfit=self.unfit,
            memo=self._remembered,
            more=more,
        )

    def _gauge(
        self, kind: str, family: Family, labels: tuple[str, ...], at: int | Window, value: float
    ) -> None:
        window = at if isinstance(at, Window) else Window(at, at + self._step_ms)
        key = kind, self._labels.series(family, *labels), window
        if kind != "list" and key in self._gauges:
            self._merged.add(key)
            what = f"values of {family.name} that label rules merge"
            self.note(f"{what} do not add up: none is shown")
        self._gauges[key] += value

    def _gauges_of(self, kind: str) -> list[GaugeRow]:
        found = [row for row in self._gauges.items() if row[0] not in self._merged]
        return [GaugeRow(series, at, value) for (of, series, at), value in found if of == kind]
