"""The truth as Chatlayer's SeriesData: values by bucket, under undocumented names."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from exporter.simulator.chatlayer_format import BOT, campaign_of, chance, stamp, version_of
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.server import Rows
from exporter.simulator.traffic import Traffic, Window

HOUR_MS = 3_600_000
STEPS: Mapping[str, int] = {"1h": HOUR_MS, "1d": 24 * HOUR_MS, "1w": 7 * 24 * HOUR_MS}
TEAM_STEPS: Mapping[str, int] = {key: STEPS[key] for key in ("1d", "1w")} | {
    "1m": 30 * 24 * HOUR_MS
}
MONDAY_MS = 4 * 24 * HOUR_MS  # 1970-01-05, the first Monday that weeks may start at

SERIES_MODES = frozenset(
    {
        "series_labels",  # names beside the series instead of a map in each
        "x_epoch",  # x_values as texts of seconds since 1970
        "x_missing",  # no x_values
        "start_aligned",  # buckets are counted from start_time
        "numbers_as_text",
        "with_total",  # a series that holds the sum of the others
        "one_series",  # only that sum
    }
)
PROVIDERS = ("understood", "not_understood", "click")

Labels = tuple[tuple[str, str], ...]
Sorter = Callable[[Occurrence], str]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a range, the length of its buckets, a version (none: of the whole team)."""

    window: Window
    step_ms: int
    now_ms: int
    version: str = ""

    def starts(self, *, from_start: bool) -> list[int]:
        """Return where the buckets start."""
        start_ms, end_ms = self.window
        origin = MONDAY_MS if self.step_ms == STEPS["1w"] else 0
        first = start_ms if from_start else start_ms - (start_ms - origin) % self.step_ms
        return list(range(first, end_ms, self.step_ms))

    def records(self, traffic: Traffic, kind: Kind) -> list[Occurrence]:
        """Return what happened."""
        return [
            one
            for one in traffic.records(kind, self.window, self.now_ms)
            if (not self.version or version_of(one.get("environment")) == self.version)
        ]


Table = dict[Labels, dict[int, int]]


def conversations(traffic: Traffic, asked: Question, group_by: tuple[str, ...]) -> Table:
    """Return how many conversations began, by group."""
    table: Table = defaultdict(lambda: defaultdict(int))
    for one in asked.records(traffic, Kind.CONVERSATION_STARTED):
        campaign, source = campaign_of(one.get("conversation"))
        values_of = {
            "bot_id": BOT,
            "bot_version": version_of(one.get("environment")),
            "channel_type": one.get("channel"),
            "campaign_id": campaign,
            "campaign_source": source,
        }
        labels = tuple((key, values_of.get(key, "")) for key in group_by)
        table[labels][one.at_ms] += 1
    return table


def messages(traffic: Traffic, asked: Question) -> Table:
    """Return messages of users, by how the bot took them."""
    table: Table = defaultdict(lambda: defaultdict(int))
    for one in asked.records(traffic, Kind.MESSAGE_RECEIVED):
        kind = PROVIDERS[chance(one.id, len(PROVIDERS))]
        table[("type", kind),][one.at_ms] += one.amount
    return table


def knowledge_base(traffic: Traffic, asked: Question) -> Table:
    """Return uses of the knowledge base."""
    table: Table = defaultdict(lambda: defaultdict(int))
    for one in asked.records(traffic, Kind.KB_HIT):
        table[("type", "hits"),][one.at_ms] += 1
    return table


def series_data(
    table: Table, asked: Question, modes: Mapping[str, Any], *, totals: bool = True
) -> tuple[dict[str, Any], Rows]:
    """Return an answer's ``data`` and its series."""
    starts = asked.starts(from_start="start_aligned" in modes)
    values = {labels: _bucketed(counts, starts, asked) for labels, counts in table.items()}
    whole = [sum(column) for column in zip(*values.values(), strict=True)]
    if totals and whole and modes.keys() & {"with_total", "one_series"}:
        rest = {} if "one_series" in modes else values
        values = rest | {(("type", "total"),): whole}
    return described(values, starts, modes)


def users(
    traffic: Traffic, asked: Question, modes: Mapping[str, Any]
) -> tuple[dict[str, Any], Rows]:
    """Return distinct users of each bucket: all, new and returning ones."""
    starts = asked.starts(from_start="start_aligned" in modes)
    every = _distinct(asked.records(traffic, Kind.MESSAGE_RECEIVED), starts, asked)
    new = _distinct(asked.records(traffic, Kind.NEW_USER), starts, asked)
    pairs = list(zip(every, new, strict=True))
    values: dict[Labels, list[int]] = {
        (("type", "total"),): [len(all_) for all_, _ in pairs],
        (("type", "new"),): [len(all_ & new_) for all_, new_ in pairs],
        (("type", "returning"),): [len(all_ - new_) for all_, new_ in pairs],
    }
    if "one_series" in modes:
        values = {(("type", "active"),): values[(("type", "total"),)]}
    return described(values, starts, modes)


def described(
    values: Mapping[Labels, list[int]], starts: list[int], modes: Mapping[str, Any]
) -> tuple[dict[str, Any], Rows]:
    """Return SeriesData in the form that the modes ask for, and its series."""
    apart = "series_labels" in modes
    rows: Rows = [
        {
            "mean": sum(column) // max(1, len(column)),
            "values": [str(value) for value in column] if "numbers_as_text" in modes else column,
            "max": max(column, default=0),
            "min": min(column, default=0),
            "sum": sum(column),
            "labels": {} if apart else dict(labels),
        }
        for labels, column in sorted(values.items())
    ]
    names = [" ".join(value for _, value in labels) for labels in sorted(values)]
    data = {"series": rows, "series_labels": names if apart else [], "x_values": _x(starts, modes)}
    return data, rows


def _x(starts: list[int], modes: Mapping[str, Any]) -> list[str]:
    if "x_missing" in modes:
        return []
    if "x_epoch" in modes:
        return [str(round(datetime.fromtimestamp(at / 1000, UTC).timestamp())) for at in starts]
    return [stamp(at, 0) for at in starts]


def _bucketed(counts: Mapping[int, int], starts: list[int], asked: Question) -> list[int]:
    values = [0] * len(starts)
    for at_ms, number in counts.items():
        values[(at_ms - starts[0]) // asked.step_ms] += number
    return values


def _distinct(found: list[Occurrence], starts: list[int], asked: Question) -> list[set[str]]:
    seen: list[set[str]] = [set() for _ in starts]
    for one in found:
        seen[(one.at_ms - starts[0]) // asked.step_ms].add(one.get("user"))
    return seen
