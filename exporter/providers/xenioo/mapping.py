"""Xenioo's statistics rows as samples: pure functions.

The vendor does not document the format of ``GroupLabel``. Every common format of an hour or a local
day is accepted; any other is an error.

Source: https://docs.xenioo.com, "Account Statistics Data"
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.families import counter, gauge
from exporter.model.numbers import count, level, parse_number
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, Family, MetricType, Reading, Window, ceil_to, floor_to
from exporter.providers.base.plugin import Feed
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import instant_ms

GroupMode: TypeAlias = Literal["hour", "day"]

_DATE_ONLY = re.compile(r"\d{4}-\d\d-\d\d|\d{8}")
_DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_EPOCH_UNITS = {10: 1, 13: 1000}
_CENTURY = "20"

_KNOWN = ("grouplabel", "botname", "channelname", "eventlabel")
_PLAIN = re.compile(r"[A-Za-z_]\w{0,31}", re.ASCII)
_SPACE = re.compile(r"\s+")


def day_window(day: date, zone: str) -> Window:
    """Return a local day of ``zone``: 23, 24 or 25 hours."""
    tz = ZoneInfo(zone)
    start, end = (datetime.combine(day + timedelta(days=n), time(), tz) for n in (0, 1))
    return Window(instant_ms(start), instant_ms(end))


def closed_day(until_ms: int, zone: str) -> date:
    """Return the newest local day of ``zone`` that ended by the last whole hour of ``until_ms``."""
    until = datetime.fromtimestamp(floor_to(until_ms, HOUR_MS) / 1000, ZoneInfo(zone))
    return until.date() - timedelta(days=1)


def _parse_time(text: str, form: str | None) -> tuple[datetime | None, bool]:
    """Return the time in ``text``, None if there is none, and whether it has an hour."""
    if form and (at := _strptime(text, form)):
        return at, True
    has_hour = not _DATE_ONLY.fullmatch(text)
    if text.isascii() and text.isdecimal():
        return _parse_digits(text), has_hour
    try:
        return datetime.fromisoformat(text), has_hour
    except ValueError:
        return None, False


def _parse_digits(text: str) -> datetime | None:
    """Return the time of ``2026020309``, or of seconds or milliseconds since 1970."""
    if text.startswith(_CENTURY) and len(text) in _DIGITS:
        return _strptime(text, _DIGITS[len(text)])
    if unit := _EPOCH_UNITS.get(len(text)):
        return datetime.fromtimestamp(int(text) / unit, UTC)
    return None


def _strptime(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - a label without offset is local
    except ValueError:
        return None


def _hour(at: datetime, tz: ZoneInfo) -> Window | None:
    local = at.astimezone(tz) if at.tzinfo else at
    if (local.minute, local.second, local.microsecond) != (0, 0, 0):
        return None
    if at.tzinfo:
        return Window(instant_ms(at), instant_ms(at) + HOUR_MS)
    first_ms, second_ms = (instant_ms(at.replace(tzinfo=tz, fold=fold)) for fold in (0, 1))
    # When summer time ends, one label stands for two hours, which share a bucket.
    return Window(first_ms, max(first_ms, second_ms) + HOUR_MS)


def _day(at: datetime, tz: ZoneInfo) -> Window | None:
    local = at.astimezone(tz) if at.tzinfo else at
    return day_window(local.date(), tz.key) if local.time() == time() else None


MESSAGES = counter(
    "chatbot_xenioo_messages_total",
    60,
    "Xenioo statistic type 3 (Messages), unmapped.",
    "channel",
    meaning="Direction undocumented; may include received and operator messages",
)
ACTION_MESSAGES = counter(
    "chatbot_xenioo_action_messages_total",
    60,
    "Xenioo statistic type 4 (Action Messages), unmapped.",
    "channel",
    meaning="Meaning undocumented",
)


@dataclass(frozen=True, slots=True)
class StatisticType:
    """A statistic type and the family that it feeds: a counter, or a gauge that does not add up.

    ``name`` is its ``EventLabel`` in snake case. ``normalized`` is what it means once the settings
    say so: an average's replaces ``family`` if ``units`` has its unit, a count's is fed as well.
    """

    name: str
    family: Family
    normalized: Family | None = None

    @property
    def event(self) -> str:
        """Return the type's ``EventLabel`` without spaces, in lower case."""
        return self.name.replace("_", "")


def _average(code: int, name: str, normalized: Family) -> StatisticType:
    raw = gauge(
        f"chatbot_xenioo_{name}",
        60,
        f"Xenioo statistic type {code} for the last settled period, in the unit the API returns.",
        "channel",
        "period",
        meaning="Raw until units is configured; then the normalised family replaces it",
    )
    return StatisticType(name, raw, normalized)


