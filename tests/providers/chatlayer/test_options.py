"""The settings of a Chatlayer target: what is taken, and what is a fault."""

from typing import Any

import pytest

from exporter.config import loads
from exporter.errors import SettingsError, Unauthorized
from exporter.providers.chatlayer.options import ChatlayerOptions
from tests.providers.chatlayer.care import target


def options(**changes: Any) -> ChatlayerOptions:
    entries = {"name": "care", "provider": "chatlayer", "token": {"env": "T"}, "bots": ["B1"]}
    return ChatlayerOptions.model_validate(entries | changes)


def faults(extra: str) -> str:
    text = (
        "version: 1\ntargets:\n  - name: care\n    provider: chatlayer\n"
        "    token: {env: T}\n    bots: [B1]\n" + extra
    )
    with pytest.raises(SettingsError) as caught:
        loads(text, {"chatlayer": ChatlayerOptions}, {"T": "id:secret"})
    return str(caught.value)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu", "https://analytics.api.chatlayer.ai"),
        ("us", "https://analytics.api.prod.us-east4.gcp.chatlayer.ai"),
        ("apac", "https://analytics.api.prod.asia-south1.gcp.chatlayer.ai"),
        ("sa", "https://analytics.api.prod.sa-east1.gcp.chatlayer.ai"),
    ],
)
def test_a_region_has_its_own_host(region: str, host: str) -> None:
    assert options(region=region).base_url == host


def test_base_url_wins_over_the_region() -> None:
    given = options(region="us", base_url="http://127.0.0.1:8080")

    assert given.base_url == "http://127.0.0.1:8080"


def test_versions_are_taken_in_any_case() -> None:
    bots = [{"id": "B1", "versions": ["live", "DRAFT"]}]

    assert options(bots=bots).bots[0].versions == ("LIVE", "DRAFT")


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("    collectors: [events, team_events]\n", "team collectors need team_id"),
        ("    collectors: [events, events]\n", "more than once"),
        ("    bots: [B1, B1]\n", "bots"),
        ("    region: mars\n", "region"),
        ("    stream: {overlap: 2h, sweep: 1h}\n", "shorter than overlap"),
        ("    events: {event_map: {a: chatbot_handovers}}\n", "no such counter"),
        ("    events: {event_map: {a: chatbot_active_users}}\n", "no such counter"),
        (
            "    events: {event_map: {a: chatbot_messages_received_total}}\n",
            "fed by the collector messages already",
        ),
        (
            "    events: {event_map: {a: chatbot_events_total}}\n",
            "fed by the collector events already",
        ),
        (
            "    events: {event_map: {a: {family: chatbot_handovers_total, labels: {x: y}}}}\n",
            "the family has no such label",
        ),
    ],
)
def test_a_contradiction_is_a_fault(extra: str, problem: str) -> None:
    assert problem in faults(extra)


def test_a_family_may_be_mapped_once_its_collector_is_left_out() -> None:
    events = {"event_map": {"user_message": {"family": "chatbot_messages_received_total"}}}

    given = options(collectors=["events"], events=events)

    assert given.events.event_map["user_message"].family == "chatbot_messages_received_total"


def test_queries_are_named_by_bot_alias_and_version() -> None:
    built = target(
        {
            "token": "id:secret",
            "bots": [{"id": "B1", "alias": "care", "versions": ["LIVE", "DRAFT"]}, "B2"],
            "team_id": "T1",
            "collectors": ["events", "definitions", "team_conversations"],
        }
    )

    assert [query.spec.name for query in built.queries] == [
        *("events/care/live", "events/care/draft", "events/B2/live"),
        *("definitions/care", "definitions/B2", "team_conversations"),
    ]


def test_events_are_read_each_minute_and_definitions_each_hour() -> None:
    entries = {"token": "id:secret", "bots": ["B1"], "collectors": ["events", "definitions"]}

    every = [query.spec.interval_ms for query in target(entries).queries]
    given = [query.spec.interval_ms for query in target(entries | {"interval": "2m"}).queries]

    assert every == [60_000, 3_600_000]
    assert given == [120_000, 3_600_000]


@pytest.mark.parametrize("token", ["secret", ":secret", "id:"])
def test_a_token_without_its_two_halves_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        target({"token": token, "bots": ["B1"]}).sign()

    assert "secret" not in str(caught.value).replace("tokenId:tokenSecret", "")


def test_the_token_is_sent_by_basic_authentication() -> None:
    assert target({"token": "id:secret", "bots": ["B1"]}).sign() == {
        "Authorization": "Basic aWQ6c2VjcmV0"
    }
