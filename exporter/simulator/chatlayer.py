"""A simulator of Sinch Chatlayer's analytics API: event lists, definitions and aggregates."""

import base64
from collections.abc import Callable
from functools import partial
from typing import Any

from exporter.clock import Clock
from exporter.simulator import chatlayer_answers as answers
from exporter.simulator.chatlayer_answers import BOT, TEAM, VERSIONS, EventQuery, SeriesQuery
from exporter.simulator.server import Answer, Call, Refusal, Rows, Service
from exporter.simulator.times import HOUR_MS, stamp
from exporter.simulator.traffic import Traffic

TOKEN = "66abc012345678901234567a:0123456789abcdef0123456789abcdef"  # noqa: S105 - a simulator's own
MODES = (
    answers.EVENT_MODES
    | answers.SERIES_MODES
    | {
        "omit_empty",  # empty fields are left out
        "camel_case",  # nextPageToken, botId …
    }
)

Answering = Callable[[Traffic, Call], Answer]


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one team with one bot; its modes are ``MODES``."""
    key = base64.b64encode(TOKEN.encode()).decode()

    async def answered(answering: Answering, call: Call) -> Answer:
        if call.segments.get("bot", BOT) != BOT:
            raise Refusal(404, "bot not found")
        if call.segments.get("team", TEAM) != TEAM:
            raise Refusal(403, "not a member of this team")
        answer = answering(traffic, call)
        return Answer(answers.formatted(answer.payload, call.faults), answer.rows)

    bot, team = "/v1/bots/{bot}", "/v1/teams/{team}"
    answers_of: dict[tuple[str, str], Answering] = {
        ("GET", f"{bot}/events/stream"): _events,
        ("POST", f"{bot}/events/stream"): _events,
        ("GET", f"{team}/events"): _events,
        ("GET", f"{bot}/events/definitions"): _definitions,
        ("GET", f"{bot}/conversations"): partial(_series, answers.conversations),
        ("GET", f"{bot}/messages"): partial(_series, answers.messages),
        ("GET", f"{bot}/users"): partial(_series, answers.users),
        ("GET", f"{bot}/knowledge_base"): partial(_series, answers.knowledge_base),
        ("GET", f"{team}/conversations"): partial(_series, answers.conversations),
    }
    return Service(
        clock=clock,
        traffic=traffic,
        routes={route: partial(answered, each) for route, each in answers_of.items()},
        modes=MODES,
        secrets=[TOKEN, key],
        authorization=f"Basic {key}",
        error=answers.error_body,
        target=target,
    )


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


def _events(traffic: Traffic, call: Call) -> Answer:
    is_post = call.method == "POST"
    query = call.read_body(EventQuery) if is_post else call.read_params(EventQuery)
    if "bot" in call.segments and query.version is None:
        raise Refusal(400, "version is required")
    rows, following = answers.page(traffic, query, call.now_ms, call.faults)
    return Answer({"events": rows, "next_page_token": following}, rows)


def _definitions(traffic: Traffic, call: Call) -> Answer:
    # Fifteen times the last two days: cheaper than a replay of a month, and only an estimate.
    hour_ms = call.now_ms // HOUR_MS * HOUR_MS
    window = (hour_ms - 48 * HOUR_MS, hour_ms)
    rows: Rows = [
        {
            "id": f"definition-{name}",
            "event": name,
            "volume_30_day": 15 * traffic.hourly(kind, window, hour_ms).total(),
            "last_seen_at": stamp(call.now_ms),
        }
        for kind, name in answers.NAMES.items()
    ]
    half = len(rows) // 2
    rows, following = (
        (rows[half:], "") if call.params.get("page_token") else (rows[:half], "second")
    )
    return Answer({"event_definitions": rows, "next_page_token": following}, rows)


def _series(values: answers.Values, traffic: Traffic, call: Call) -> Answer:
    query = call.read_params(SeriesQuery)
    data, rows = answers.series_data(values(traffic, query, call), query, call.faults)
    return Answer({"data": data}, rows)
