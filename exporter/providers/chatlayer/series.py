"""Chatlayer's aggregates (SeriesData and definitions) as samples: pure, no clock, no network.

What the series are called and how ``x_values`` look is documented nowhere, so both are read
leniently, and nothing fails on a name that is not known.

Source: https://developers.sinch.com/docs/chatlayer-analytics/api-reference/chatlayer-analytics
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.families import counter, gauge
from exporter.model.numbers import Number, count
from exporter.model.samples import Family, MetricType, Window, floor_to
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import parse_instant

MESSAGES = counter(
    "chatbot_chatlayer_messages_total",
    100,
    "Chatlayer messages series by kind, as the API names it.",
    "channel",
    "kind",
    meaning="Kinds are undocumented (understood, not understood, click …)",
)
USERS = gauge(
    "chatbot_chatlayer_users",
    60,
    "Chatlayer users series by kind for the last settled period, as the API names it.",
    "kind",
    "window",
    meaning="Kinds are undocumented (total, new, returning …); never add",
)
CAMPAIGN_CONVERSATIONS = Family(
    "chatbot_chatlayer_campaign_conversations_total",
    MetricType.COUNTER,
    "Chatlayer conversations by campaign.",
    ("provider", "target", "project", "campaign", "campaign_source"),
    100,
    meaning="The only place where campaigns appear in the API's output; counted by day",
)
EVENT_VOLUME = gauge(
    "chatbot_chatlayer_event_volume_30d",
    300,
    "Chatlayer event volume over the last 30 days, as its definitions list reports it.",
    "event",
    meaning="Cross-check against chatbot_events_total",
)


_TOTAL = re.compile(r"(total|all|overall|sum)|total[ _-]\w+|\w+[ _-]total")
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)
_SECONDS_BELOW = 100_000_000_000  # of two readings of an epoch number, the one before year 5138

BotVersion: TypeAlias = tuple[str, str]
"""Bot and version, the latter in lower case."""


class SeriesValues(msgspec.Struct):
    """One series; ``values[i]`` belongs to ``x_values[i]``."""

    values: list[Number | None] | None = None
    labels: dict[str, str] | None = None


class SeriesData(msgspec.Struct):
    """The answer of every aggregate; an empty field may be left out."""

    series: list[SeriesValues] | None = None
    series_labels: list[str] | None = None
    x_values: list[str | int | float] | None = None


class SeriesResponse(msgspec.Struct):
    """What holds it."""

    data: SeriesData | None = None


class Definition(msgspec.Struct):
    """One event name that the vendor has seen."""

    event: str | None = ""
    volume_30_day: Number | None = 0


class DefinitionPage(msgspec.Struct):
    """One page of definitions."""

    event_definitions: list[Definition] | None = None
    next_page_token: str | int | float | None = ""


@dataclass(frozen=True, slots=True)
class NamedSeries:
    """One series: its labels, its name, and its values by bucket start."""

    labels: Mapping[str, str]
    name: str
    values: Mapping[int, int]

    def label(self, key: str) -> str:
        """Return the label ``key``, or the series' name where it has no such label."""
        return self.labels.get(key, "" if self.labels else self.name)


def is_total(name: str) -> bool:
    """Say whether a series of this name holds the sum of the others."""
    return _TOTAL.fullmatch(name.strip().casefold()) is not None


def read_series(
    data: SeriesData | None, asked: Window, step_ms: int, window: Window, drift: Counter[str]
) -> list[NamedSeries]:
    """Return the series of an answer to ``asked``, as far as they lie in ``window``."""
    if data is None:
        return []
    names = data.series_labels or []
    starts = _starts(data.x_values or [], asked, step_ms, drift)
    return [
        _read(one, names[index] if index < len(names) else str(index), index, starts, window)
        for index, one in enumerate(data.series or [])
    ]


def _read(
    one: SeriesValues, name: str, index: int, starts: Sequence[int], window: Window
) -> NamedSeries:
    labels = one.labels or {}
    if len(labels) == 1:
        name = next(iter(labels.values()))
    path = f"data.series[{index}].values"
    values = one.values or []
    if len(values) > len(starts):
        raise SchemaError(f"{path}: more values than buckets were asked for")
    sums: defaultdict[int, int] = defaultdict(int)
    for position, (at_ms, value) in enumerate(zip(starts, values, strict=False)):
        if window.holds(at_ms):
            sums[at_ms] += count(0 if value is None else value, f"{path}[{position}]")
    return NamedSeries(labels, name, dict(sums))


