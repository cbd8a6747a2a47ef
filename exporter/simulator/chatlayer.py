"""A simulator of Sinch Chatlayer's analytics API: event lists, definitions and aggregates."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from exporter.clock import Clock
from exporter.simulator import chatlayer_events, chatlayer_series
from exporter.simulator.chatlayer_events import EVENT_MODES, NAMES, EventListRequest
from exporter.simulator.chatlayer_format import (
    BOT,
    TEAM,
    VERSIONS,
    error_body,
    parse_instant,
    spelled,
    stamp,
)
from exporter.simulator.chatlayer_series import SERIES_MODES, STEPS, TEAM_STEPS, Question
from exporter.simulator.faults import Faults
from exporter.simulator.server import Answer, Call, Refusal, Route, Rows, Seen, Service
from exporter.simulator.traffic import Traffic, Window

TOKEN = "66abc012345678901234567a:0123456789abcdef0123456789abcdef"  # noqa: S105 - a fake's own
HOUR_MS = 3_600_000

MODES = (
    EVENT_MODES
    | SERIES_MODES
    | {
        "plain_401",  # the answer of an ingress to a wrong token
        "omit_empty",  # empty fields are left out
        "camel_case",  # nextPageToken, botId …
    }
)

WRITES = frozenset({"track", "subscriptions", "definitions"})


def violations(service: Service) -> list[Seen]:
    """Return the requests that would change data at the vendor."""
    return [
        seen
        for seen in service.requests
        if seen.method in {"PUT", "PATCH", "DELETE"}
        or (seen.method == "POST" and WRITES & set(seen.path.split("/")))
    ]


def build(
    clock: Clock, traffic: Traffic, *, token: str = TOKEN, bot: str = BOT, team: str = TEAM
) -> Service:
    """Return the simulator of one team with one bot; its modes are ``MODES``."""
    expected = "Basic " + base64.b64encode(token.encode()).decode()

    def guarded(handler: Callable[[Call], Answer]) -> Callable[[Call], Any]:
        async def answered(call: Call) -> Answer:
            _authorise(call, expected)
            _own(call, bot, team)
            answer = handler(call)
            return Answer(spelled(answer.payload, call.faults), answer.rows)

        return answered

    def written(_call: Call) -> Answer:
        return Answer({"event_id": "written"})

    own = _Answers(traffic)
    routes = {
        ("GET", "/v1/bots/{bot}/events/stream"): own.events,
        ("POST", "/v1/bots/{bot}/events/stream"): own.events,
        ("GET", "/v1/teams/{team}/events"): own.team_events,
        ("GET", "/v1/bots/{bot}/events/definitions"): own.definitions,
        ("GET", "/v1/bots/{bot}/conversations"): own.conversations,
        ("GET", "/v1/bots/{bot}/messages"): own.messages,
        ("GET", "/v1/bots/{bot}/users"): own.users,
        ("GET", "/v1/bots/{bot}/knowledge_base"): own.knowledge_base,
        ("GET", "/v1/teams/{team}/conversations"): own.team_conversations,
        ("POST", "/v1/bots/{bot}/events/track"): written,
        ("POST", "/v1/bots/{bot}/events/definitions"): written,
        ("POST", "/v1/bots/{bot}/subscriptions"): written,
        ("DELETE", "/v1/bots/{bot}/subscriptions/{id}"): written,
    }
    return Service(
        clock=clock,
        traffic=traffic,
        routes=[Route(method, path, guarded(each)) for (method, path), each in routes.items()],
        faults=Faults(frozenset(MODES)),
        secrets=[token, expected.removeprefix("Basic ")],
        error=error_body,
        target=lambda url: {
            "provider": "chatlayer",
            "token": token,
            "base_url": url,
            "bots": [{"id": bot, "alias": "care", "versions": list(VERSIONS)}],
            "team_id": team,
            "collectors": [
                *("events", "conversations", "messages", "users"),
                *("knowledge_base", "definitions", "team_conversations"),
            ],
            "events": {
                "allow": ["handover", "goal_booked", "feedback_given"],
                "event_map": {"handover": "chatbot_handovers_total"},
            },
        },
    )


class _Answers:
    """The answer of each endpoint."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def events(self, call: Call) -> Answer:
        return self._page(call, _version(_parameters(call)))

    def team_events(self, call: Call) -> Answer:
        return self._page(call, "")

    def definitions(self, call: Call) -> Answer:
        # Fifteen times the last two days: cheaper than a replay of a month, and only an estimate.
        hour_ms = call.now_ms // HOUR_MS * HOUR_MS
        window = (hour_ms - 48 * HOUR_MS, hour_ms)
        volumes = {
            name: 15 * self._traffic.grouped(kind, window, hour_ms, bucket_ms=HOUR_MS).total()
            for kind, name in NAMES.items()
        }
        rows: Rows = [
            {
                "id": f"definition-{name}",
                "event": name,
                "volume_30_day": volume,
                "last_seen_at": stamp(call.now_ms),
            }
            for name, volume in volumes.items()
        ]
        half = len(rows) // 2
        if call.params.get("page_token"):
            rows = rows[half:]
            return Answer({"event_definitions": rows, "next_page_token": ""}, rows)
        rows = rows[:half]
        return Answer({"event_definitions": rows, "next_page_token": "second"}, rows)

    def conversations(self, call: Call) -> Answer:
        asked = _question(call, _version(call.params))
        keys = tuple(filter(None, [call.params.get("group_by", "")]))
        if keys not in {(), ("channel_type",)}:
            raise _bad("group_by must be channel_type")
        return _series(call, chatlayer_series.conversations(self._traffic, asked, keys), asked)

    def messages(self, call: Call) -> Answer:
        asked = _question(call, _version(call.params))
        return _series(call, chatlayer_series.messages(self._traffic, asked), asked, totals=True)

    def knowledge_base(self, call: Call) -> Answer:
        asked = _question(call, _version(call.params))
        return _series(call, chatlayer_series.knowledge_base(self._traffic, asked), asked)

    def users(self, call: Call) -> Answer:
        asked = _question(call, _version(call.params))
        data, rows = chatlayer_series.users(self._traffic, asked, call.faults)
        return Answer({"data": data}, rows)

    def team_conversations(self, call: Call) -> Answer:
        asked = _question(call, "", steps=TEAM_STEPS)
        keys = tuple(call.params.get("group_by", "").split(","))
        return _series(call, chatlayer_series.conversations(self._traffic, asked, keys), asked)

    def _page(self, call: Call, version: str) -> Answer:
        given = _parameters(call)
        asked = EventListRequest(
            window=_window(given),
            version=version,
            attributes=tuple(_attributes(given.get("filters") or ())),
            size=_size(given.get("page_size", 10)),
        )
        rows, following = chatlayer_events.page(
            self._traffic, asked, given.get("page_token", ""), call.now_ms, call.faults
        )
        return Answer({"events": rows, "next_page_token": following}, rows)