STATISTICS: Sequence[StatisticType] = (
    StatisticType("new_user", families.NEW_USERS),
    StatisticType("returning_user", families.RETURNING_USERS),
    StatisticType("active_user", families.ACTIVE_USERS),
    StatisticType("messages", MESSAGES, families.MESSAGES_SENT),
    StatisticType("action_messages", ACTION_MESSAGES),
    StatisticType("fallback_reply", families.FALLBACKS),
    StatisticType("nlp_detected", families.NLP_MATCHES),
    StatisticType("nlp_missed", families.NLP_MISSES),
    _average(8, "conversation_length", families.CONVERSATION_DURATION_AVERAGE_SECONDS),
    _average(9, "time_to_pick_up", families.TIME_TO_PICK_UP_AVERAGE_SECONDS),
    _average(10, "takeover_rate", families.TAKEOVER_RATIO),
    _average(
        11, "support_conversation_length", families.SUPPORT_CONVERSATION_DURATION_AVERAGE_SECONDS
    ),
    StatisticType("goal_reached", families.GOALS_REACHED),
    StatisticType("incoming_message", families.MESSAGES_RECEIVED),
    StatisticType("api_request", families.OUTBOUND_API_REQUESTS),
    StatisticType("api_request_error", families.OUTBOUND_API_REQUEST_ERRORS),
    _average(16, "time_to_first_message", families.TIME_TO_FIRST_MESSAGE_AVERAGE_SECONDS),
    StatisticType("operator_message", families.OPERATOR_MESSAGES_SENT),
)
"""All types; the index is the code."""

FEEDS = [
    Feed(family, f"statistic type {code} ({statistic.event})")
    for code, statistic in enumerate(STATISTICS)
    for family in (statistic.family, statistic.normalized)
    if family
]
"""Each family, and the statistic behind it."""

OWN_FAMILIES = tuple(
    each.family
    for each in STATISTICS
    if each.normalized or each.family in (MESSAGES, ACTION_MESSAGES)
)
"""The families that only Xenioo has."""

Answer: TypeAlias = Sequence[Mapping[str, Any]]
"""The rows of a response, whose members vary."""

TYPES: Mapping[str, StatisticType] = {
    name: statistic
    for code, statistic in enumerate(STATISTICS)
    for name in (statistic.event, str(code))
}
"""The types by ``EventLabel``, which holds a name or a code."""

SCALES: Mapping[str, tuple[int, int]] = {
    "milliseconds": (1, 1000),
    "seconds": (1, 1),
    "minutes": (60, 1),
    "hours": (3600, 1),
    "percent": (1, 100),
    "ratio": (1, 1),
}
"""Multiplier and divisor of each unit, to seconds or to a ratio."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """One parsed row: a value of one type, bot and channel in one group."""

    type: StatisticType
    bot: str
    channel: str
    window: Window
    value: float


@dataclass(frozen=True, slots=True)
class RowFormat:
    """What the vendor leaves open: group labels, the name of the number, units, type 3's meaning.

    ``zone`` applies to labels without an offset; ``form`` is a ``strptime`` format, tried first.
    """

    mode: GroupMode
    zone: str
    form: str | None = None
    value_field: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    messages_are_sent: bool = False

    def window(self, label: Any, path: str) -> Window:
        """Return the group's window; raise ``SchemaError`` at ``path`` if it cannot be parsed."""
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise SchemaError(f"{path}: expected a time")
        at, has_hour = _parse_time(str(label).strip(), self.form)
        tz, found = ZoneInfo(self.zone), None
        with suppress(OverflowError):  # the first and last days of the calendar
            if at is not None and self.mode == "day":
                found = _day(at, tz)
            elif at is not None and has_hour:
                found = _hour(at, tz)
        if found is None:
            hint = "see timezone and label_format"
            raise SchemaError(f"{path}: not the start of a whole {self.mode}; {hint}")
        return found

    def counters(self, of: StatisticType) -> Sequence[Family]:
        """Return the counters that a type feeds; none if it does not add up."""
        found = (of.family, of.normalized if self.messages_are_sent else None)
        return [each for each in found if each and each.kind is MetricType.COUNTER]

    def scale(self, statistic: Statistic) -> tuple[Family, float]:
        """Return the family and value: raw, or in the family's unit if the settings have a unit."""
        unit, normalized = self.units.get(statistic.type.name), statistic.type.normalized
        if unit is None or normalized is None:
            return statistic.type.family, statistic.value
        multiplier, divisor = SCALES[unit]
        return normalized, statistic.value * multiplier / divisor


