"""Every query of every board, and of every rule, runs in a real Prometheus fed by the demo."""

import json
import re
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from dashboards.source import spend
from dashboards.source.files import FOLDER
from dashboards.source.rule_files import Links, prometheus_rules
from dashboards.source.thresholds import Thresholds
from exporter.providers import BUILT_IN
from exporter.providers.manifest import loader
from tests.dashboards.lint import panels
from tests.dashboards.live import GRAFANA, HOUR_S, Span, asked, history, prometheus, substituted
from tests.support.vendors import Vendors

NOW_S = 1_772_712_000  # 2026-03-05T12:00:00Z
WEEK_S = 7 * 24 * HOUR_S
STEP_S = 900
WITH_PAST = "flowxo"
FIRST_S = NOW_S - 5 * WEEK_S
EVERYONE = (NOW_S - 3 * HOUR_S, NOW_S + STEP_S)
UNFED = {f"chatbot-{name}" for name in (*loader.shipped(), "spend")}
"""Boards of what the demo does not have: APIs that manifests read, and costs."""
BOARDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted(FOLDER.glob("*.json"))
    if path.stem not in UNFED
}
RULES = {
    rule.get("alert") or rule["record"]: rule["expr"]
    for group in prometheus_rules(Thresholds(), Links())["groups"]
    for rule in group["rules"]
}
EMPTY = {
    "Needs one week of history and current data": "the other vendors have three hours",
    "Needs a day of events": "the other vendors have three hours",
    "Needs an event that `events.event_map` maps to this metric": "the demo maps one event",
    "Needs an event that `event_map` maps to this metric": "the demo maps none of Inkeep's",
    "Needs the setting `units` for it, and current data": "the demo has no units",
    "Needs the setting `messages_are_sent`": "the demo does not say what Xenioo's type 3 is",
    "Needs 20 ratings in 7 days": "three hours have fewer",
    "No poll has failed": "the vendors are well",
    "No poll was skipped": "the same",
    "No label set was dropped": "no cap is reached",
    "No operation failed": "the ledger is well",
    "Nothing was written off": "no vendor has taken anything back for six hours",
    "No alert has fired in this time range": "no rule was evaluated",
    "Prometheus does not scrape itself": "it does not here",
    "No audit has ended yet": "none is due in three hours",
    "The ledger is not on PostgreSQL": "it is in a file",
    "Not scraped yet": "a real scrape has a duration, and this history none",
}
"""What empty panels say on the demo, and why it is true there."""
OF_NEW_BOTS = ("ChatbotBaselineNotLearnt",)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("prometheus")
    spans = [
        Span(FIRST_S, FIRST_S + HOUR_S, (WITH_PAST,)),
        Span(*EVERYONE, tuple(BUILT_IN)),  # what it slept through is read first
    ]
    files = history(folder, spans, every_s=STEP_S, build=partial(Vendors, per_hour=10))
    with prometheus(folder, files, STEP_S) as found:
        yield found


@pytest.mark.parametrize("uid", BOARDS)
def test_a_panel_has_data_or_says_exactly_why_not(client: httpx.Client, uid: str) -> None:
    found = {"data": 0}
    for panel in panels(BOARDS[uid]):
        answers = [
            asked(client, substituted(each["expr"], GRAFANA), NOW_S)
            for each in panel.get("targets", ())
        ]
        said = "data" if not answers or answers[0] else panel["fieldConfig"]["defaults"]["noValue"]
        found[said] = found.get(said, 0) + 1

    assert found.keys() <= {"data", *EMPTY}
    assert found["data"] > 10


@pytest.mark.parametrize("uid", [f"chatbot-{name}" for name in BUILT_IN])
def test_an_open_row_of_a_vendor_is_full_and_one_that_is_off_says_so(
    client: httpx.Client, uid: str
) -> None:
    history = [title for title in EMPTY if title.startswith("Needs") and "event_map" not in title]
    for panel in BOARDS[uid]["panels"]:
        if panel["type"] != "row" and panel["title"] != "Failed polls by reason":
            first = substituted(panel["targets"][0]["expr"], GRAFANA) if "targets" in panel else "1"
            said = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue")
            assert asked(client, first, NOW_S) or said in history, panel["title"]
    for panel in panels(BOARDS[uid]):
        for target in panel.get("targets", ()):
            if '"state"' in target["expr"]:
                nobody = target["expr"].replace('"$target"', '"nobody"')
                (state,) = asked(client, substituted(nobody, GRAFANA), NOW_S)
                assert state["metric"]["state"].startswith("Not configured"), panel["title"]


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

    recorded = name.startswith("bot:") and name != spend.DAY
    assert bool(found) is (recorded or name in OF_NEW_BOTS)
