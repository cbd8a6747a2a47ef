"""A simulator of Sinch Chatlayer's analytics API: event lists, definitions and values by bucket."""

import base64
import hashlib
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from exporter.simulator.conversations import DAY_MS, HOUR_MS, Kind, Occurrence
from exporter.simulator.server import (
    Answer,
    Call,
    Instant,
    Refusal,
    Rows,
    Service,
    milliseconds,
    stamp,
)

TOKEN = "66abc012345678901234567a:0123456789abcdef0123456789abcdef"  # noqa: S105 - a simulator's own
_KEY = base64.b64encode(TOKEN.encode()).decode()
BOT = "b7x2k9"
TEAM = "t4q8w1"
Version = Literal["LIVE", "DRAFT"]
VERSIONS: tuple[Version, ...] = ("LIVE", "DRAFT")
MODES = frozenset(
    {
        "omit_empty",  # empty fields are left out
        "camel_case",  # nextPageToken, botId …
        # of event lists
        "short_pages",  # at most 7 events a page
        "empty_page",  # the first page has a token and no events
        "repeated_rows",  # every page begins with the last events of the one before
        "expired_token",  # a token is refused
        "looping_token",  # every page has the same token
        "no_ids",
        "unfiltered_time",  # includes events outside the range
        "varied_fractions",  # timestamps with 0, 3, 6 or 9 digits
        "broken_times",  # no event has a valid time
        # of values by bucket
        "series_labels",  # names beside the series instead of a map in each
        "x_epoch",  # x_values as texts of seconds since 1970
        "x_missing",  # no x_values
        "numbers_as_text",
        "with_total",  # one more series, the sum of the others
        "one_series",  # only that sum
    }
)
NAMES: Mapping[Kind, str] = {
    Kind.HANDOVER: "handover",
    Kind.GOAL: "goal_booked",
    Kind.FEEDBACK: "feedback_given",
    Kind.FALLBACK: "not_understood",
    Kind.SEARCH: "search_submitted",
    Kind.FLOW_TRIGGER: "flow_entered",
    Kind.INTERACTION: "turn_taken",
    Kind.MESSAGE_SENT: "bot_replied",
    Kind.OPERATOR_MESSAGE_SENT: "agent_replied",
    Kind.NLP_MATCH: "understood",
    Kind.NLP_MISS: "unmatched",
    Kind.CONVERSATION_ENDED: "session_ended",
    Kind.API_CALL: "api_called",
    Kind.FUNCTION_CALL: "function_called",
    Kind.INTEGRATION_CALL: "integration_called",
    Kind.LLM_CALL: "answer_generated",
}
"""The tracking events in this customer's flows; the vendor defines none."""

MOST, FEW, REPEATED = 100, 7, 3
DIGITS = (0, 3, 6, 9)
STEPS: Mapping[str, int] = {"1h": HOUR_MS, "1d": DAY_MS}
TOTAL = (("type", "total"),)
TYPES = ("understood", "not_understood", "click")
CAMPAIGNS = (("", ""), ("spring24", "newsletter"), ("blackfriday", "social"))
MAPS = frozenset({"labels", "attributes"})

# The gRPC status that the gateway gives for each HTTP status.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}

Labels = tuple[tuple[str, str], ...]
Table = dict[Labels, list[int]]
"""The values of each series, bucket by bucket."""


class EventFilter(msgspec.Struct, forbid_unknown_fields=True):
    """Passes events whose attribute ``key`` is one of the values; operators are undocumented."""

    key: str
    operator: str
    value: list[str]


class EventQuery(msgspec.Struct, forbid_unknown_fields=True):
    """One page of an event list, from a query string or body; without a version, a team's list."""

    start_time: Instant
    end_time: Instant
    version: Version | None = None
    page_size: Annotated[int, msgspec.Meta(ge=1)] = 10
    page_token: str = ""
    filters: list[EventFilter] = []

    @property
    def digest(self) -> str:
        """Return the digest that binds a token to its list."""
        filters = [(each.key, each.value) for each in self.filters]
        text = repr((self.start_time, self.end_time, self.version, filters))
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


class SeriesQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of an aggregate; without a version, it is a team's."""

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
        """Return the starts of the buckets."""
        start_ms = milliseconds(self.start_time)
        first_ms = start_ms - start_ms % self.step_ms
        return list(range(first_ms, milliseconds(self.end_time), self.step_ms))


def events(call: Call) -> Answer:
    """Return one page and the token of the next, empty after the last.

    The list is fixed when its first page is requested; what arrives later is not in it.
    """
    is_post = call.method == "POST"
    query = call.read_body(EventQuery) if is_post else call.read_params(EventQuery)
    if "bot" in call.segments and query.version is None:
        raise Refusal(400, "version is required")
    modes = call.faults
    as_of_ms, offset = _decoded_token(query, modes) if query.page_token else (call.now_ms, 0)
    if "empty_page" in modes and not query.page_token:
        return Answer({"events": [], "next_page_token": _token(query, as_of_ms, 0)})
    found = _events(query, as_of_ms, call)
    begin = max(0, offset - REPEATED) if "repeated_rows" in modes else offset
    end = offset + min(FEW if "short_pages" in modes else MOST, query.page_size)
    following = _token(query, as_of_ms, end) if end < len(found) else ""
    if "looping_token" in modes:
        following = _token(query, as_of_ms, 0)
    rows: Rows = [_event(one, modes) for one in found[begin:end]]
    return Answer({"events": rows, "next_page_token": following}, rows)


def _events(query: EventQuery, as_of_ms: int, call: Call) -> list[Occurrence]:
    more_ms = HOUR_MS if "unfiltered_time" in call.faults else 0
    window = milliseconds(query.start_time) - more_ms, milliseconds(query.end_time) + more_ms
    found = [
        one
        for kind in NAMES
        for one in call.traffic.records(kind, window, as_of_ms)
        if query.version in (None, _version_of(one))
        and all(_attributes(one).get(each.key) in each.value for each in query.filters)
    ]
    return sorted(found, key=lambda one: (_choice(one.id, 2**32), one.id))


def _attributes(one: Occurrence) -> dict[str, str]:
    known = {"flow": one.get("flow") or "main", "step_name": one.kind.value}
    return known | {"input": f"canary text of {one.get('user') or 'somebody'}"}


def _event(one: Occurrence, modes: Mapping[str, Any]) -> dict[str, Any]:
    digits = DIGITS[_choice(one.id, 4)] if "varied_fractions" in modes else 3
    return {
        "id": "" if "no_ids" in modes else f"event-{one.id}",
        "event": NAMES[one.kind],
        "bot_id": BOT,
        "version": _version_of(one),
        "user_id": one.get("user"),
        "channel_id": "64f0aa",
        "channel_type": one.get("channel"),
        "conversation_id": one.get("conversation"),
        "attributes": _attributes(one),
        "timestamp": "yesterday" if "broken_times" in modes else stamp(one.at_ms, digits),
    }


def _token(query: EventQuery, as_of_ms: int, offset: int) -> str:
    text = json.dumps([query.digest, as_of_ms, offset])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decoded_token(query: EventQuery, modes: Mapping[str, Any]) -> tuple[int, int]:
    try:
        digest, as_of_ms, offset = json.loads(base64.urlsafe_b64decode(query.page_token))
    except ValueError:
        digest = as_of_ms = offset = None
    if digest != query.digest or "expired_token" in modes:
        raise Refusal(400, "invalid page token")
    return as_of_ms, offset


