"""Voiceflow's rows, as its documentation shows them, become samples."""

from functools import partial
from typing import Any

import msgspec
import pytest

from exporter.errors import SchemaError
from exporter.model.query import LabelRule
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Reading, Window
from exporter.providers.voiceflow.mapping import (
    USAGES,
    ProjectScope,
    TopIntent,
    UsageRow,
    collect_intents,
    collect_usage,
    parse_period,
)
from tests.providers.vendor import collected

PROJECT = "64b1f0aa11bb22cc33dd44ee"
MAIN = "64b1f0aa11bb22cc33dd44ef"
SEVEN = 1_770_102_000_000  # 2026-02-03T07:00:00Z
NINE = SEVEN + 2 * HOUR_MS
WINDOW = Window(SEVEN, NINE + HOUR_MS)
DAY = Window(NINE - DAY_MS, NINE)

SHARED = {"projectID": PROJECT, "environmentID": MAIN}
SAMPLE = [
    {"period": "2026-02-03T09:00:00.000Z", **SHARED, "count": 41, "type": "dialog-management"},
    {"period": "2026-02-03T07:00:00.000Z", **SHARED, "count": 3, "type": "canvas-prototype"},
]


def row(**changes: Any) -> dict[str, Any]:
    whole = SAMPLE[0] | changes
    return {key: value for key, value in whole.items() if value is not ...}


def read(
    rows: list[dict[str, Any]],
    name: str = "interactions",
    *,
    scope: ProjectScope = ProjectScope(PROJECT),  # noqa: B008 - frozen
    label_rules: dict[str, LabelRule] | None = None,
    memo: dict[str, Any] | None = None,
) -> Reading:
    typed = msgspec.convert(rows, list[UsageRow])
    collect = partial(collect_usage, usage=USAGES[name], scope=scope)
    return collected(collect, typed, WINDOW, label_rules=label_rules, memo=memo)


def test_interactions_are_counted_by_hour_environment_and_type() -> None:
    reading = read(SAMPLE)

    name = "chatbot_interactions_total"
    assert list(reading.counts) == [
        ((name, (PROJECT, MAIN, "dialog-management")), NINE, 41),
        ((name, (PROJECT, MAIN, "canvas-prototype")), SEVEN, 3),
    ]
    assert (reading.window, reading.drift) == (WINDOW, {})


ALIASES = {"project": LabelRule({PROJECT: "shop"}), "bot_environment": LabelRule({MAIN: "main"})}
FIXED = {"bot_environment": LabelRule({"main": "live"})}


@pytest.mark.parametrize(
    ("environment", "label_rules", "names"),
    [(None, ALIASES, ("shop", "main")), ("main", FIXED, (PROJECT, "live"))],
)
def test_settings_name_project_and_environment(
    environment: str | None, label_rules: dict[str, LabelRule], names: tuple[str, str]
) -> None:
    scope = ProjectScope(PROJECT, environment)

    reading = read(SAMPLE[:1], scope=scope, label_rules=label_rules)

    assert reading.counts[0][0][1] == (*names, "dialog-management")


@pytest.mark.parametrize(
    ("rows", "values", "drift"),
    [
        ([row(count=1), row(count=2)], [3], {}),
        ([row(period="2026-02-03T10:00:00Z"), row(period="2026-02-03T06:00:00Z")], [], {}),
        ([row(), row(period="2026-02-03T09:30:00Z", count=2)], [43], {"unexpected_type": 1}),
        ([row(projectID=...)], [41], {"missing": 1}),
        ([row(environmentID=...)], [41], {"missing": 1}),
        ([row(type=...)], [41], {"missing": 1}),
        ([row(somethingNew={"a": [1]})], [41], {}),
    ],
)
def test_rows_of_one_hour_and_one_label_set_are_parts(
    rows: list[dict[str, Any]], values: list[int], drift: dict[str, int]
) -> None:
    reading = read(rows)

    assert [value for _, _, value in reading.counts] == values
    assert {at_ms for _, at_ms, _ in reading.counts} <= {NINE}
    assert reading.drift == drift


@pytest.mark.parametrize(
    ("changes", "field", "kind"),
    [
        ({"count": -1}, "count", "negative"),
        ({"count": ...}, "count", "missing"),
        ({"period": ...}, "period", "missing"),
        ({"projectID": "of-somebody-else"}, "projectID", "unknown_enum"),
        ({"successCount": 42}, "successCount", "negative"),
        ({"successCount": ...}, "successCount", "missing"),
    ],
)
def test_an_impossible_row_is_a_fault_that_names_its_field(
    changes: dict[str, Any], field: str, kind: str
) -> None:
    good = row(functionID="fn-1", successCount=3)
    with pytest.raises(SchemaError, match=rf"^items\[1\]\.{field}: ") as caught:
        read([good, {k: v for k, v in (good | changes).items() if v is not ...}], "function_usage")

    assert caught.value.kind == kind
    assert "somebody" not in str(caught.value)


def test_unique_users_belong_to_their_hour_and_are_no_counts() -> None:
    reading = read([row(type=...)], "unique_users")

    series = ("chatbot_active_users", (PROJECT, MAIN, "", "hour"))
    assert list(reading.buckets) == [GaugeRow(series, Window(NINE, NINE + HOUR_MS), 41)]
    assert not reading.counts


