"""Every number in the rules, with its reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drop:
    """When engagement in the newest ``window`` counts as a drop: all conditions must hold.

    ``score``: distance from the expected number, in usual deviations. ``share``: part of the
    expected number that is left. ``min_expected``: messages expected in the window; with fewer,
    chance explains silence. ``pending`` and ``keep_firing``: how long the condition must hold
    before the alert fires, and how long the alert fires after it ends. ``newest``: a shorter window
    that must be below the same share.
    """

    name: str
    window: str
    score: float
    share: float
    min_expected: int
    pending: str = "10m"
    keep_firing: str = "3h"
    newest: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """When the share of ``part`` in ``whole`` counts as risen: all conditions must hold."""

    name: str
    part: str
    whole: str
    hours: int
    rise: float = 0.10
    score: float = 4
    min_total: int = 50
    floor: float = 0.02
    pending: str = "30m"

    @property
    def recorded(self) -> tuple[str, str]:
        """Return the names of the recorded total and of the recorded share."""
        name = f"bot:chatbot_{self.name.lower()}"
        return f"{name}_base:sum{self.hours}h", f"{name}_share:ratio{self.hours}h"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The parameters of all rules; ``interval_s`` is how often they are evaluated."""

    interval_s: int = 300
    # Chosen together so that nine in ten alerts are real drops (docs/replay.md). Values change once
    # an hour, when an hour settles, so ten minutes only guard against a single bad evaluation.
    drops: tuple[Drop, ...] = (
        Drop("Sudden", "1h", -4.3, 0.35, 15),
        Drop("Fast", "3h", -4.2, 0.35, 30),
        Drop("QuarterDay", "6h", -3.7, 0.65, 150),
        Drop("HalfDay", "12h", -3.7, 0.80, 10, keep_firing="6h"),
        Drop("Daily", "24h", -4.0, 0.60, 25, keep_firing="6h", newest="12h"),
        Drop("TwoDays", "48h", -5.3, 0.55, 20, keep_firing="6h", newest="24h"),
    )
    full_weeks: int = 4  # of history; with fewer, an alert is provisional
    fallback: Share = Share("Fallback", "fallbacks", "messages_received", 6)
    handover: Share = Share("Handover", "handovers", "conversations_started", 24)
    users_share: float = 0.7
    users_min: int = 50
    stale_s: int = 3 * 3600
    series_share: float = 0.9
