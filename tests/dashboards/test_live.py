"""Every query of every board, and of every rule, runs in a real Prometheus fed by the demo."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest
import yaml

from dashboards.source.files import FOLDER
from dashboards.source.thresholds import Thresholds
from exporter.providers import PROVIDERS
from tests.dashboards.demo import HOUR_S, Span, history
from tests.dashboards.lint import expressions
from tests.dashboards.live import GRAFANA, Server, asked, recorded, substituted

pytestmark = pytest.mark.slow

NOW_S = 1_772_712_000  # 2026-03-05T12:00:00Z
WEEK_S = 7 * 24 * HOUR_S
STEP_S = 300
WITH_PAST = "flowxo"
SPANS = [(NOW_S - weeks * WEEK_S - 7 * HOUR_S, NOW_S - weeks * WEEK_S) for weeks in (4, 3, 2, 1)]
EVERYONE = (NOW_S - 3 * HOUR_S, NOW_S + STEP_S)
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
RULES = {
    rule.get("alert") or rule["record"]: rule["expr"]
    for name in ("chatbot-records", "chatbot-alerts")
    for group in yaml.safe_load((FOLDER / f"rules/{name}.yaml").read_text())["groups"]
    for rule in group["rules"]
}
EMPTY = {
    "avg12h|avg24h": "wants most of a day; the history is seven hours in each of five weeks",
    "poll_failures_total|polls_skipped_total|ledger_errors_total": "nothing has failed",
    "written_off_total": "nothing was written off",
    "ALERTS": "nothing fires",
    "prometheus_rule_evaluation|scrape_duration": "Prometheus' own, of what it did not do here",
    "conversation_duration_average|takeover_ratio|_average_seconds": "needs the setting `units`",
    "chatbot_weekly_users": "no account of the demo is asked for the users of seven days",
    "feedback_total.*7d": "fewer ratings than it takes",
}
"""What finds no data here (in an expression, or a record's name), and why."""
EMPTY_WITHOUT_PAST = {
    r"_expected:|_weeks:|offset \dw": "earlier weeks are of Flow XO alone, to be quick",
}
OF_NEW_BOTS = ("ChatbotBaselineNotLearnt",)
EMPTY_UNMAPPED = {
    f"chatbot_{each}": "of Chatlayer's events only what the setting `event_map` names"
    for each in (
        "messages_sent_total",
        "operator_messages_sent_total",
        "active_conversations",
        "fallbacks_total",
        "nlp_matches_total",
        "nlp_misses_total",
        "goals_reached_total",
        "feedback_total",
        "outbound_api_requests_total",
        "outbound_api_request_errors_total",
        "interactions_total",
        "new_users_total",
        "sessions_ended_total",
        "searches_total",
        "flow_triggers_total",
        "function_calls_total",
        "function_call_errors_total",
        "integration_calls_total",
        "integration_call_errors_total",
        "llm_calls_total",
        "llm_tokens_total",
    )
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("prometheus")
    spans = [Span(*span, (WITH_PAST,), ("chatbot_period_", "chatbot_active_")) for span in SPANS]
    spans += [
        Span(NOW_S - 7 * HOUR_S, EVERYONE[0], (WITH_PAST,), ("chatbot_period_",)),
        Span(*EVERYONE, tuple(PROVIDERS)),
    ]
    server = Server(folder, STEP_S)
    server.load(history(folder, spans, every_s=STEP_S, per_hour=10))
    server.record(recorded(Thresholds()), [*SPANS, (NOW_S - 7 * HOUR_S, NOW_S)])
    with server.running() as found:
        yield found


@pytest.mark.parametrize("uid", BOARDS)
def test_every_query_of_a_board_finds_data_or_is_known_not_to(
    client: httpx.Client, uid: str
) -> None:
    empty = [
        (title, expr)
        for title, expr in expressions(BOARDS[uid])
        if not asked(client, substituted(expr, GRAFANA), NOW_S)
    ]

    assert [each for each in empty if not excused(uid, each[1])] == []


def excused(uid: str, expr: str) -> list[str]:
    found = [each for each in EMPTY if re.search(each, expr)]
    if uid not in {"chatbot-overview", f"chatbot-{WITH_PAST}"}:
        found += [each for each in EMPTY_WITHOUT_PAST if re.search(each, expr)]
    if uid == "chatbot-chatlayer":
        found += [each for each in EMPTY_UNMAPPED if each in expr]
    return found


@pytest.mark.parametrize("uid", BOARDS)
def test_every_variable_and_annotation_of_a_board_finds_data(
    client: httpx.Client, uid: str
) -> None:
    board = BOARDS[uid]
    for variable in board["templating"]["list"][1:]:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
        assert found is not None
        samples = asked(client, substituted(found[1], GRAFANA), NOW_S)
        label = "" if found[2] == "bot_environment" else found[2]  # empty equals absent
        assert any(not label or label in sample["metric"] for sample in samples), variable["name"]
    for annotation in board["annotations"]["list"]:
        asked(client, substituted(annotation["expr"], GRAFANA), NOW_S)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_records_something_and_alerts_are_quiet_while_all_is_well(
    client: httpx.Client, name: str
) -> None:
    found = asked(client, RULES[name], NOW_S)

    recorded = name.startswith("bot:") and not excused(f"chatbot-{WITH_PAST}", name)
    assert bool(found) is (recorded or name in OF_NEW_BOTS)


def test_no_excuse_is_out_of_use(client: httpx.Client) -> None:
    used = {
        excuse
        for uid, board in BOARDS.items()
        for _, expr in expressions(board)
        if not asked(client, substituted(expr, GRAFANA), NOW_S)
        for excuse in excused(uid, expr)
    }

    assert used == {*EMPTY, *EMPTY_WITHOUT_PAST, *EMPTY_UNMAPPED} - {"chatbot_weekly_users"}