def _starts(
    x_values: Sequence[str | float], asked: Window, step_ms: int, drift: Counter[str]
) -> list[int]:
    """Return the starts of the buckets: as given, or counted from where the question began.

    They are counted where those that are given do not tell buckets apart, or where one for each bucket
    is given and some are of another time: local times, or the hours of a day.
    """
    counted = list(range(asked.start_ms, asked.end_ms, step_ms))
    given = [_instant(x) for x in x_values]
    if not given:
        return counted
    starts = [floor_to(at_ms, step_ms) for at_ms in given if at_ms is not None]
    distinct, inside = {*starts}, [at for at in starts if asked.start_ms <= at <= asked.end_ms]
    known = len(distinct) == len(given) and bool(inside)
    if known and starts == given == inside:
        return starts
    drift["unexpected_type"] += 1
    if known and (len(given) != len(counted) or starts == inside):
        return starts
    return counted if len(given) <= len(counted) else []


def _instant(x: str | float) -> int | None:
    text = str(x).strip()
    if _NUMBER.fullmatch(text):
        number = int(text)
        return number * 1000 if abs(number) < _SECONDS_BELOW else number
    try:
        return parse_instant(text, assume_utc=True)
    except ValueError:
        return None


def parts_of(found: Sequence[NamedSeries]) -> list[NamedSeries]:
    """Return the series that add up to the whole: a total beside its parts is left out."""
    parts = [each for each in found if not is_total(each.name)]
    return parts or list(found[:1])


def collect_conversations(found: Sequence[NamedSeries], rows: Rows, *, base: BotVersion) -> None:
    """Add conversations started by channel."""
    alone = len(found) == 1 and not found[0].labels and found[0].name in {"0", ""}
    for each in found if len(found) == 1 else parts_of(found):
        channel = "" if alone else each.label("channel_type")
        _count(rows, families.CONVERSATIONS_STARTED, (*base, channel), each)


def collect_messages(
    found: Sequence[NamedSeries],
    rows: Rows,
    *,
    base: BotVersion,
    received: Sequence[str] | None,
) -> None:
    """Add messages by kind, and ``received`` kinds (None: all) as messages received."""
    kinds = parts_of(found)
    for each in kinds:
        _count(rows, MESSAGES, (*base, "", each.name), each)
    for each in kinds if received is None else found:
        if received is None or each.name in received:
            _count(rows, families.MESSAGES_RECEIVED, (*base, ""), each)


def collect_knowledge_base(found: Sequence[NamedSeries], rows: Rows, *, base: BotVersion) -> None:
    """Add uses of the knowledge base; the response names no document."""
    for each in parts_of(found):
        _count(rows, families.KNOWLEDGE_BASE_HITS, (*base, ""), each)


def collect_users(found: Sequence[NamedSeries], rows: Rows, *, base: BotVersion) -> None:
    """Add distinct users of each hour by kind, and their total as active users."""
    totals = [each for each in found if is_total(each.name)]
    whole = totals[:1] or (found if len(found) == 1 else [])
    # Distinct users never add up: of series with one name, the last counts.
    shown = {(USERS, (*base, each.name, "hour")): each for each in found}
    shown |= {(families.ACTIVE_USERS, (*base, "", "hour")): each for each in whole}
    for (family, labels), each in shown.items():
        for at_ms, value in each.values.items():
            rows.bucket_value(family, labels, at_ms, value)


def collect_campaigns(found: Sequence[NamedSeries], rows: Rows) -> None:
    """Add a team's conversations by bot and campaign: one of none, beside others, is their sum."""
    for each in [each for each in found if each.labels] or found:
        keys = ("bot_id", "campaign_id", "campaign_source")
        _count(rows, CAMPAIGN_CONVERSATIONS, tuple(each.labels.get(k, "") for k in keys), each)


def collect_definitions(found: Sequence[Definition], rows: Rows, *, bot: str) -> None:
    """Add the vendor's own event volumes; names that share a label are summed."""
    for index, each in enumerate(found):
        path = f"event_definitions[{index}].volume_30_day"
        volume = count(0 if each.volume_30_day is None else each.volume_30_day, path)
        rows.window_value(EVENT_VOLUME, (bot, "", each.event or ""), volume)


def _count(rows: Rows, family: Family, labels: tuple[str, ...], each: NamedSeries) -> None:
    for at_ms, value in each.values.items():
        rows.count(family, labels, at_ms, value)
