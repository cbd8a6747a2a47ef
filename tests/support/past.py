"""What a made-up vendor's account went through, and what counters must make of it.

The truth that properties compare with: changes, one after another, nothing overwritten. It shares
nothing with how the exporter counts.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from exporter.model.samples import Window

Place = tuple[str, int]
"""A channel and the start of an hour."""


@dataclass(slots=True, eq=False)
class Change:
    """The vendor's figure of a place moved by ``units``; ``read`` once a poll could see it."""

    place: Place
    units: int
    read: bool = False


class Past:
    """All changes so far, and which of them a poll has read."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.begun = False
        self._said: dict[Place, int] = {}
        self._floor_ms: int | None = None

    def change(self, channel: str, hour_ms: int, units: int) -> None:
        """Let the figure of an hour move by ``units``, never below 0."""
        now = self.figures().get((channel, hour_ms), 0)
        self.changes.append(Change((channel, hour_ms), max(units, -now)))

    def figures(self) -> dict[Place, int]:
        """Return what the vendor says of every place now."""
        sums: Counter[Place] = Counter()
        for change in self.changes:
            sums[change.place] += change.units
        return dict(sums)

    def answer(self, window: Window) -> dict[Place, int]:
        """Return the vendor's rows in ``window``: no row where there is nothing."""
        return {
            place: figure
            for place, figure in self.figures().items()
            if figure and window.holds(place[1])
        }

    def odd(self, window: Window, apart_from: Collection[str] = ()) -> bool:
        """Say whether the vendor now denies most of what it said of the hours in ``window``.

        Channels in ``apart_from`` have no say.
        """
        answer = self.answer(window)
        before = {
            place: figure
            for place, figure in self._said.items()
            if window.holds(place[1]) and place[0] not in apart_from
        }
        lost = sum(before.values()) - sum(answer.get(place, 0) for place in before)
        if not answer:
            return lost > 0
        return lost > 100 and 2 * lost > sum(before.values())

    def read(self, window: Window) -> Counter[str]:
        """Take note of a read of ``window``; return what it brings that was not read before."""
        if self._floor_ms is None:
            self._floor_ms = window.start_ms
        news: Counter[str] = Counter()
        for change in self.changes:
            if not change.read and self._readable(window, change.place[1]):
                change.read = True
                news[change.place[0]] += change.units
        answer = self.answer(window)
        for place in {*self._said, *answer}:
            if self._readable(window, place[1]):
                self._said[place] = answer.get(place, 0)
        return news if self.begun else Counter()

    def forget(self) -> None:
        """Let counting start anew with the next read: the figures mean something else now."""
        self.begun = False
        self._said.clear()
        self._floor_ms = None

    def _readable(self, window: Window, hour_ms: int) -> bool:
        return window.holds(hour_ms) and (self._floor_ms is None or hour_ms >= self._floor_ms)


@dataclass(slots=True)
class Dial:
    """What one counter must show: never less, and not stuck for longer than ``patience_ms``."""

    patience_ms: int | None
    truth: int = 0
    shows: int = 0
    forgiven: int = 0
    since_ms: int | None = None

    def move(self, units: int, now_ms: int, *, forgive: bool = False) -> None:
        """Let the truth move by ``units``."""
        self.truth += units
        self.shows = max(self.shows, self.truth + self.forgiven)
        ahead = self.shows - self.truth - self.forgiven
        if not ahead:
            self.since_ms = None
            return
        self.since_ms = now_ms if self.since_ms is None else self.since_ms
        aged = self.patience_ms is not None and now_ms - self.since_ms >= self.patience_ms
        if aged or forgive:
            self.forgiven += ahead
            self.since_ms = None


@dataclass(slots=True)
class Dials:
    """The dials of all series, by the name that a channel has at the time."""

    patience_ms: int | None
    name: Callable[[str], str]
    dials: defaultdict[str, Dial] = field(init=False)

    def __post_init__(self) -> None:
        self.dials = defaultdict(lambda: Dial(self.patience_ms))

    def move(self, news: Counter[str], now_ms: int, *, forgive: bool = False) -> None:
        """Let what was read reach the dials; time reaches all of them."""
        units: Counter[str] = Counter()
        for channel, number in news.items():
            units[self.name(channel)] += number
        for series in {*units, *self.dials}:
            self.dials[series].move(units[series], now_ms, forgive=forgive)