def definitions(call: Call) -> Answer:
    """Return the event names on two pages, with estimates, since replaying a month is slow."""
    hour_ms = call.now_ms // HOUR_MS * HOUR_MS
    window = (hour_ms - 48 * HOUR_MS, hour_ms)
    rows: Rows = [
        {
            "id": f"definition-{name}",
            "event": name,
            "volume_30_day": 15 * call.traffic.hourly(kind, window, hour_ms).total(),
            "last_seen_at": stamp(call.now_ms),
        }
        for kind, name in NAMES.items()
    ]
    half = len(rows) // 2
    rows, following = (
        (rows[half:], "") if call.params.get("page_token") else (rows[:half], "second")
    )
    return Answer({"event_definitions": rows, "next_page_token": following}, rows)


def series(values: Callable[[SeriesQuery, Call], Table], call: Call) -> Answer:
    """Return what ``values`` counts, as SeriesData in the form that the modes select."""
    query, modes = call.read_params(SeriesQuery), call.faults
    table = values(query, call)
    apart = "series_labels" in modes
    rows: Rows = [
        {
            "mean": sum(numbers) // max(1, len(numbers)),
            "values": [str(each) for each in numbers] if "numbers_as_text" in modes else numbers,
            "max": max(numbers, default=0),
            "min": min(numbers, default=0),
            "sum": sum(numbers),
            "labels": {} if apart else dict(labels),
        }
        for labels, numbers in sorted(table.items())
    ]
    names = [" ".join(value for _, value in labels) for labels in sorted(table)]
    starts = [] if "x_missing" in modes else query.starts
    x_values = [str(at // 1000) if "x_epoch" in modes else stamp(at, 0) for at in starts]
    data = {"series": rows, "series_labels": names if apart else [], "x_values": x_values}
    return Answer({"data": data}, rows)


def conversations(query: SeriesQuery, call: Call) -> Table:
    """Return how many conversations started, by group."""

    def labels(one: Occurrence) -> Labels:
        campaign, source = CAMPAIGNS[_choice(one.get("conversation"), len(CAMPAIGNS))]
        values = {
            "bot_id": BOT,
            "channel_type": one.get("channel"),
            "campaign_id": campaign,
            "campaign_source": source,
        }
        return tuple((key, values[key]) for key in query.group_by.split(",") if key)

    return _counted(query, call, Kind.CONVERSATION_STARTED, labels)


def messages(query: SeriesQuery, call: Call) -> Table:
    """Return messages of users, by how the bot understood them."""
    table = _counted(
        query,
        call,
        Kind.MESSAGE_RECEIVED,
        lambda one: (("type", TYPES[_choice(one.id, len(TYPES))]),),
    )
    total = [sum(column) for column in zip(*table.values(), strict=True)]
    if total and "one_series" in call.faults:
        return {TOTAL: total}
    return table | {TOTAL: total} if total and "with_total" in call.faults else table


def knowledge_base(query: SeriesQuery, call: Call) -> Table:
    """Return uses of the knowledge base."""
    return _counted(query, call, Kind.KB_HIT, lambda _: (("type", "hits"),))


def users(query: SeriesQuery, call: Call) -> Table:
    """Return distinct users of each bucket: all, new and returning ones."""
    every = _users(query, call, Kind.MESSAGE_RECEIVED)
    new = _users(query, call, Kind.NEW_USER)
    if "one_series" in call.faults:
        return {(("type", "active"),): [len(each) for each in every]}
    pairs = list(zip(every, new, strict=True))
    return {
        TOTAL: [len(all_) for all_, _ in pairs],
        (("type", "new"),): [len(all_ & new_) for all_, new_ in pairs],
        (("type", "returning"),): [len(all_ - new_) for all_, new_ in pairs],
    }


def _buckets(
    query: SeriesQuery, call: Call, kind: Kind
) -> tuple[int, list[tuple[int, Occurrence]]]:
    """Return the number of buckets, and the occurrences with the index of their bucket."""
    starts = query.starts
    window = milliseconds(query.start_time), milliseconds(query.end_time)
    found = [
        ((one.at_ms - starts[0]) // query.step_ms, one)
        for one in call.records(kind, window)
        if query.version in (None, _version_of(one))
    ]
    return len(starts), found


def _counted(
    query: SeriesQuery,
    call: Call,
    kind: Kind,
    labels: Callable[[Occurrence], Labels],
) -> Table:
    number, found = _buckets(query, call, kind)
    counts: defaultdict[Labels, Counter[int]] = defaultdict(Counter)
    for bucket, one in found:
        counts[labels(one)][bucket] += one.amount
    return {key: [each[bucket] for bucket in range(number)] for key, each in counts.items()}


def _users(query: SeriesQuery, call: Call, kind: Kind) -> list[set[str]]:
    number, found = _buckets(query, call, kind)
    seen: list[set[str]] = [set() for _ in range(number)]
    for bucket, one in found:
        seen[bucket].add(one.get("user"))
    return seen


def _version_of(one: Occurrence) -> Version:
    return "DRAFT" if one.get("environment") == "staging" else "LIVE"


def _choice(name: str, many: int) -> int:
    """Return a number below ``many``, always the same for ``name``."""
    return zlib.crc32(name.encode()) % many


def _without_empty(value: Any) -> Any:
    """Return ``value`` without empty or zero fields, as proto3 writes it by default."""
    match value:
        case dict():
            kept = {key: _without_empty(each) for key, each in value.items()}
            return {key: each for key, each in kept.items() if each not in ("", 0, None, [], {})}
        case list():
            return [_without_empty(each) for each in value]
        case _:
            return value


def _camel_case(value: Any) -> Any:
    """Return ``value`` with field names in camel case, except for keys that customers choose."""
    match value:
        case dict():
            return {
                _camel(key): each if key in MAPS else _camel_case(each)
                for key, each in value.items()
            }
        case list():
            return [_camel_case(each) for each in value]
        case _:
            return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


async def _answered(answering: Callable[[Call], Answer], call: Call) -> Answer:
    if call.segments.get("bot", BOT) != BOT:
        raise Refusal(404, "bot not found")
    if call.segments.get("team", TEAM) != TEAM:
        raise Refusal(403, "not a member of this team")
    answer = answering(call)
    payload = _without_empty(answer.payload) if "omit_empty" in call.faults else answer.payload
    return Answer(_camel_case(payload) if "camel_case" in call.faults else payload, answer.rows)


def target(url: str) -> dict[str, Any]:
    """Return the settings of a target on the simulator at ``url``."""
    return {
        "provider": "chatlayer",
        "token": TOKEN,
        "base_url": url,
        "bots": [{"id": BOT, "alias": "care", "versions": list(VERSIONS)}],
        "team_id": TEAM,
        "collectors": [
            *("events", "conversations", "messages", "users"),
            *("knowledge_base", "definitions", "team_conversations"),
        ],
        "events": {
            "allow": ["handover", "goal_booked", "feedback_given"],
            "event_map": {"handover": "chatbot_handovers_total"},
        },
    }


_BOT, _TEAM = "/v1/bots/{bot}", "/v1/teams/{team}"
_ANSWERS: Mapping[tuple[str, str], Callable[[Call], Answer]] = {
    ("GET", f"{_BOT}/events/stream"): events,
    ("POST", f"{_BOT}/events/stream"): events,
    ("GET", f"{_TEAM}/events"): events,
    ("GET", f"{_BOT}/events/definitions"): definitions,
    ("GET", f"{_BOT}/conversations"): partial(series, conversations),
    ("GET", f"{_BOT}/messages"): partial(series, messages),
    ("GET", f"{_BOT}/users"): partial(series, users),
    ("GET", f"{_BOT}/knowledge_base"): partial(series, knowledge_base),
    ("GET", f"{_TEAM}/conversations"): partial(series, conversations),
}

build = partial(
    Service,
    routes={route: partial(_answered, each) for route, each in _ANSWERS.items()},
    modes=MODES,
    secrets=[TOKEN, _KEY],
    authorization=f"Basic {_KEY}",
    error=lambda status, reason: {"code": _CODES.get(status, 2), "message": reason, "details": []},
    target=target,
)
"""Builds the simulator of one team with one bot."""
