"""How much a bot is used: hour of day, weekday, season and trend."""

import math

BIRTH_HOUR = 482_136  # 2025-01-01T00:00Z, in hours since 1970; nothing happened before it
NEW_SHARE = 0.2
RECENCY_DAYS = 14

_HOURS_OF_YEAR = 8766
_BY_HOUR = (
    *(0.45, 0.40, 0.40, 0.40, 0.45, 0.55, 0.70, 0.90, 1.20, 1.45, 1.55, 1.50),
    *(1.40, 1.40, 1.45, 1.40, 1.30, 1.25, 1.30, 1.35, 1.25, 1.00, 0.75, 0.55),
)
_BY_WEEKDAY = (1.15, 1.10, 1.05, 1.05, 1.05, 0.80, 0.80)  # from Monday
_UNTIL_HOUR = tuple(sum(_BY_HOUR[:hour]) / sum(_BY_HOUR) for hour in range(24))


def relative_volume(hour: int) -> float:
    """Return the factor, 1 on average in the first year, of an hour counted since 1970."""
    weekday = (hour // 24 + 3) % 7  # 1970-01-01 was a Thursday
    years = (hour - BIRTH_HOUR) / _HOURS_OF_YEAR
    season = 1 + 0.15 * math.cos(2 * math.pi * years)
    trend = 1 + 0.2 * max(years, 0.0)
    return _BY_HOUR[hour % 24] * _BY_WEEKDAY[weekday] * season * trend


def known_users(hour: int, per_hour: float) -> int:
    """Return how many users the bot had met before ``hour``, without replaying its life.

    New users arrive by a closed form, so that the level of any hour costs nothing and rises by
    exactly the new users of each hour.
    """
    since = max(hour - BIRTH_HOUR, 0)
    days = since // 24 + _UNTIL_HOUR[since % 24]
    return math.floor(per_hour * 24 * NEW_SHARE * days)
