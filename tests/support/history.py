"""What happened at an imaginary vendor, and what every counter must be because of it.

This states the counting rule without counting as the exporter does. A ``History`` is a list of
changes, and the truth of a series is the sum of those that a read after the first one has seen.
An ``Oracle`` compares the ledger's numbers before and after each transaction with that truth.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import HOUR_MS, CountRow, Reading, Window
from tests.support.builders import received

Place = tuple[str, int]
"""A channel and the start of an hour."""


@dataclass(slots=True, eq=False)
class Change:
    """The vendor's value of a place changed by ``units``; ``read`` once a read has seen that."""

    place: Place
    units: int
    read: bool = False


class History:
    """All changes so far; ``truth`` by series, which counts from the end of the first read on."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.truth: Counter[str] = Counter()
        self.counting = False
        self._first_ms: int | None = None

    def change(self, channel: str, hour_ms: int, units: int) -> None:
        """Change the value of an hour by ``units``, never to below 0."""
        now = self.values()[channel, hour_ms]
        self.changes.append(Change((channel, hour_ms), max(units, -now)))

    def values(self) -> Counter[Place]:
        """Return the vendor's present value of every place."""
        sums: Counter[Place] = Counter()
        for change in self.changes:
            sums[change.place] += change.units
        return sums

    def rows(self, window: Window) -> dict[Place, int]:
        """Return the vendor's rows in ``window``: no row where there is nothing."""
        return {at: value for at, value in self.values().items() if value and window.holds(at[1])}

    def unread_losses(self, from_ms: int) -> int:
        """Return how much less, at most, the next read can find of hours since ``from_ms``."""
        unread = (each for each in self.changes if not each.read and each.place[1] >= from_ms)
        return sum(-each.units for each in unread if each.units < 0)

    def read(
        self,
        window: Window,
        series_of: Callable[[str], str] = str,
        rebased: Collection[str] = (),
    ) -> None:
        """Record a successful read of ``window``.

        What it sees of the channels in ``rebased`` is their new baseline.
        """
        self._first_ms = window.start_ms if self._first_ms is None else self._first_ms
        for change in self.changes:
            channel, hour_ms = change.place
            if change.read or not window.holds(hour_ms) or hour_ms < self._first_ms:
                continue
            change.read = True
            if self.counting and channel not in rebased:
                self.truth[series_of(channel)] += change.units

    def read_past(self, window: Window) -> None:
        """Record that ``window`` was read as history: what it sees does not count."""
        found = [hour_ms for _, hour_ms in self.rows(window)]
        self._first_ms = min([*found, self._first_ms or 0])
        for change in self.changes:
            change.read |= window.holds(change.place[1])

    def begin_anew(self) -> None:
        """Let the next read be the first one again: the values mean something else now.

        None of them was read, so that what the first read does not reach counts later, as at a start.
        """
        self.counting = False
        self._first_ms = None
        for change in self.changes:
            change.read = False


def series_of(query: QuerySpec, channel: str) -> str:
    """Return the label value of a channel."""
    return query.label_rules.get("channel", LabelRule()).name(channel)


def readings(
    history: History, query: QuerySpec, window: Window, rng: Random, parts: int = 1
) -> list[Reading]:
    """Return what the vendor says of ``window``: rows in any order, in up to ``parts`` parts.

    A row may come in two pieces that belong together.
    """
    hours = (window.end_ms - window.start_ms) // HOUR_MS
    step_ms = max(1, -(-hours // parts)) * HOUR_MS
    found = []
    for start_ms in range(window.start_ms, window.end_ms, step_ms):
        part = Window(start_ms, min(start_ms + step_ms, window.end_ms))
        rows = _rows(history, query, part, rng)
        found.append(Reading(part, counts=rows, more=part.end_ms < window.end_ms))
    return found


def _rows(history: History, query: QuerySpec, window: Window, rng: Random) -> list[CountRow]:
    rows: list[CountRow] = []
    for (channel, hour_ms), value in history.rows(window).items():
        piece = rng.randint(0, value)
        series = received(series_of(query, channel))
        rows += [(series, hour_ms, float(n)) for n in (piece, value - piece) if n]
    rng.shuffle(rows)
    return rows


class Numbers(NamedTuple):
    """What the ledger holds of a counter."""

    counter: float = 0.0
    overhang: float = 0.0
    written_off: float = 0.0


@dataclass
class Oracle:
    """Judges the numbers of all series, transaction by transaction."""

    write_off_after_ms: int | None
    last: Mapping[str, Numbers] = field(default_factory=dict)
    ahead_since: dict[str, int] = field(default_factory=dict)

    def judge(
        self,
        numbers: Mapping[str, Numbers],
        truth: Counter[str],
        now_ms: int,
        *,
        reset: bool = False,
    ) -> None:
        """Fail if ``numbers`` cannot be; ``reset`` means that a collapse was confirmed."""
        for series in {*truth, *numbers}:
            before, after = (each.get(series, Numbers()) for each in (self.last, numbers))
            since_ms, limit_ms = self.ahead_since.get(series, now_ms), self.write_off_after_ms
            due = reset or (limit_ms is not None and now_ms - since_ms >= limit_ms)
            _judge(before, after, truth[series], due=due)
            if after.overhang:
                self.ahead_since[series] = since_ms
            else:
                self.ahead_since.pop(series, None)
        self.last = numbers


def _judge(before: Numbers, after: Numbers, truth: int, *, due: bool) -> None:
    """Fail where a counter is not explained by the truth; ``due``: overhang must be written off."""
    story = (before, after, truth)
    assert after.counter == truth + after.overhang + after.written_off, story
    assert after.counter >= before.counter, story
    assert after.overhang >= 0, story
    assert after.written_off >= before.written_off, story
    if after.counter > before.counter:  # it grows only once all that it was ahead is repaid
        assert (after.overhang, after.written_off) == (0, before.written_off), story
    if after.written_off > before.written_off:
        assert due, story
    if due:
        assert after.overhang == 0, story
