"""The settings of each provider: what is taken, and what is an error, in words and with its place."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.config import loads
from exporter.config.model import Limits, Privacy
from exporter.errors import SettingsError, Unauthorized
from exporter.model.samples import DAY_MS
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import LabelSettings, Target
from tests.providers.vendor import options_of

PLAIN: dict[str, dict[str, str]] = {
    "voiceflow": {"api_key": "{env: KEY}", "projects": "[64f0c0ffee]"},
    "flowxo": {"api_key": "{env: KEY}", "project": "promo"},
    "inkeep": {"api_key": "{env: KEY}", "project": "docs"},
    "chatlayer": {"token": "{env: KEY}", "bots": "[B1]"},
    "manifest": {"secrets": "{key: {env: KEY}}"},
}
TWICE = "already feeds this family; it would count twice"
INKEEP_FEEDS = {
    "events": "events",
    "escalations": "handovers",
    "conversations": "conversations_started",
    "feedback": "feedback",
}
CHATLAYER_FEEDS = {
    "the collector events": "events",
    "the collector messages": "messages_received",
}


def made(provider: str, extra: str = "", defaults: str = "") -> Any:
    """Return the options of a target with the settings ``extra``, in YAML's flow style.

    ``defaults`` are those of its provider.
    """
    plain = {"name": "shop", "provider": provider, **PLAIN[provider]}
    plain.pop(extra.partition(":")[0], None)
    entries = ", ".join([*(f"{key}: {value}" for key, value in plain.items()), extra])
    options = {name: each.options for name, each in PROVIDERS.items()}
    own = f"defaults: {{{provider}: {{{defaults}}}}}\n"
    text = f"version: 1\ntargets:\n  - {{{entries}}}\n{own}"
    return loads(text, options, {"KEY": "id:canary"}).targets[0]


def test_little_is_needed() -> None:
    voiceflow, flowxo, inkeep = made("voiceflow"), made("flowxo"), made("inkeep")

    assert voiceflow.queries == ("interactions", "unique_users")
    assert (flowxo.requests_per_second, flowxo.top_flows, flowxo.top_messages) == (2, None, None)
    assert flowxo.base_url == "https://flowxo.com/api"
    assert inkeep.base_url == "https://api.analytics.inkeep.com"
    assert (inkeep.requests_per_second, inkeep.interval) == (2, 300_000)
    assert inkeep.active_users.property == ("userProperties", "id")
    assert inkeep.active_users.windows == (DAY_MS, 7 * DAY_MS, 28 * DAY_MS)
    names = ("events", "conversations", "feedback", "escalations", "active_users")
    assert inkeep.queries == names
    assert "canary" not in f"{voiceflow}{flowxo}{inkeep}{made('chatlayer')}"


def test_voiceflows_environments_are_ids_with_or_without_a_name() -> None:
    options = made("voiceflow", "environments: [main, {id: e2, alias: test}]")

    assert [(named.id, named.shown) for named in options.environments] == [
        ("main", "main"),
        ("e2", "test"),
    ]


def test_flowxos_lists_have_a_length_and_a_window_of_days() -> None:
    options = made("flowxo", "top_flows: {limit: 5, window: 7d}, top_messages: {allow: [/start]}")

    assert (options.top_flows.limit, options.top_flows.window) == (5, 7 * DAY_MS)
    assert (options.top_messages.window, options.top_messages.allow) == (DAY_MS, ("/start",))


def test_an_event_may_be_mapped_in_both_forms() -> None:
    goal = "goal: {family: chatbot_goals_reached_total, labels: {goal: booked}}"
    entries = f"{{slack_message: chatbot_searches_total, {goal}}}"
    inkeep = made("inkeep", f"event_map: {entries}").event_map
    chatlayer = made("chatlayer", f"events: {{event_map: {entries}}}").events.event_map

    for event_map in (inkeep, chatlayer):
        assert {name: mapped.model_dump() for name, mapped in event_map.items()} == {
            "slack_message": {"family": "chatbot_searches_total", "labels": {}},
            "goal": {"family": "chatbot_goals_reached_total", "labels": {"goal": "booked"}},
        }


def test_a_family_is_free_once_nothing_else_feeds_it() -> None:
    rating = "{family: chatbot_feedback_total, labels: {rating: positive}}"
    inkeep = f"{{escalated: chatbot_handovers_total, thumbs_up: {rating}}}"
    chatlayer = "{event_map: {user_message: chatbot_messages_received_total}}"

    assert set(
        made("inkeep", f"queries: [events, conversations], event_map: {inkeep}").event_map
    ) == {"escalated", "thumbs_up"}
    assert made("chatlayer", f"collectors: [events], events: {chatlayer}").events.event_map


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu", "https://analytics.api.chatlayer.ai"),
        ("us", "https://analytics.api.prod.us-east4.gcp.chatlayer.ai"),
        ("apac", "https://analytics.api.prod.asia-south1.gcp.chatlayer.ai"),
        ("sa", "https://analytics.api.prod.sa-east1.gcp.chatlayer.ai"),
    ],
)
def test_a_region_of_chatlayer_has_its_own_host(region: str, host: str) -> None:
    url = "http://127.0.0.1:8080"

    assert made("chatlayer", f"region: {region}").base_url == host
    assert made("chatlayer", f"region: {region}, base_url: '{url}'").base_url == url


def test_chatlayers_versions_are_taken_in_any_case() -> None:
    bots = [{"id": "B1", "versions": ["live", "DRAFT"]}]
    options = options_of(provider="chatlayer", token="a:b", bots=bots)

    assert options.bots[0].versions == ("LIVE", "DRAFT")


HANDOVERS = "event_map: {asked: chatbot_handovers_total}"
RECEIVED = "event_map: {said: chatbot_messages_received_total}"


@pytest.mark.parametrize(
    ("provider", "defaults", "extra"),
    [
        ("chatlayer", "collectors: [team_events]", "team_id: T1"),
        ("chatlayer", f"events: {{{RECEIVED}}}", "collectors: [events]"),
        ("inkeep", HANDOVERS, "queries: [events]"),
        ("inkeep", "queries: [feedback]", f"{HANDOVERS}, queries: [events]"),
        ("inkeep", f"queries: [feedback], {HANDOVERS}", "queries: [events]"),
        ("manifest", "manifest: botpress", "variables: {bot: b, workspace: w}"),
        (
            "manifest",
            "manifest: botpress, variables: {bot: .., workspace: w}",
            "variables: {bot: b, workspace: w}",
        ),
    ],
)
def test_defaults_may_need_what_a_target_has(provider: str, defaults: str, extra: str) -> None:
    assert made(provider, extra, defaults).name == "shop"
    with pytest.raises(SettingsError):
        made(provider, "", f"{defaults}, unknown: 1")


@pytest.mark.parametrize(
    ("provider", "extra", "words"),
    [
        ("voiceflow", "projects: []", "nothing to read; name at least one"),
        ("voiceflow", "queries: []", "nothing to read; name at least one"),
        ("voiceflow", "projects: [a, a]", "an entry is listed more than once"),
        ("voiceflow", "projects: [a, {id: b, alias: a}]", "an entry is listed more than once"),
        ("voiceflow", "environments: [main, main]", "an entry is listed more than once"),
        ("voiceflow", "queries: [interactions, interactions]", "an entry is listed more than once"),
        ("voiceflow", "queries: [sessions]", "interactions"),
        ("voiceflow", "projects: [{name: a}]", "id"),
        ("voiceflow", "projects: [7]", "projects"),
        ("voiceflow", "api_key: null", "api_key"),
        ("voiceflow", "region: eu", "region"),
        ("flowxo", "top_flows: {window: 25h}", "expected whole days"),
        ("flowxo", "top_flows: {window: 1h}", "expected whole days"),
        ("flowxo", "top_flows: {window: 24}", "duration"),
        ("flowxo", "top_flows: {limit: 0}", "limit"),
        ("flowxo", "top_flows: {limit: 21}", "limit"),
        ("flowxo", "top_messages: {allow: [1]}", "allow"),
        ("flowxo", "project: ''", "project"),
        ("flowxo", "bots: [a]", "bots"),
        ("inkeep", "active_users: {windows: [36h]}", "expected whole days; use 1d, 7d or 28d"),
        ("inkeep", "active_users: {windows: [1d, 24h]}", "an entry is listed more than once"),
        ("inkeep", "active_users: {windows: []}", "name at least one"),
        ("inkeep", "active_users: {property: [id]}", "as in [userProperties, id]"),
        ("inkeep", "active_users: {property: [searchQuery, id]}", "as in [userProperties, id]"),
        ("inkeep", "queries: [events, events]", "an entry is listed more than once"),
        ("inkeep", "queries: []", "name at least one"),
        ("inkeep", "queries: [event]", 'did you mean "events"?'),
        (
            "inkeep",
            "queries: [feedback], event_map: {x: chatbot_searches_total}",
            "targets[0].event_map: no query reads events; add events to queries",
        ),
        ("chatlayer", "collectors: [events, team_events]", "team collectors need team_id"),
        ("chatlayer", "collectors: [events, events]", "an entry is listed more than once"),
        ("chatlayer", "bots: [B1, B1]", "an entry is listed more than once"),
        ("chatlayer", "region: mars", "region"),
        ("chatlayer", "stream: {overlap: 2h, sweep: 1h}", "shorter than overlap"),
        ("chatlayer", "stream: {max_age: 15m}", "max_age: not longer than overlap and safety_lag"),
        *(
            ("inkeep", f"event_map: {{x: chatbot_{family}_total}}", f"the query {query} {TWICE}")
            for query, family in INKEEP_FEEDS.items()
        ),
        *(
            ("chatlayer", f"events: {{event_map: {{x: chatbot_{family}_total}}}}", by)
            for by, family in CHATLAYER_FEEDS.items()
        ),
        (
            "chatlayer",
            "events: {event_map: {"
            + ", ".join(f"{family}: chatbot_{family}_total" for family in CHATLAYER_FEEDS.values())
            + "}}",
            ", ".join(f"{by} already feeds chatbot_{x}_total" for by, x in CHATLAYER_FEEDS.items()),
        ),
    ],
)
def test_a_contradiction_is_an_error(provider: str, extra: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        made(provider, extra)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            "chatbot_messages_recieved_total",
            'no such counter; did you mean "chatbot_messages_received_total"?',
        ),
        ("chatbot_active_users", "no such counter; see chatbot-exporter metrics"),
        (
            "{family: chatbot_goals_reached_total, labels: {gaol: a}}",
            'the family has no such label; did you mean "goal"?',
        ),
        (
            "{family: chatbot_goals_reached_total, labels: {channel: a}}",
            "the family has no such label; it has goal",
        ),
        (
            "{family: chatbot_searches_total, labels: {kind: a}}",
            "the family has no such label; it has none besides the channel",
        ),
        (
            "{family: chatbot_feedback_total, labels: {rating: positives}}",
            'expected a rating of positive, negative, neutral; did you mean "positive"?',
        ),
    ],
)
@pytest.mark.parametrize(
    ("provider", "extra", "path"),
    [
        ("inkeep", "queries: [events], event_map: {x: %s}", "event_map.x"),
        ("chatlayer", "events: {event_map: {x: %s}}", "events.event_map.x"),
    ],
)
def test_a_wrong_map_is_an_error_where_it_stands(
    provider: str, extra: str, path: str, entry: str, words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        made(provider, extra % entry)

    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (3, f"targets[0].{path}")
    assert str(problem).endswith(words)


TARGETS: Mapping[str, Mapping[str, Any]] = {
    "voiceflow": {"projects": ["p"]},
    "flowxo": {"project": "p"},
    "inkeep": {"project": "p"},
    "chatlayer": {"bots": ["b"]},
}
BASIC = {"id:one": "aWQ6b25l", "id:two": "aWQ6dHdv"}
HEADERS: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "voiceflow": lambda key: {"authorization": key},
    "flowxo": lambda key: {"Authorization": f"Bearer {key}"},
    "inkeep": lambda key: {"Authorization": f"Bearer {key}"},
    "chatlayer": lambda key: {"Authorization": f"Basic {BASIC[key]}"},
}


def with_key(provider: str, key: Any) -> Target:
    secret = {"token" if provider == "chatlayer" else "api_key": key}
    entries = {"name": "shop", "provider": provider, **TARGETS[provider], **secret}
    options = PROVIDERS[provider].options.model_validate(entries)
    return PROVIDERS[provider].build(options, LabelSettings(Limits(), Privacy()))


@pytest.mark.parametrize("provider", TARGETS)
def test_the_key_is_read_anew_for_each_request(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = with_key(provider, {"env": "KEY"}).sign

    for key in ("id:one", "id:two"):
        monkeypatch.setenv("KEY", key)
        assert sign() == HEADERS[provider](key)


@pytest.mark.parametrize("key", ["canary\u2028key", "canary\x00key"])
@pytest.mark.parametrize("provider", TARGETS)
def test_a_key_that_no_request_can_carry_is_refused_and_not_shown(
    provider: str, key: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(key, "utf-8")
    sign = with_key(provider, {"file": str(tmp_path / "key")}).sign

    with pytest.raises(Unauthorized) as caught:
        sign()

    assert "canary" not in str(caught.value)
