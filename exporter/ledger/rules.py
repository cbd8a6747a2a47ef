"""The counting rules, pure: buckets in, counters out (``semantics.md`` B.2, B.3).

For each series the ledger keeps what the provider last said of each bucket (``obs``) and the part
of it that predates counting (``base``). Truth is ``T = retired + sum(obs - base)``, the exported
counter is ``C = T + overhang + written_off``. Truth is never summed again while polling: it is
``C - overhang - written_off``, and a poll adds its growth.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import NamedTuple

from exporter.model.samples import Window

Key = tuple[int, int]
"""A bucket: number of its series, start in UTC milliseconds."""

Figures = Mapping[int, Mapping[int, float]]
"""What a provider says, by number of the series and start of the bucket.

Nested, because most series of most polls are as they were, and are then compared as a whole.
"""

NONE: Mapping[int, float] = {}
COLLAPSE_SHARE = 0.5
COLLAPSE_UNITS = 100


class Bucket(NamedTuple):
    """What the provider last said of a bucket, and what of it is not counted."""

    obs: float
    base: float = 0.0


UNREAD = Bucket(0.0)
"""A bucket of which nothing was ever said."""


@dataclass(frozen=True, slots=True)
class Tally:
    """One counter's running numbers; ``since_ms`` is when the overhang began."""

    c: float = 0.0
    overhang: float = 0.0
    written_off: float = 0.0
    since_ms: int | None = None

    @property
    def truth(self) -> float:
        """Return what the provider's figures add up to."""
        return self.c - self.overhang - self.written_off


@dataclass(frozen=True, slots=True)
class Frame:
    """The circumstances of a read that decide how its rows count.

    ``baseline``: until a first range is wholly read, its rows are where counting starts.
    ``rebased`` says whether a series is to go on as it is with the window as its new baseline
    (its labels now stand for something else). ``last_read_ms`` is when the query was read before.
    """

    window: Window
    granularity_ms: int
    settle_ms: int
    baseline: bool = False
    last_read_ms: int | None = None
    rebased: Callable[[int], bool] = lambda _series: False


@dataclass(frozen=True, slots=True)
class Merge:
    """What a read changes: new values by bucket, growth by series, and what it revised."""

    buckets: Mapping[Key, Bucket]
    growth: Mapping[int, float]
    revisions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    revised: frozenset[Key] = frozenset()
    retracted: float = 0.0


def advance(
    tally: Tally,
    growth: float,
    now_ms: int,
    write_off_after_ms: int | None,
    *,
    forgive: bool = False,
) -> Tally:
    """Return ``tally`` after its truth grew by ``growth`` (which may be negative).

    The counter never falls: what truth lost stays as overhang, is repaid by later growth, and is
    written off after ``write_off_after_ms`` (None: never), or at once where ``forgive`` is set
    (a confirmed reset by the provider).
    """
    truth = tally.truth + growth
    c = max(tally.c, truth + tally.written_off)
    overhang = c - truth - tally.written_off
    if overhang == 0:
        return Tally(c, 0.0, tally.written_off)
    since_ms = now_ms if tally.since_ms is None else tally.since_ms
    aged = write_off_after_ms is not None and now_ms - since_ms >= write_off_after_ms
    if forgive or aged:
        return Tally(c, 0.0, tally.written_off + overhang)
    return Tally(c, overhang, tally.written_off, since_ms)


def concerned(known: Figures, rows: Figures, frame: Frame) -> dict[int, Collection[int]]:
    """Return the buckets that a read may change, by series: those with another figure now.

    Those of a baseline are all that there are.
    """
    return {
        series: starts
        for series in known.keys() | rows.keys()
        if (starts := _starts(known.get(series, NONE), rows.get(series, NONE), frame))
    }


def merge(known: Mapping[Key, Bucket], rows: Mapping[Key, float], frame: Frame) -> Merge:
    """Return what changes when a complete read gave ``rows`` where ``known`` was before.

    ``known`` are the ledger's buckets in the window, at least all that are ``concerned``. A known
    bucket that the read does not mention is 0 now: the read was complete, so absent means none.
    """
    buckets: dict[Key, Bucket] = {}
    growth: dict[int, float] = {}
    changes: list[tuple[Key, float, float]] = []
    for key, value in chain(rows.items(), zip(known.keys() - rows.keys(), repeat(0.0))):
        old = obs, base = known.get(key, UNREAD)
        if value == obs and not frame.baseline:
            continue
        series = key[0]
        rebased = frame.rebased(series)
        kept = _base(old, value, frame) if rebased or frame.baseline else base
        if (value, kept) == old:
            continue
        buckets[key] = Bucket(value, kept)
        growth[series] = growth.get(series, 0.0) + (value - kept) - (obs - base)
        if not rebased:
            changes.append((key, obs, value))
    return _described(Merge(buckets, growth), changes, frame)


def collapsed(known: Figures, rows: Figures, *, empty: bool) -> bool:
    """Say whether a read lost so much of the same buckets that it must be confirmed first.

    ``empty`` says that the read held nothing at all.
    """
    before = sum(sum(values.values()) for values in known.values())
    if before > 0 and empty:
        return True
    lost = sum(
        sum(values.values()) - sum(map(now.get, values, repeat(0.0)))
        for series, values in known.items()
        if (now := rows.get(series, NONE)) != values
    )
    return lost > COLLAPSE_UNITS and lost > COLLAPSE_SHARE * before


def _starts(before: Mapping[int, float], now: Mapping[int, float], frame: Frame) -> Collection[int]:
    if frame.baseline:
        return before.keys() | now.keys()
    if before == now:  # most series of most polls
        return ()
    return {start_ms for start_ms, _ in before.items() ^ now.items()}


def _base(old: Bucket, value: float, frame: Frame) -> float:
    """Return what of ``value`` is not counted, where it begins anew."""
    return value if frame.baseline else value - (old.obs - old.base)


def _described(merged: Merge, changes: list[tuple[Key, float, float]], frame: Frame) -> Merge:
    if frame.baseline or frame.last_read_ms is None:
        return merged
    revisions: dict[tuple[str, str], int] = {}
    revised: set[Key] = set()
    retracted = 0.0
    open_ms = frame.last_read_ms - frame.granularity_ms  # buckets from later on were not over
    settled_ms = open_ms - frame.settle_ms
    for key, before, after in changes:
        start_ms = key[1]
        if after == before or (after > before and start_ms > open_ms):
            continue
        stage = "settled" if start_ms <= settled_ms else "settling"
        direction = "up" if after > before else "down"
        revisions[direction, stage] = revisions.get((direction, stage), 0) + 1
        revised.add(key)
        if after < before:
            retracted += before - after
    return replace(merged, revisions=revisions, revised=frozenset(revised), retracted=retracted)