def hours_to_reading(
    answer: Answer,
    row_format: RowFormat,
    spec: QuerySpec,
    *,
    window: Window,
    now_ms: int,
    certain_ms: int,
) -> Reading:
    """Return the response of hour mode as a reading of the part of ``window`` that it covers.

    How far back DAYS reaches is not documented: at least to ``certain_ms``, and to the end of the
    oldest hour in the rows, which may be incomplete itself. Older hours are left out. Rows with
    equal labels are parts of one count and are summed.
    """
    drift: Counter[str] = Counter()
    found = list(parse_rows(answer, row_format, now_ms=now_ms, drift=drift))
    oldest_ms = min((each.window.end_ms for each in found), default=certain_ms)
    covered_ms = ceil_to(min(certain_ms, oldest_ms), HOUR_MS)
    rows = Rows(Window(max(window.start_ms, covered_ms), window.end_ms), spec, {})
    rows.drift.update(drift)
    inside = [each for each in found if rows.window.holds(each.window.start_ms)]
    for each in inside:
        for family in row_format.counters(each.type):
            labels, number = (each.bot, "", each.channel), count(each.value, "[].value")
            rows.count(family, labels, each.window.start_ms, number)
    _add_gauges(inside, row_format, rows)
    return rows.reading()


def day_to_reading(
    answer: Answer, row_format: RowFormat, spec: QuerySpec, *, day: Window, now_ms: int
) -> Reading:
    """Return the response of day mode as distinct counts and averages of ``day``; no counters."""
    rows = Rows(day, spec, {})
    found = parse_rows(answer, row_format, now_ms=now_ms, drift=rows.drift)
    _add_gauges([each for each in found if each.window == day], row_format, rows)
    return replace(rows.reading(), gauges_only=True, daily=True)


def parse_rows(
    answer: Answer, row_format: RowFormat, *, now_ms: int, drift: Counter[str]
) -> Iterator[Statistic]:
    """Yield the parsed rows; a row of an unknown event is drift and is left out.

    Raises ``SchemaError`` if a row's number is ambiguous, if a group in the future has a value
    other than 0 (the time zone is wrong), or if no row's event is known (they may all have been
    renamed).
    """
    numbers: set[str] = set()
    for index, row in enumerate(answer):
        path = f"[{index}]"
        names = {key.casefold(): key for key in row}
        group, bot, channel, event = (names.get(name) for name in _KNOWN)
        if group is None or event is None:
            raise SchemaError(f"{path}: no {'Group' if group is None else 'Event'}Label", "missing")
        number = _number_field(row, names, row_format.value_field, path)
        numbers.add(number)
        if len(numbers) > 1:
            raise SchemaError(f"{path}: the number has another name here; set value_field")
        statistic = TYPES.get(_SPACE.sub("", str(row[event])).casefold())
        if statistic is None:
            drift["unknown_enum"] += 1
            continue
        window = row_format.window(row[group], f"{path}.GroupLabel")
        if row[number] is None and statistic.family.kind is MetricType.GAUGE:
            drift["missing"] += 1  # the average of nothing
            continue
        value = level(row[number], f"{path}.{_printable(number)}")
        if value and window.start_ms > now_ms:
            raise SchemaError(f"{path}.GroupLabel: in the future; check timezone")
        yield Statistic(
            statistic, _text(row, bot, drift), _text(row, channel, drift), window, value
        )
    if answer and drift["unknown_enum"] == len(answer):
        raise SchemaError("[].EventLabel: no row has a known event", "unknown_enum")


def _number_field(
    row: Mapping[str, Any], names: Mapping[str, str], value_field: str | None, path: str
) -> str:
    """Return the member with the row's number or null: the configured one, else the only one."""
    if value_field is not None:
        name = names.get(value_field.casefold())
        if name is None:
            raise SchemaError(f"{path}: no member has the name in value_field", "missing")
        return name
    others = [key for key in row if key.casefold() not in _KNOWN]
    spelled = [key for key in others if parse_number(row[key]) is not None]
    # If a row has both, the texts may be names and ids.
    found = [key for key in spelled if not isinstance(row[key], str)] or spelled
    found = found or [key for key in others if row[key] is None]
    if not found:
        raise SchemaError(f"{path}: no number", "missing")
    if len(found) > 1:
        listed = ", ".join(sorted(map(_printable, found))[:5])
        raise SchemaError(f"{path}: {len(found)} numbers ({listed}); set value_field")
    return found[0]


def _printable(name: str) -> str:
    """Return a member's name if it is an identifier; anything else may be a user's text."""
    return name if _PLAIN.fullmatch(name) else "?"


def _text(row: Mapping[str, Any], name: str | None, drift: Counter[str]) -> str:
    cell = None if name is None else row[name]
    if isinstance(cell, str):
        return cell
    drift["missing" if cell is None else "unexpected_type"] += 1
    return ""


def _add_gauges(found: Iterable[Statistic], row_format: RowFormat, rows: Rows) -> None:
    """Add the values that do not add up; bots that share a name get none, which is drift."""
    values: dict[tuple[Family, tuple[str, ...], Window], float | None] = {}
    for each in found:
        family, value = row_format.scale(each)
        if family.kind is MetricType.GAUGE:
            labels: tuple[str, ...] = (each.bot, "", each.channel, row_format.mode)
            key = family, labels, each.window
            rows.drift["unexpected_type"] += key in values
            values[key] = None if key in values else value
    for key, only in values.items():
        if only is not None:
            rows.bucket_value(*key, only)
