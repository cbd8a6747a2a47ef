"""Chatlayer's aggregates (SeriesData and definitions) as samples: pure, no clock, no network.

What the series are called and how ``x_values`` look is documented nowhere, so both are read
leniently, and nothing fails on a name that is not known.

Source: https://developers.sinch.com/docs/chatlayer-analytics/api-reference/chatlayer-analytics
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.numbers import Number, count
from exporter.model.samples import CountRow, GaugeRow, Reading, Series, Window, floor_to
from exporter.providers.base.labels import Labels
from exporter.providers.chatlayer.families import (
    CAMPAIGN_CONVERSATIONS,
    EVENT_VOLUME,
    MESSAGES,
    USERS,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOTAL = re.compile(r"(total|all|overall|sum)|total[ _-]\w+|\w+[ _-]total")
_NUMBER = re.compile(r"-?\d+")
_SECONDS_BELOW = 100_000_000_000  # of two readings of an epoch number, the one before year 5138

Figure: TypeAlias = int | float | str | None
"""A number as JSON gives it: 64-bit ones may be texts, zeros may be missing."""

Base: TypeAlias = tuple[str, str]
"""Bot and version, the latter in lower case."""


class One(msgspec.Struct):
    """One series; ``values[i]`` belongs to ``x_values[i]``."""

    values: list[Figure] | None = None
    labels: dict[str, str] | None = None


class SeriesData(msgspec.Struct):
    """The answer of every aggregate; an empty field may be left out."""

    series: list[One] | None = None
    series_labels: list[str] | None = None
    series_labels_camel: list[str] | None = msgspec.field(default=None, name="seriesLabels")
    x_values: list[str | int | float] | None = None
    x_values_camel: list[str | int | float] | None = msgspec.field(default=None, name="xValues")


class Answer(msgspec.Struct):
    """What holds it."""

    data: SeriesData | None = None


class Definition(msgspec.Struct):
    """One event name that the vendor has seen."""

    event: str | None = ""
    volume_30_day: Figure = 0


class Definitions(msgspec.Struct):
    """One page of them."""

    event_definitions: list[Definition] | None = None
    next_page_token: str | None = ""


@dataclass(frozen=True, slots=True)
class Read:
    """One series in our words: its labels, its name, and its values by bucket start."""

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
) -> list[Read]:
    """Return the series of an answer to ``asked``, as far as they lie in ``window``."""
    if data is None:
        return []
    names = data.series_labels or data.series_labels_camel or []
    starts = _starts(data.x_values or data.x_values_camel or [], asked, step_ms, drift)
    return [
        _read(one, names[index] if index < len(names) else str(index), index, starts, window)
        for index, one in enumerate(data.series or [])
    ]


def _read(one: One, name: str, index: int, starts: Sequence[int], window: Window) -> Read:
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
            sums[at_ms] += _figure(value, f"{path}[{position}]")
    return Read(labels, name, dict(sums))


def _figure(value: Figure, path: str) -> int:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise SchemaError(f"{path}: expected a number")
        value = int(value)
    number: Number = 0 if value is None else value
    return count(number, path)


def _starts(
    x_values: Sequence[str | float], asked: Window, step_ms: int, drift: Counter[str]
) -> list[int]:
    """Return the starts of the buckets: as given, or counted from where the question began."""
    counted = list(range(asked.start_ms, asked.end_ms, step_ms))
    given = [_instant(x) for x in x_values]
    if not given:
        return counted
    if any(at_ms is None for at_ms in given):
        drift["unexpected_type"] += 1
        return counted if len(given) <= len(counted) else []
    aligned = [floor_to(at_ms, step_ms) for at_ms in given if at_ms is not None]
    if aligned != given:
        drift["unexpected_type"] += 1
    return aligned


def _instant(x: str | float) -> int | None:
    text = str(x).strip()
    if _NUMBER.fullmatch(text):
        number = int(text)
        return number * 1000 if abs(number) < _SECONDS_BELOW else number
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return (at - _EPOCH) // timedelta(milliseconds=1)


def parts_of(found: Sequence[Read]) -> list[Read]:
    """Return the series that add up to the whole: a total beside its parts is left out."""
    parts = [each for each in found if not is_total(each.name)]
    return parts or list(found[:1])


def conversations(found: Sequence[Read], window: Window, base: Base, labels: Labels) -> Reading:
    """Return conversations started by channel."""
    family = families.CONVERSATIONS_STARTED
    alone = len(found) == 1 and not found[0].labels and found[0].name in {"0", ""}
    shown = found if len(found) == 1 else parts_of(found)
    rows = [
        (labels.series(family, *base, "" if alone else each.label("channel_type")), each)
        for each in shown
    ]
    return Reading(window, counts=_counts(rows), dropped=labels.dropped)


def messages(
    found: Sequence[Read],
    window: Window,
    base: Base,
    labels: Labels,
    *,
    received: Sequence[str] | None,
) -> Reading:
    """Return messages by kind, and those of ``received`` kinds (None: all) as messages received."""
    kinds = parts_of(found)
    wanted = kinds if received is None else [each for each in found if each.name in received]
    rows = [(labels.series(MESSAGES, *base, "", each.name), each) for each in kinds]
    total = labels.series(families.MESSAGES_RECEIVED, *base, "")
    rows += [(total, each) for each in wanted]
    return Reading(window, counts=_counts(rows), dropped=labels.dropped)


def knowledge_base(found: Sequence[Read], window: Window, base: Base, labels: Labels) -> Reading:
    """Return uses of the knowledge base; the answer names no document."""
    total = labels.series(families.KNOWLEDGE_BASE_HITS, *base, "")
    return Reading(window, counts=_counts((total, each) for each in parts_of(found)))


def users(
    found: Sequence[Read], window: Window, base: Base, labels: Labels, step_ms: int
) -> Reading:
    """Return distinct users of each hour by kind, and the total of them as active users."""
    totals = [each for each in found if is_total(each.name)]
    whole = totals[:1] or (found if len(found) == 1 else [])
    shown = [(labels.series(USERS, *base, each.name, "hour"), each) for each in found]
    shown += [(labels.series(families.ACTIVE_USERS, *base, "", "hour"), each) for each in whole]
    return Reading(
        window,
        buckets=[
            GaugeRow(series, Window(at_ms, at_ms + step_ms), value)
            for series, each in shown
            for at_ms, value in each.values.items()
        ],
        dropped=labels.dropped,
    )


def campaigns(found: Sequence[Read], window: Window, labels: Labels) -> Reading:
    """Return a team's conversations by bot and campaign."""
    keys = ("bot_id", "campaign_id", "campaign_source")
    rows = [
        (labels.series(CAMPAIGN_CONVERSATIONS, *(each.labels.get(key, "") for key in keys)), each)
        for each in found
    ]
    return Reading(window, counts=_counts(rows), dropped=labels.dropped)


def definitions(pages: Iterable[Definition], window: Window, bot: str, labels: Labels) -> Reading:
    """Return the vendor's own event volumes; names that share a label are summed."""
    sums: defaultdict[Series, int] = defaultdict(int)
    for index, each in enumerate(pages):
        series = labels.series(EVENT_VOLUME, bot, "", each.event or "")
        sums[series] += _figure(each.volume_30_day, f"event_definitions[{index}].volume_30_day")
    return Reading(
        window,
        lists=[GaugeRow(series, window, value) for series, value in sums.items()],
        lists_of=frozenset({EVENT_VOLUME.name}),
        dropped=labels.dropped,
    )


def _counts(rows: Iterable[tuple[Series, Read]]) -> list[CountRow]:
    sums: defaultdict[tuple[Series, int], int] = defaultdict(int)
    for series, each in rows:
        for at_ms, value in each.values.items():
            sums[series, at_ms] += value
    return [(series, at_ms, value) for (series, at_ms), value in sums.items()]
