"""The Inkeep part of ``exporter.yaml``, and what is wrong with it in words."""

import pytest

from exporter.config import loads
from exporter.config.model import Limits, Privacy
from exporter.errors import SettingsError
from exporter.model.samples import DAY_MS
from exporter.providers.base.plugin import LabelSettings
from exporter.providers.inkeep.options import InkeepOptions
from exporter.providers.inkeep.provider import PROVIDER

HEAD = """\
version: 1
targets:
  - name: docs
    provider: inkeep
    api_key: {env: KEY}
    project: docs
"""


def made(extra: str = "") -> InkeepOptions:
    text = HEAD + "".join(f"    {line}\n" for line in extra.splitlines())
    (target,) = loads(text, {"inkeep": InkeepOptions}, {"KEY": "canary"}).targets
    assert isinstance(target, InkeepOptions)
    return target


def fault(extra: str) -> str:
    with pytest.raises(SettingsError) as caught:
        made(extra)
    (one,) = caught.value.faults
    return str(one).removeprefix("exporter.yaml:")


def test_little_is_needed() -> None:
    options = made()

    assert options.base_url == "https://api.analytics.inkeep.com"
    assert (options.requests_per_second, options.interval) == (2, 300_000)
    assert options.active_users.property == ("userProperties", "id")
    assert options.active_users.windows == (DAY_MS, 7 * DAY_MS, 28 * DAY_MS)
    assert options.queries == (
        "events",
        "conversations",
        "feedback",
        "escalations",
        "active_users",
    )


def test_an_event_may_be_mapped_in_both_forms() -> None:
    options = made(
        "event_map:\n"
        "  slack_message: chatbot_messages_received_total\n"
        "  goal: {family: chatbot_goals_reached_total, labels: {goal: booked}}"
    )

    assert {name: mapped.model_dump() for name, mapped in options.event_map.items()} == {
        "slack_message": {"family": "chatbot_messages_received_total", "labels": {}},
        "goal": {"family": "chatbot_goals_reached_total", "labels": {"goal": "booked"}},
    }


def test_a_family_is_free_once_nothing_else_feeds_it() -> None:
    options = made(
        "queries: [events, conversations]\n"
        "event_map:\n"
        "  user_escalation_indicated: chatbot_handovers_total\n"
        "  thumbs_up: {family: chatbot_feedback_total, labels: {rating: positive}}"
    )

    assert set(options.event_map) == {"user_escalation_indicated", "thumbs_up"}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            "{x: chatbot_messages_recieved_total}",
            '7:20: targets[0].event_map.x: no such counter; did you mean "chatbot_messages_received_total"?',
        ),
        (
            "{x: chatbot_active_users}",
            "7:20: targets[0].event_map.x: no such counter; see chatbot-exporter metrics",
        ),
        (
            "{x: {family: chatbot_goals_reached_total, labels: {gaol: a}}}",
            '7:20: targets[0].event_map.x: the family has no such label; did you mean "goal"?',
        ),
        (
            "{x: {family: chatbot_goals_reached_total, labels: {channel: a}}}",
            "7:20: targets[0].event_map.x: the family has no such label; it has goal",
        ),
        (
            "{x: {family: chatbot_searches_total, labels: {kind: a}}}",
            "7:20: targets[0].event_map.x: the family has no such label; it has none beside the channel",
        ),
        (
            "{x: chatbot_events_total}",
            "7:20: targets[0].event_map.x: the query events already feeds this family; it would count twice",
        ),
        (
            "{x: chatbot_handovers_total}",
            "7:20: targets[0].event_map.x: the query escalations already feeds this family; it would count twice",
        ),
        (
            "{x: chatbot_conversations_started_total}",
            "7:20: targets[0].event_map.x: the query conversations already feeds this family; it would count twice",
        ),
        (
            "{x: {family: chatbot_feedback_total, labels: {rating: positive}}}",
            "7:20: targets[0].event_map.x: the query feedback already feeds this family; it would count twice",
        ),
    ],
)
def test_a_wrong_map_is_a_fault_where_it_stands(entry: str, words: str) -> None:
    assert fault(f"event_map: {entry}") == words


def test_a_rating_must_be_one_that_there_is() -> None:
    entry = "{x: {family: chatbot_feedback_total, labels: {rating: positives}}}"

    assert fault(f"queries: [events]\nevent_map: {entry}") == (
        "8:20: targets[0].event_map.x: expected a rating of positive, negative, neutral; "
        'did you mean "positive"?'
    )


def test_a_map_that_nothing_reads_is_a_fault() -> None:
    assert fault("queries: [feedback]\nevent_map: {x: chatbot_searches_total}") == (
        "8:16: targets[0].event_map: no query reads events; add events to queries"
    )


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("active_users: {windows: [36h]}", "expected whole days; use 1d, 7d or 28d"),
        ("active_users: {windows: [1d, 24h]}", "an entry is listed more than once"),
        ("active_users: {windows: []}", "name at least one"),
        ("active_users: {property: [id]}", "as in [userProperties, id]"),
        ("active_users: {property: [searchQuery, id]}", "as in [userProperties, id]"),
        ("queries: [events, events]", "an entry is listed more than once"),
        ("queries: []", "name at least one"),
        ("queries: [event]", 'did you mean "events"?'),
    ],
)
def test_a_wrong_value_is_a_fault(extra: str, words: str) -> None:
    assert fault(extra).endswith(words)


def test_the_key_is_signed_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "canary")
    options = made()

    assert PROVIDER.build(options, LabelSettings(Limits(), Privacy())).sign() == {
        "Authorization": "Bearer canary"
    }
    assert "canary" not in repr(options)