def test_credits_are_summed_over_nodes_and_diagrams() -> None:
    rows = [
        row(type="llm-input", model="model-a", diagramID="", nodeID="", count=5120),
        row(type="llm-input", model="model-a", diagramID="d1", nodeID="n1", count=80),
        row(type="llm-output", model="model-a", diagramID="d1", nodeID="n1", count=7),
    ]

    reading = read(rows, "credit_usage")

    name = "chatbot_voiceflow_credit_usage_total"
    assert list(reading.counts) == [
        ((name, (PROJECT, MAIN, "model-a", "llm-input")), NINE, 5200),
        ((name, (PROJECT, MAIN, "model-a", "llm-output")), NINE, 7),
    ]


@pytest.mark.parametrize(
    ("name", "fields", "family", "labels"),
    [
        ("function_usage", {"functionID": "fn-1", "name": "f"}, "function_call", ("fn-1",)),
        ("api_calls", {"apiToolID": "t-1", "name": "O"}, "outbound_api_request", ("", "t-1")),
        ("integrations", {"integrationToolName": "sheets"}, "integration_call", ("sheets",)),
    ],
)
def test_calls_that_did_not_succeed_are_errors(
    name: str, fields: dict[str, str], family: str, labels: tuple[str, ...]
) -> None:
    reading = read([row(type=..., count=41, successCount=38, **fields)], name)

    assert list(reading.counts) == [
        ((f"chatbot_{family}s_total", (PROJECT, MAIN, *labels)), NINE, 41),
        ((f"chatbot_{family}_errors_total", (PROJECT, MAIN, *labels)), NINE, 3),
    ]


def test_documents_are_counted_by_their_id() -> None:
    reading = read([row(type=..., documentID="doc-1")], "kb_documents")

    assert reading.counts[0][0] == ("chatbot_knowledge_base_hits_total", (PROJECT, MAIN, "doc-1"))


def test_the_newest_name_of_a_function_is_told_even_while_it_rests() -> None:
    rows = [
        row(type=..., functionID="fn-1", successCount=41, name="new"),
        row(
            type=...,
            functionID="fn-1",
            successCount=0,
            count=0,
            name="old",
            period="2026-02-03T07:00:00Z",
        ),
    ]

    reading = read(rows, "function_usage", memo={"names": [[MAIN, "fn-2", "resting"]]})

    info = "chatbot_function_info"
    assert reading.lists == [
        GaugeRow((info, (PROJECT, MAIN, "fn-2", "resting")), WINDOW, 1),
        GaugeRow((info, (PROJECT, MAIN, "fn-1", "new")), WINDOW, 1),
    ]
    assert reading.lists_of == {info}
    assert reading.memo == {"names": [[MAIN, "fn-2", "resting"], [MAIN, "fn-1", "new"]]}


def test_a_distinct_count_of_half_an_hour_is_not_added_to_the_hours() -> None:
    reading = read([row(), row(period="2026-02-03T09:30:00.000Z", count=2)], "unique_users")

    assert [bucket.value for bucket in reading.buckets] == [41]
    assert reading.drift == {"unexpected_type": 1}


@pytest.mark.parametrize(
    ("text", "offset_ms"),
    [
        ("2026-02-03T09:00Z", 0),
        ("2026-02-03T09:00:00Z", 0),
        ("2026-02-03T09:00:00.000Z", 0),
        ("2026-02-03T09:00:01.5Z", 1500),
        ("2026-02-03T09:00:00.123456789Z", 123),
    ],
)
def test_every_documented_spelling_of_a_period_is_read(text: str, offset_ms: int) -> None:
    assert parse_period(text) == NINE + offset_ms


@pytest.mark.parametrize(
    "text", ["2026-02-03", "2026-02-03T09:00:00+00:00", "2026-02-30T09:00:00Z", "", "now"]
)
def test_any_other_period_is_a_fault(text: str) -> None:
    with pytest.raises(SchemaError, match=r"items\[\]\.period"):
        parse_period(text)


def intents(*entries: TopIntent) -> Reading:
    collect = partial(collect_intents, scope=ProjectScope(PROJECT), limit=3)
    return collected(collect, entries, DAY, lists_of={"chatbot_top_intent_matches"})


def test_top_intents_are_a_list_of_the_window() -> None:
    reading = intents(TopIntent("order_status", 77), TopIntent("greeting", 31))

    name = "chatbot_top_intent_matches"
    assert reading.lists == [
        GaugeRow((name, (PROJECT, "", "order_status", "trailing_1d")), DAY, 77),
        GaugeRow((name, (PROJECT, "", "greeting", "trailing_1d")), DAY, 31),
    ]
    assert reading.lists_of == {name} == intents().lists_of
    assert list(intents().lists) == []


def test_a_list_that_is_longer_than_asked_for_shows_its_most_used() -> None:
    reading = intents(*(TopIntent(f"i{number}", number) for number in range(9)))

    assert [row.value for row in reading.lists] == [8, 7, 6]
