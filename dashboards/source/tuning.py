"""Every number of the rules, with the reason for it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Drop:
    """When the mean of a window counts as a drop: all three must agree.

    ``score``: distance from the expectation in the bot's own usual deviations. ``share``: part of
    the expectation that is left. ``least``: events that the window should have held; below it,
    chance explains a total outage. ``hold`` and ``keep`` are how long before and after.
    ``memory`` and ``ago``: the deviations are learnt over ``memory`` that ended ``ago``, so that a
    fresh drop cannot widen its own band.
    """

    window: str
    hours: int
    score: float
    share: float
    least: float
    hold: str
    keep: str
    memory: str
    ago: str


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
class Tuning:
    """The parameters that rules are written from.

    ``interval_s`` is how often Prometheus evaluates them: counts of samples follow from it.
    ``runbooks`` and ``grafana`` are put before links; empty leaves them relative.
    """

    interval_s: int = 300
    coverage: float = 0.8  # of a window's samples; absorbs restarts and edge rules of 2.x and 3.x
    weeks: int = 4
    weeks_needed: int = 3  # so that one holiday or one viral week cannot decide
    chance: float = 2.2  # no bot is steadier than this many times Poisson's deviation
    scale_unlearnt: float = 0.35
    scale_days: int = 2  # of samples before a learnt scale is believed
    fast: Drop = field(
        default_factory=lambda: Drop("avg3h", 3, -3.25, 0.6, 20, "30m", "1h", "6d", "1d")
    )
    daily: Drop = field(
        default_factory=lambda: Drop("avg24h", 24, -3.25, 0.6, 20, "1h", "6h", "12d", "2d")
    )
    fallback: Share = field(default_factory=lambda: Share(6))
    handover: Share = field(default_factory=lambda: Share(24))
    users_left: float = 0.7
    users_least: int = 50
    stale_s: int = 3 * 3600
    series_share: float = 0.9
    job: str = "chatbot-exporter"
    runbooks: str = ""
    grafana: str = ""

    def samples(self, hours: float) -> int:
        """Return how many evaluations of ``hours`` must have had data."""
        return round(self.coverage * hours * 3600 / self.interval_s)
