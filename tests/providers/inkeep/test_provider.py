"""What an Inkeep target counts, against what happened at its simulator."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import Refused, Truncated
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from tests.providers.inkeep.vendor import HOUR, WINDOW, Vendor
from tests.providers.vendor import Polled, query_of
from tests.support.virtual import run_virtual

EVENTS = "chatbot_events_total"
RECEIVED = "chatbot_messages_received_total"
SENT = "chatbot_messages_sent_total"
SEARCHES = "chatbot_searches_total"
HANDOVERS = "chatbot_handovers_total"
ESCALATIONS = "chatbot_inkeep_escalations_total"
STARTED = "chatbot_conversations_started_total"
USER_MESSAGES = "chatbot_inkeep_conversation_user_messages_total"
FEEDBACK = "chatbot_feedback_total"
USERS = "chatbot_active_users"
CONVERSATIONS = "chatbot_active_conversations"
QUERIES = ("events", "conversations", "feedback", "escalations", "active_users")
HOURLY = QUERIES[:4]

Script = list[tuple[Kind, dict[str, Any]]]


def vendor(script: Script, **settings: Any) -> Vendor:
    made = Vendor(**settings)
    for kind, entry in script:
        made.service.traffic.add(kind, HOUR - HOUR_MS + 1, **entry)
    return made


OLDER = ("chat_message_submitted", "chat_message_bot_response_received")
COUNTED: dict[str, tuple[str, Script, dict[tuple[str, ...], float]]] = {
    "an event, by its name and in the family that it means": (
        "events",
        [
            (Kind.MESSAGE_RECEIVED, {"count": 3, "channel": "web"}),
            (Kind.MESSAGE_SENT, {"count": 2, "channel": "web"}),
            (Kind.SEARCH, {"count": 4}),
        ],
        {
            (EVENTS, "int_web", "user_message_submitted"): 3,
            (RECEIVED, "int_web"): 3,
            (EVENTS, "int_web", "assistant_message_received"): 2,
            (EVENTS, "int_web", "assistant_answer_displayed"): 2,
            (SENT, "int_web"): 2,
            (EVENTS, "", "search_query_submitted"): 4,
            (EVENTS, "", "search_query_response_received"): 4,
            (SEARCHES, ""): 4,
        },
    ),
    "events of older widgets, which have the same meaning": (
        "events",
        [(Kind.MESSAGE_RECEIVED, {"event": name, "count": 2}) for name in OLDER],
        dict.fromkeys([*((EVENTS, "", name) for name in OLDER), (RECEIVED, ""), (SENT, "")], 2),
    ),
    "feedback, by its rating": (
        "feedback",
        [
            (Kind.FEEDBACK, {"rating": "negative", "count": 2}),
            (Kind.FEEDBACK, {"rating": "positive", "channel": "web"}),
        ],
        {(FEEDBACK, "", "negative"): 2, (FEEDBACK, "int_web", "positive"): 1},
    ),
    "a thumbs down, which is an escalation and no handover": (
        "escalations",
        [
            (Kind.FEEDBACK, {"rating": "negative", "count": 5}),
            (Kind.HANDOVER, {"escalation": "contact_us", "count": 2, "channel": "web"}),
            (Kind.HANDOVER, {"escalation": "none", "count": 3}),
        ],
        {
            (ESCALATIONS, "", "downvote"): 5,
            (ESCALATIONS, "int_web", "contact_us"): 2,
            (HANDOVERS, "int_web"): 2,
            (ESCALATIONS, "", ""): 3,
            (HANDOVERS, ""): 3,
        },
    ),
}


@pytest.mark.parametrize("case", COUNTED)
def test_what_happened_counts_as(case: str) -> None:
    query, script, counted = COUNTED[case]

    assert vendor(script).counts(query) == counted


def test_the_settings_add_to_the_map_and_replace_in_it() -> None:
    made = vendor(
        [
            (Kind.MESSAGE_RECEIVED, {"event": "goal_booked", "channel": "web"}),
            (Kind.MESSAGE_RECEIVED, {"event": "slack_message", "count": 2}),
            (Kind.MESSAGE_SENT, {"count": 3}),
        ],
        event_map={
            "goal_booked": {"family": "chatbot_goals_reached_total", "labels": {"goal": "booked"}},
            "slack_message": RECEIVED,
            "assistant_message_received": "chatbot_flow_triggers_total",
        },
    )

    counted = {key: value for key, value in made.counts("events").items() if key[0] != EVENTS}

    assert counted == {
        ("chatbot_goals_reached_total", "int_web", "booked"): 1,
        (RECEIVED, ""): 2,
        ("chatbot_flow_triggers_total",): 3,
    }


def test_another_map_is_another_meaning_of_events_alone() -> None:
    plain = [query.spec.fingerprint for query in Vendor().target.queries]
    mapped = [query.spec.fingerprint for query in Vendor(event_map={"x": SENT}).target.queries]

    assert [one == two for one, two in zip(plain, mapped, strict=True)] == [False, *[True] * 4]


def test_a_conversation_grows_after_its_hour() -> None:
    made = vendor([(Kind.CONVERSATION_STARTED, {"conversation": "c1", "channel": "web"})])
    made.service.traffic.add(Kind.MESSAGE_RECEIVED, HOUR - HOUR_MS + 2, conversation="c1")
    before = made.counts("conversations")
    made.service.traffic.add(Kind.MESSAGE_RECEIVED, HOUR + 1, conversation="c1", count=2)

    assert before == {(STARTED, "int_web"): 1, (USER_MESSAGES, "int_web"): 1}
    assert made.counts("conversations") == {(STARTED, "int_web"): 1, (USER_MESSAGES, "int_web"): 3}


def test_a_kind_that_the_widget_does_not_have_is_other_and_never_shown() -> None:
    made = vendor([(Kind.HANDOVER, {"escalation": "canary, my phone is 0170"})])

    (reading,) = made.poll("escalations")

    assert made.counts("escalations") == {(ESCALATIONS, "", "other"): 1, (HANDOVERS, ""): 1}
    assert dict(reading.dropped) == {(ESCALATIONS, "not_allowlisted"): 1}


def test_a_cut_answer_is_asked_for_in_halves() -> None:
    whole = Vendor(Traffic(seed=3, per_hour=4))
    cut = Vendor(Traffic(seed=3, per_hour=4))
    cut.service.faults.on("page_cap", rows=100)

    assert cut.counts("events") == whole.counts("events")

    totals = [(len(seen.rows), seen.status) for seen in cut.service.requests]
    assert len(totals) > 2
    assert max(totals) == (100, 200)


def test_an_hour_that_is_still_cut_is_a_loud_failure() -> None:
    made = vendor([(Kind.SEARCH, {}), (Kind.MESSAGE_RECEIVED, {})])
    made.service.faults.on("page_cap", rows=2)

    with pytest.raises(Truncated, match=r"POST /query/events: one hour has more rows"):
        made.poll("events")

    asked = [seen.body["where"]["and"][1]["condition"]["value"] for seen in made.service.requests]
    assert asked[-1] == "2026-03-03T11:00:00.000Z"


def test_integrations_that_are_cut_off_are_a_failure() -> None:
    made = vendor(
        [
            (Kind.CONVERSATION_STARTED, {"channel": "web", "user": "u"}),
            (Kind.CONVERSATION_STARTED, {"channel": "slack", "user": "u"}),
        ]
    )
    made.service.faults.on("page_cap", rows=1)

    with pytest.raises(Truncated, match="integrations are missing"):
        made.poll("active_users")


def test_active_users_are_distinct_per_integration_and_in_all() -> None:
    made = Vendor(active_users={"windows": ["1d", "7d", "28d"]})
    add = made.service.traffic.add
    add(Kind.CONVERSATION_STARTED, HOUR - HOUR_MS, channel="web", user="u1", count=3)
    add(Kind.CONVERSATION_STARTED, HOUR - HOUR_MS, channel="slack", user="u1")
    add(Kind.CONVERSATION_STARTED, HOUR - 2 * DAY_MS, channel="web", user="u2")
    add(Kind.CONVERSATION_STARTED, HOUR - 10 * DAY_MS, user="u3")
    add(Kind.CONVERSATION_STARTED, HOUR + 1, channel="web", user="u4")

    assert made.active(USERS) == {
        ("int_web", "trailing_1d"): 1,
        ("int_slack", "trailing_1d"): 1,
        ("", "trailing_1d"): 1,
        ("int_web", "trailing_7d"): 2,
        ("int_slack", "trailing_7d"): 1,
        ("", "trailing_7d"): 2,
        ("int_web", "trailing_28d"): 2,
        ("int_slack", "trailing_28d"): 1,
        ("", "trailing_28d"): 3,
    }


def test_active_conversations_are_those_with_events_in_the_window() -> None:
    made = Vendor(active_users={"windows": ["1d", "7d"]})
    add = made.service.traffic.add
    add(Kind.MESSAGE_RECEIVED, HOUR - HOUR_MS, channel="web", conversation="c1", count=3)
    add(Kind.MESSAGE_SENT, HOUR - HOUR_MS, channel="web", conversation="c1")
    add(Kind.MESSAGE_RECEIVED, HOUR - HOUR_MS, channel="slack", conversation="c1")
    add(Kind.MESSAGE_RECEIVED, HOUR - HOUR_MS, conversation="c2")
    add(Kind.MESSAGE_SENT, HOUR - 2 * DAY_MS, channel="web", conversation="c3")
    add(Kind.MESSAGE_SENT, HOUR - 8 * DAY_MS, channel="web", conversation="c4")
    add(Kind.MESSAGE_RECEIVED, HOUR + 1, channel="web", conversation="c5")
    # Begun in the window, but without an event.
    add(Kind.CONVERSATION_STARTED, HOUR - HOUR_MS, channel="web", conversation="c6")

    assert made.active(CONVERSATIONS) == {
        ("int_web", "trailing_1d"): 1,
        ("int_slack", "trailing_1d"): 1,
        ("", "trailing_1d"): 2,
        ("int_web", "trailing_7d"): 2,
        ("int_slack", "trailing_7d"): 1,
        ("", "trailing_7d"): 3,
    }


def test_events_without_a_conversation_are_none() -> None:
    made = vendor(
        [
            (Kind.SEARCH, {"channel": "web", "conversation": "c1"}),
            (Kind.FEEDBACK, {"channel": "web", "conversation": "c2", "rating": "positive"}),
            (Kind.MESSAGE_RECEIVED, {"channel": "slack", "count": 2}),
            (Kind.MESSAGE_SENT, {"channel": "teams", "conversation": "c3"}),
        ],
        active_users={"windows": ["1d"]},
    )

    assert made.active(CONVERSATIONS) == {("int_teams", "trailing_1d"): 1, ("", "trailing_1d"): 1}


def test_active_conversations_are_what_happened() -> None:
    made = Vendor(Traffic(seed=11, per_hour=5), active_users={"windows": ["1d"]})
    shown = made.active(CONVERSATIONS)
    happened: defaultdict[str, set[str]] = defaultdict(set)
    for kind in (Kind.MESSAGE_RECEIVED, Kind.MESSAGE_SENT, Kind.HANDOVER, Kind.FEEDBACK):
        for one in made.service.traffic.records(kind, (HOUR - DAY_MS, HOUR), made.clock.now_ms()):
            # A thumbs-down is an escalation as well; a thumbs-up belongs to a message alone.
            if kind is not Kind.FEEDBACK or one.get("rating") == "negative":
                for channel in ("", f"int_{one.get('channel')}"):
                    happened[channel].add(one.get("conversation"))

    assert shown == {(channel, "trailing_1d"): len(ids) for channel, ids in happened.items()}
    assert len(shown) > 2


@pytest.mark.parametrize("family", [USERS, CONVERSATIONS])
def test_without_traffic_a_distinct_total_is_0(family: str) -> None:
    assert Vendor(active_users={"windows": ["1d"]}).active(family) == {("", "trailing_1d"): 0}


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_counts_nothing_distinct_loses_these_gauges_alone(status: int) -> None:
    made = vendor([(Kind.SEARCH, {}), (Kind.CONVERSATION_STARTED, {"user": "u"})])
    made.service.faults.on("no_count_distinct", status=status)

    (reading,) = made.poll("active_users")

    assert (list(reading.lists), dict(reading.drift)) == ([], {"unexpected_type": 2})
    assert reading.lists_of == {USERS, CONVERSATIONS}
    assert made.counts("events")[SEARCHES, ""] == 1
    assert made.counts("conversations")[STARTED, ""] == 1


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("path", "lost", "kept"),
    [("/query/events", CONVERSATIONS, USERS), ("/query/conversations", USERS, CONVERSATIONS)],
)
def test_a_distinct_count_that_is_refused_is_absent_and_the_other_stays(
    tmp_path: Path, path: str, lost: str, kept: str, status: int
) -> None:
    traffic = Traffic()
    for kind in (Kind.CONVERSATION_STARTED, Kind.MESSAGE_RECEIVED):
        traffic.add(kind, HOUR - HOUR_MS, channel="web", user="u", conversation="c")
    polled = Polled(tmp_path, "inkeep", traffic, {"queries": ["active_users"]})
    of_all = {("docs", "", channel, "trailing_1d"): 1 for channel in ("int_web", "")}

    def shown() -> list[dict[tuple[str, ...], float]]:
        result = run_virtual(polled.poll_claimed(polled.driver.claim()), polled.clock)
        assert result.outcome == "ok"
        return [polled.driver.shown(family) for family in (lost, kept)]

    before = shown()
    polled.service.faults.on(
        "no_count_distinct",
        status=status,
        # In the midst: what was read of it before does not stay either.
        when=lambda call: call.path == path and "groupBy" not in call.body,
    )

    assert (before, shown()) == ([of_all] * 2, [{}, of_all])
    polled.service.faults.off("no_count_distinct")
    assert shown() == [of_all] * 2
    polled.driver.close()


def test_each_window_costs_two_calls_for_each_distinct_count() -> None:
    made = Vendor(active_users={"windows": ["1d", "7d"]})

    made.poll("active_users")

    assert query_of(made.target, "active_users").spec.cost.calls == len(made.service.requests) == 8


def test_another_refusal_of_active_users_is_a_failure() -> None:
    made = Vendor()
    made.service.faults.on("refused", status=404)

    with pytest.raises(Refused):
        made.poll("active_users")


def test_requests_are_small_named_and_never_for_rows() -> None:
    made = Vendor(Traffic(seed=3, per_hour=0.1), active_users={"windows": ["1d", "7d"]})

    for name in QUERIES:
        made.poll(name, Window(WINDOW.start_ms - 9 * DAY_MS, WINDOW.end_ms))

    assert len(made.service.requests) == 4 * 2 + 2 * 2 * 2
    for seen in made.service.requests:
        assert len(str(seen.body)) < 2_000
        assert seen.body["notes"].startswith("chatbot-exporter/0")
        assert len(seen.body["notes"]) <= 80
        assert {item["type"] for item in seen.body["select"]} <= {"time", "aggregation"}
        assert "searchQuery" not in str(seen.body)
        assert not {"limit", "offset"} & seen.body.keys()
    assert made.service.writes() == []
