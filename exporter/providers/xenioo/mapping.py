"""Xenioo's statistics rows as samples: pure, no clock, no network.

Source: https://docs.xenioo.com, "Account Statistics Data"
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.numbers import Number, count, level
from exporter.model.samples import HOUR_MS, Family, GaugeRow, Reading, Series, Window, ceil_to
from exporter.providers.base.labels import Labels
from exporter.providers.xenioo import families as own
from exporter.providers.xenioo.groups import Groups

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Average:
    """An average or a rate: shown raw, or normalised once the settings tell its unit."""

    statistic: str
    raw: Family
    normalised: Family


COUNTED: Mapping[int, Family] = {
    0: families.NEW_USERS,
    3: own.MESSAGES,
    4: own.ACTION_MESSAGES,
    5: families.FALLBACKS,
    6: families.NLP_MATCHES,
    7: families.NLP_MISSES,
    12: families.GOALS_REACHED,
    13: families.MESSAGES_RECEIVED,
    14: families.OUTBOUND_API_REQUESTS,
    15: families.OUTBOUND_API_REQUEST_ERRORS,
    17: families.OPERATOR_MESSAGES_SENT,
}
"""The types that add up."""

DISTINCT: Mapping[int, Family] = {1: families.RETURNING_USERS, 2: families.ACTIVE_USERS}
"""The types that count users once in each group."""

AVERAGES: Mapping[int, Average] = {
    8: Average(
        "conversation_length",
        own.CONVERSATION_LENGTH,
        families.CONVERSATION_DURATION_AVERAGE_SECONDS,
    ),
    9: Average("time_to_pick_up", own.TIME_TO_PICK_UP, families.TIME_TO_PICK_UP_AVERAGE_SECONDS),
    10: Average("takeover_rate", own.TAKEOVER_RATE, families.TAKEOVER_RATIO),
    11: Average(
        "support_conversation_length",
        own.SUPPORT_CONVERSATION_LENGTH,
        families.SUPPORT_CONVERSATION_DURATION_AVERAGE_SECONDS,
    ),
    16: Average(
        "time_to_first_message",
        own.TIME_TO_FIRST_MESSAGE,
        families.TIME_TO_FIRST_MESSAGE_AVERAGE_SECONDS,
    ),
}
"""The types that no label may be summed over."""

NAMES = (
    "newuser",
    "returninguser",
    "activeuser",
    "messages",
    "actionmessages",
    "fallbackreply",
    "nlpdetected",
    "nlpmissed",
    "conversationlength",
    "timetopickup",
    "takeoverrate",
    "supportconversationlength",
    "goalreached",
    "incomingmessage",
    "apirequest",
    "apirequesterror",
    "timetofirstmessage",
    "operatormessage",
)
"""The types by their codes, as ``EventLabel`` reads without case and spaces."""

CODES: Mapping[str, int] = {name: code for code, name in enumerate(NAMES)} | {
    str(code): code for code in range(len(NAMES))
}
SCALES: Mapping[str, tuple[int, int]] = {
    "milliseconds": (1, 1000),
    "seconds": (1, 1),
    "minutes": (60, 1),
    "hours": (3600, 1),
    "percent": (1, 100),
    "ratio": (1, 1),
}
_KNOWN = ("grouplabel", "botname", "channelname", "eventlabel")
_PLAIN = re.compile(r"[A-Za-z_]\w{0,31}", re.ASCII)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row, understood: what of which bot and channel, in which group."""

    code: int
    bot: str
    channel: str
    window: Window
    value: Number


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to read what the vendor leaves open: the number's name, the units of averages."""

    value_field: str | None = None
    units: Mapping[str, str] | None = None

    def scaled(self, average: Average, value: Number) -> tuple[Family, float]:
        """Return the family and the value of an average: raw, or in the unit of the family."""
        unit = (self.units or {}).get(average.statistic)
        if unit is None:
            return average.raw, value
        times, per = SCALES[unit]
        return average.normalised, value * times / per


def hours_to_reading(
    rows: Sequence[Row],
    groups: Groups,
    dialect: Dialect,
    labels: Labels,
    *,
    window: Window,
    now_ms: int,
    certain_ms: int,
) -> Reading:
    """Return the answer of hour mode as a reading of ``window``, as far as it was covered.

    How far back DAYS reaches is not documented: surely to ``certain_ms``, and to the end of the
    oldest hour that a row is of, which may itself be cut. Older hours are left out. Rows of equal
    labels are parts of one count and are summed.
    """
    drift: Counter[str] = Counter()
    found = list(figures(rows, groups, dialect, now_ms=now_ms, drift=drift))
    oldest_ms = min((figure.window.end_ms for figure in found), default=certain_ms)
    covered_ms = ceil_to(min(certain_ms, oldest_ms), HOUR_MS)
    covered = Window(max(window.start_ms, covered_ms), window.end_ms)
    inside = [figure for figure in found if covered.holds(figure.window.start_ms)]
    sums: defaultdict[tuple[Series, int], int] = defaultdict(int)
    for figure in inside:
        if family := COUNTED.get(figure.code):
            series = labels.series(family, figure.bot, "", figure.channel)
            sums[series, figure.window.start_ms] += count(figure.value, "[].value")
    return Reading(
        covered,
        [(series, at_ms, value) for (series, at_ms), value in sums.items()],
        buckets=_gauges(inside, "hour", dialect, labels, drift),
        drift=+drift,
        dropped=labels.dropped,
    )


