"""Courses of a bot's engagement: hours of five weeks as the exporter would show them."""

import math
from collections.abc import Callable
from typing import TypeAlias

Hour: TypeAlias = int
Course: TypeAlias = Callable[[Hour], float | None]
DAYS = 31
HOURS = DAYS * 24
WEEK = 7 * 24
FRIDAY_TEN = 29 * 24 + 10  # promtool's time starts on a Thursday
_STEPS = (0.0, 0.6, -0.5, 0.3, -0.8, 0.9, -0.2, 0.5, -0.9, 0.1, -0.4)


def usual(per_hour: float, spread: float = 0.0) -> Course:
    """Return a week's rhythm: quiet nights and weekends; ``spread`` is its irregularity."""

    def at(hour: Hour) -> float:
        of_day = 1 + 0.7 * math.sin((hour % 24 - 8) / 24 * 2 * math.pi)
        of_week = 0.6 if (hour // 24) % 7 in {2, 3} else 1.0
        jolt = spread * _STEPS[(hour * 7 + hour // 11) % len(_STEPS)]
        return round(per_hour * of_day * of_week * (1 + jolt))

    return at


def flat(per_hour: float) -> Course:
    """Return the same number every hour."""
    return lambda _hour: per_hour


def times(course: Course, factor: float, since: Hour, until: Hour = HOURS) -> Course:
    """Return ``course`` with ``factor`` applied to the hours ``[since, until)``."""

    def at(hour: Hour) -> float | None:
        value = course(hour)
        inside = since <= hour < until
        return round(value * factor) if value is not None and inside else value

    return at


def absent(course: Course, since: Hour, until: Hour = HOURS) -> Course:
    """Return ``course`` without any value in the hours ``[since, until)``."""
    return lambda hour: None if since <= hour < until else course(hour)


def written(course: Course, hours: int = HOURS) -> list[float | None]:
    """Return the values hour by hour."""
    return [course(hour) for hour in range(hours)]
