"""Every number of the rules, with the reason for it."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Drop:
    """When the mean of a window counts as a drop: all three must agree.

    ``score``: distance from the expectation in the bot's own usual deviations. ``share``: part of
    the expectation that is left. ``least``: events that the window should have held; below it,
    chance explains a total outage. ``hold`` and ``keep`` are how long before and after.
    ``ago``: the usual deviations are those until then, so that a fresh drop cannot widen its own
    band.
    """

    name: str
    hours: int
    score: float
    share: float
    hold: str
    keep: str
    least: float = 20
    ago: str = "1d"

    @property
    def window(self) -> str:
        """The window as the names of recorded series have it."""
        return f"avg{self.hours}h"


@dataclass(frozen=True, slots=True)
class Share:
    """When a share (fallbacks, handovers) counts as risen: all three must agree."""

    hours: int
    rise: float = 0.10
    score: float = 4
    least: int = 50
    floor: float = 0.02
    hold: str = "30m"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The parameters that rules are written from.

    ``interval_s`` is how often Prometheus evaluates them: counts of samples follow from it.
    """

    interval_s: int = 300
    coverage: float = 0.8  # of a window's samples; absorbs restarts and edge rules of 2.x and 3.x
    weeks: int = 4
    weeks_needed: int = 3  # so that one holiday or one viral week cannot decide
    weekly_spread: float = 0.1225  # beyond chance, every bot differs by 12 % from week to week
    variance_factor: float = 1.3  # variance of a count and of the median of four others
    scale_min_events: int = 10  # events in a window from which the usual deviation is learnt
    scale_window: str = "21d:3h"  # what it is learnt from, and the step between samples
    scale_factor: float = 0.75  # of the learnt deviation: a median of three weeks errs by a quarter
    adjacent_reach: float = 0.8  # in roots of events: less than chance, so that one day differs
    carry_over: float = 0.5  # part of a day's deviation, beyond chance, that lasts to the next
    level_range: tuple[float, float] = (0.65, 1.5)  # outside: a campaign, a holiday, a drop
    recovered_h: int = 3  # hours in time before a drop counts after an outage
    # Chosen together so that nine in ten episodes are drops: the windows of half a day and a day find
    # most, so they are the lenient ones; the short ones find the deep drops sooner (docs/replay.md).
    drops: tuple[Drop, ...] = (
        Drop("Sudden", 1, -4.25, 0.5, "1h", "1h"),
        Drop("Fast", 3, -4.25, 0.5, "30m", "1h"),
        Drop("QuarterDay", 6, -4.25, 0.55, "1h", "3h", least=10),
        Drop("HalfDay", 12, -3.5, 0.6, "1h", "6h", least=10),
        Drop("Daily", 24, -3, 0.55, "2h", "6h", least=30, ago="2d"),
    )
    fallback: Share = field(default_factory=lambda: Share(6))
    handover: Share = field(default_factory=lambda: Share(24))
    users_share: float = 0.7
    users_min: int = 50
    stale_s: int = 3 * 3600
    series_share: float = 0.9

    @property
    def factor(self) -> float:
        """What makes the distance of two transformed counts 1 where chance explains it."""
        return 2 / (self.weekly_spread * math.sqrt(self.variance_factor))

    def drop(self, window: str) -> Drop:
        """Return what counts as a drop over a window."""
        return next(drop for drop in self.drops if drop.window == window)

    def samples(self, hours: float) -> int:
        """Return how many evaluations of ``hours`` must have had data."""
        return math.ceil(self.coverage * hours * 3600 / self.interval_s)
