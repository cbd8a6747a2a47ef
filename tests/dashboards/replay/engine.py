"""The shipped rules over a scene: promtool evaluates them, every hour is asked what fires.

Time runs in steps of an hour. An alert whose condition must hold for ten minutes fires in the step
in which the condition becomes true.
"""

from collections.abc import Mapping
from pathlib import Path

from dashboards.source.thresholds import Thresholds
from tests.dashboards.promtool import Values, firing
from tests.dashboards.replay.scene import LEARNING_WEEKS, WEEK
from tests.dashboards.ruleset import HOUR_S, mutated, rules

DROPS = tuple(f"ChatbotEngagementDrop{drop.name}" for drop in Thresholds().drops)


def alerting(folder: Path, series: Mapping[str, Values], hours: int) -> dict[str, list[bool]]:
    """Return whether any alert about a drop fires, hour by hour, by bot."""
    ruleset = mutated(rules(Thresholds(interval_s=HOUR_S), DROPS), "10m", "0s")
    probes = [hour * HOUR_S for hour in range(LEARNING_WEEKS * WEEK, hours)]
    found: dict[str, list[bool]] = {}
    for probe, samples in firing(folder, ruleset, series, probes, step_s=HOUR_S).items():
        for sample in samples:
            bot = found.setdefault(sample["project"], [False] * hours)
            bot[probe // HOUR_S] = True
    return found