def _authorise(call: Call, expected: str) -> None:
    if call.headers.get("authorization") != expected:
        plain = "Unauthorized" if "plain_401" in call.faults else None
        raise Refusal(401, "invalid credentials", plain)


def _own(call: Call, bot: str, team: str) -> None:
    if call.segments.get("bot", bot) != bot:
        raise Refusal(404, "bot not found")
    if call.segments.get("team", team) != team:
        raise Refusal(403, "not a member of this team")


def _bad(reason: str) -> Refusal:
    return Refusal(400, reason)


def _parameters(call: Call) -> Mapping[str, Any]:
    if call.method == "POST":
        return call.body if isinstance(call.body, dict) else {}
    return call.params


def _version(given: Mapping[str, Any]) -> str:
    version = given.get("version")
    if version not in VERSIONS:
        raise _bad("version must be DRAFT or LIVE")
    return str(version)


def _window(given: Mapping[str, Any]) -> Window:
    start_ms, end_ms = (parse_instant(given.get(key)) for key in ("start_time", "end_time"))
    if start_ms is None or end_ms is None:
        raise _bad("start_time and end_time must be dates")
    if start_ms >= end_ms:
        raise _bad("start_time must be before end_time")
    return start_ms, end_ms


def _size(value: Any) -> int:
    try:
        return min(int(value), chatlayer_events.MOST)
    except (TypeError, ValueError):
        raise _bad("page_size must be a number") from None


def _attributes(filters: Iterable[Any]) -> Iterable[tuple[str, tuple[str, ...]]]:
    for each in filters:
        match each:
            case {"key": str(key), "operator": str(), "value": list(values)}:
                yield key, tuple(map(str, values))
            case _:
                raise _bad("a filter has key, operator and value")


def _question(call: Call, version: str, *, steps: Mapping[str, int] = STEPS) -> Question:
    window = _window(call.params)
    bucket = call.params.get("bucket", "")
    if bucket not in steps:
        raise _bad(f"bucket must be one of {', '.join(steps)}")
    if steps[bucket] >= window[1] - window[0]:
        raise _bad("bucket must be smaller than the range")
    return Question(window, steps[bucket], call.now_ms, version)


def _series(
    call: Call, table: chatlayer_series.Table, asked: Question, *, totals: bool = False
) -> Answer:
    data, rows = chatlayer_series.series_data(table, asked, call.faults, totals=totals)
    return Answer({"data": data}, rows)
