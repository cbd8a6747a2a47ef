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
    steady: float = 0.1225  # beyond chance, no bot is steadier than 12 % from week to week
    doubt: float = 1.3  # variance of a count together with that of the median of four others
    learn_least: int = 10  # events of windows from which a bot's usual deviation is learnt
    memory: str = "21d:3h"  # what it is learnt from, and how often that is looked at
    rough: float = 0.75  # of the learnt deviation: a median of three weeks errs by about a quarter
    beside_reach: float = 0.8  # in roots of events: less than chance, lest a lone day is forgotten
    lasting: float = 0.5  # of a day's distance from usual, beyond chance, is left a day later
    level_within: tuple[float, float] = (0.65, 1.5)  # outside: a campaign, a holiday, a drop
    recovered_h: int = 3  # of prompt data before a drop is believed after a time without
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
    users_left: float = 0.7
    users_least: int = 50
    stale_s: int = 3 * 3600
    series_share: float = 0.9

    @property
    def factor(self) -> float:
        """What makes the distance of two transformed counts 1 where chance explains it."""
        return 2 / (self.steady * math.sqrt(self.doubt))

    def drop(self, window: str) -> Drop:
        """Return what counts as a drop over a window."""
        return next(drop for drop in self.drops if drop.window == window)

    def samples(self, hours: float) -> int:
        """Return how many evaluations of ``hours`` must have had data."""
        return math.ceil(self.coverage * hours * 3600 / self.interval_s)
