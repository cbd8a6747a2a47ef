"""The shipped rules over a scene: promtool evaluates them, every hour is asked what fires.

Time runs in steps of an hour: an alert that must last half an hour takes one hour here.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dashboards.source.thresholds import Thresholds
from tests.dashboards.promtool import Values, firing
from tests.dashboards.replay.scene import LEARNING_WEEKS, WEEK
from tests.dashboards.ruleset import HOUR_S, in_hours, rules

DROPS = tuple(f"ChatbotEngagementDrop{drop.name}" for drop in Thresholds().drops)


def alerting(
    folder: Path, series: Mapping[str, Values], hours: int, alerts: Iterable[str] = DROPS
) -> dict[str, list[bool]]:
    """Return whether any of the alerts fires, hour by hour, by bot."""
    ruleset = in_hours(rules(Thresholds(interval_s=HOUR_S), alerts))
    probes = [hour * HOUR_S for hour in range(LEARNING_WEEKS * WEEK, hours)]
    found: dict[str, list[bool]] = {}
    for probe, samples in firing(folder, ruleset, series, probes, step_s=HOUR_S).items():
        for sample in samples:
            told = found.setdefault(sample["project"], [False] * hours)
            told[probe // HOUR_S] = True
    return found
