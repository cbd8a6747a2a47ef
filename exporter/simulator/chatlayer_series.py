"""The truth as Chatlayer's SeriesData: values by bucket, under undocumented names."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from exporter.simulator.chatlayer_format import BOT, Version, choice, version_of
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.server import Call, Refusal, Rows
from exporter.simulator.times import DAY_MS, HOUR_MS, Instant, milliseconds, stamp
from exporter.simulator.traffic import Traffic

STEPS: Mapping[str, int] = {"1h": HOUR_MS, "1d": DAY_MS}
SERIES_MODES = frozenset(
    {
        "series_labels",  # names beside the series instead of a map in each
        "x_epoch",  # x_values as texts of seconds since 1970
        "x_missing",  # no x_values
        "numbers_as_text",
        "with_total",  # a series that holds the sum of the others
        "one_series",  # only that sum
    }
)
TOTAL = (("type", "total"),)
TYPES = ("understood", "not_understood", "click")
CAMPAIGNS = (("", ""), ("spring24", "newsletter"), ("blackfriday", "social"))

Labels = tuple[tuple[str, str], ...]
Table = dict[Labels, list[int]]
"""The values of each series, bucket by bucket."""


class SeriesQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked for; without a version it is a team's."""

    start_time: Instant
    end_time: Instant
    bucket: Literal["1h", "1d"]
    version: Version | None = None
    group_by: Literal["", "channel_type", "bot_id,campaign_id,campaign_source"] = ""

    @property
    def step_ms(self) -> int:
        """Return the length of a bucket, which must be smaller than the range."""
        step_ms = STEPS[self.bucket]
        if step_ms >= milliseconds(self.end_time) - milliseconds(self.start_time):
            raise Refusal(400, "bucket must be smaller than the range")
        return step_ms

    @property
    def starts(self) -> list[int]:
        """Return where the buckets start."""
        start_ms = milliseconds(self.start_time)
        first_ms = start_ms - start_ms % self.step_ms
        return list(range(first_ms, milliseconds(self.end_time), self.step_ms))


Values = Callable[[Traffic, SeriesQuery, Call], Table]


def conversations(traffic: Traffic, query: SeriesQuery, call: Call) -> Table:
    """Return how many conversations began, by group."""

    def labels(one: Occurrence) -> Labels:
        campaign, source = CAMPAIGNS[choice(one.get("conversation"), len(CAMPAIGNS))]
        values = {
            "bot_id": BOT,
            "channel_type": one.get("channel"),
            "campaign_id": campaign,
            "campaign_source": source,
        }
        return tuple((key, values[key]) for key in query.group_by.split(",") if key)

    return _counted(traffic, query, call, Kind.CONVERSATION_STARTED, labels)


def messages(traffic: Traffic, query: SeriesQuery, call: Call) -> Table:
    """Return messages of users, by how the bot took them."""
    table = _counted(
        traffic,
        query,
        call,
        Kind.MESSAGE_RECEIVED,
        lambda one: (("type", TYPES[choice(one.id, len(TYPES))]),),
    )
    total = [sum(column) for column in zip(*table.values(), strict=True)]
    if total and "one_series" in call.faults:
        return {TOTAL: total}
    return table | {TOTAL: total} if total and "with_total" in call.faults else table


def knowledge_base(traffic: Traffic, query: SeriesQuery, call: Call) -> Table:
    """Return uses of the knowledge base."""
    return _counted(traffic, query, call, Kind.KB_HIT, lambda _: (("type", "hits"),))


def users(traffic: Traffic, query: SeriesQuery, call: Call) -> Table:
    """Return distinct users of each bucket: all, new and returning ones."""
    every = _users(traffic, query, call, Kind.MESSAGE_RECEIVED)
    new = _users(traffic, query, call, Kind.NEW_USER)
    if "one_series" in call.faults:
        return {(("type", "active"),): [len(each) for each in every]}
    pairs = list(zip(every, new, strict=True))
    return {
        TOTAL: [len(all_) for all_, _ in pairs],
        (("type", "new"),): [len(all_ & new_) for all_, new_ in pairs],
        (("type", "returning"),): [len(all_ - new_) for all_, new_ in pairs],
    }


def series_data(
    table: Table, query: SeriesQuery, modes: Mapping[str, Any]
) -> tuple[dict[str, Any], Rows]:
    """Return SeriesData in the form that the modes ask for, and its series."""
    apart = "series_labels" in modes
    rows: Rows = [
        {
            "mean": sum(values) // max(1, len(values)),
            "values": [str(value) for value in values] if "numbers_as_text" in modes else values,
            "max": max(values, default=0),
            "min": min(values, default=0),
            "sum": sum(values),
            "labels": {} if apart else dict(labels),
        }
        for labels, values in sorted(table.items())
    ]
    names = [" ".join(value for _, value in labels) for labels in sorted(table)]
    starts = [] if "x_missing" in modes else query.starts
    x_values = [str(at // 1000) if "x_epoch" in modes else stamp(at, 0) for at in starts]
    return {"series": rows, "series_labels": names if apart else [], "x_values": x_values}, rows


def _buckets(
    traffic: Traffic, query: SeriesQuery, call: Call, kind: Kind
) -> tuple[int, list[tuple[int, Occurrence]]]:
    """Return how many buckets there are, and what happened with the number of its bucket."""
    starts = query.starts
    window = milliseconds(query.start_time), milliseconds(query.end_time)
    found = [
        ((one.at_ms - starts[0]) // query.step_ms, one)
        for one in traffic.records(kind, window, call.now_ms)
        if query.version in (None, version_of(one.get("environment")))
    ]
    return len(starts), found


def _counted(
    traffic: Traffic,
    query: SeriesQuery,
    call: Call,
    kind: Kind,
    labels: Callable[[Occurrence], Labels],
) -> Table:
    number, found = _buckets(traffic, query, call, kind)
    counts: defaultdict[Labels, Counter[int]] = defaultdict(Counter)
    for bucket, one in found:
        counts[labels(one)][bucket] += one.amount
    return {key: [each[bucket] for bucket in range(number)] for key, each in counts.items()}


def _users(traffic: Traffic, query: SeriesQuery, call: Call, kind: Kind) -> list[set[str]]:
    number, found = _buckets(traffic, query, call, kind)
    seen: list[set[str]] = [set() for _ in range(number)]
    for bucket, one in found:
        seen[bucket].add(one.get("user"))
    return seen