def day_to_reading(
    rows: Sequence[Row],
    groups: Groups,
    dialect: Dialect,
    labels: Labels,
    *,
    day: Window,
    now_ms: int,
) -> Reading:
    """Return the answer of day mode as the distinct counts and averages of ``day``; no counts."""
    drift: Counter[str] = Counter()
    found = figures(rows, groups, dialect, now_ms=now_ms, drift=drift)
    inside = [figure for figure in found if figure.window == day]
    return Reading(
        day,
        gauges_only=True,
        daily=True,
        buckets=_gauges(inside, "day", dialect, labels, drift),
        drift=+drift,
        dropped=labels.dropped,
    )


def figures(
    rows: Sequence[Row], groups: Groups, dialect: Dialect, *, now_ms: int, drift: Counter[str]
) -> Iterator[Figure]:
    """Yield the rows, understood; a row of an unknown event is drift and left out.

    Raises ``SchemaError`` for a row whose number is not certain, and for a group that lies in the
    future though something happened in it: then the time zone is wrong.
    """
    numbers: set[str] = set()
    for index, row in enumerate(rows):
        path = f"[{index}]"
        names = {key.casefold(): key for key in row}
        group, bot, channel, event = (names.get(name) for name in _KNOWN)
        if group is None or event is None:
            raise SchemaError(
                f"{path}: no {'GroupLabel' if group is None else 'EventLabel'}", "missing"
            )
        number = _number(row, names, dialect, path)
        numbers.add(number)
        if len(numbers) > 1:
            raise SchemaError(f"{path}: the number has another name here; set value_field")
        code = CODES.get(_SPACE.sub("", str(row[event])).casefold())
        if code is None:
            drift["unknown_enum"] += 1
            continue
        window = groups.window(row[group], f"{path}.GroupLabel")
        value = level(row[number], f"{path}.{_shown(number)}")
        if value and window.start_ms > now_ms:
            raise SchemaError(f"{path}.GroupLabel: in the future; check timezone")
        yield Figure(code, _text(row, bot, drift), _text(row, channel, drift), window, value)


def _number(row: Row, names: Mapping[str, str], dialect: Dialect, path: str) -> str:
    """Return the name of the row's number: the configured one, else the only one there is."""
    if dialect.value_field is not None:
        name = names.get(dialect.value_field.casefold())
        if name is None:
            raise SchemaError(f"{path}: no member of the name that value_field gives", "missing")
        if not _is_number(row[name]):
            raise SchemaError(f"{path}.{_shown(name)}: expected a number")
        return name
    found = [key for key, cell in row.items() if key.casefold() not in _KNOWN and _is_number(cell)]
    if len(found) != 1:
        named = ", ".join(sorted(map(_shown, found))[:5])
        told = f"{len(found)} numbers ({named}); set value_field" if found else "no number"
        raise SchemaError(f"{path}: {told}", "unexpected_type" if found else "missing")
    return found[0]


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _shown(name: str) -> str:
    """Return a member's name if it looks like one, so that no text of a user's is repeated."""
    return name if _PLAIN.fullmatch(name) else "?"


def _text(row: Row, name: str | None, drift: Counter[str]) -> str:
    cell = None if name is None else row[name]
    if isinstance(cell, str):
        return cell
    drift["missing" if cell is None else "unexpected_type"] += 1
    return ""


def _gauges(
    found: Sequence[Figure], period: str, dialect: Dialect, labels: Labels, drift: Counter[str]
) -> list[GaugeRow]:
    """Return what must not be added up; of bots with one name, none can be told: drift."""
    rows: dict[tuple[Series, Window], GaugeRow | None] = {}
    for figure in found:
        family, value = _placed(figure, dialect)
        if family is None:
            continue
        key = labels.series(family, figure.bot, "", figure.channel, period), figure.window
        if key in rows:
            rows[key] = None
            drift["unexpected_type"] += 1
            continue
        rows[key] = GaugeRow(*key, value)
    return [row for row in rows.values() if row is not None]


def _placed(figure: Figure, dialect: Dialect) -> tuple[Family | None, float]:
    if average := AVERAGES.get(figure.code):
        return dialect.scaled(average, figure.value)
    return DISTINCT.get(figure.code), figure.value
