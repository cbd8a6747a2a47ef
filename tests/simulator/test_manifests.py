"""The simulators of APIs that manifests read, against the documented requests and answers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import pytest

from exporter.simulator import MANIFEST_SIMULATORS
from exporter.simulator.conversations import PRICES, Kind
from exporter.simulator.manifest_counts import BOTPRESS_KEY, CHATWOOT_KEY, WORKSPACE
from exporter.simulator.manifest_records import ELEVENLABS_KEY, INTERCOM_KEY
from exporter.simulator.manifest_reports import ANTHROPIC_KEY, OPENAI_KEY
from exporter.simulator.server import stamp
from exporter.simulator.traffic import Traffic
from tests.simulator.vendor import HOUR, NINE, Vendor

S = NINE // 1000
VERSION = {"anthropic-version": "2023-06-01"}


class Asked(NamedTuple):
    """One documented request: its key's header, and where the rows are in the answer."""

    key: tuple[str, str]
    path: str
    params: Mapping[str, Any]
    rows: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    body: Any = None
    wrong: Mapping[str, Any] | None = None


def searched(start: int, end: int, **pagination: Any) -> dict[str, Any]:
    bounds = [
        {"field": "created_at", "operator": operator, "value": value}
        for operator, value in ((">", start), ("<", end))
    ]
    return {"query": {"operator": "AND", "value": bounds}, "pagination": pagination}


ASKED = {
    "openai": Asked(
        ("authorization", f"Bearer {OPENAI_KEY}"),
        "/v1/organization/usage/completions",
        {"start_time": S, "end_time": S + 7200, "bucket_width": "1h", "group_by": ["model"]},
        "data",
        wrong={"limit": 169},
    ),
    "anthropic": Asked(
        ("x-api-key", ANTHROPIC_KEY),
        "/v1/organizations/usage_report/messages",
        {
            "starting_at": stamp(NINE),
            "ending_at": stamp(NINE + 2 * HOUR),
            "bucket_width": "1h",
            "group_by[]": ["model", "workspace_id"],
        },
        "data",
        VERSION,
        wrong={"group_by[]": "account_id"},
    ),
    "chatwoot": Asked(
        ("api_access_token", CHATWOOT_KEY),
        "/api/v2/accounts/7/reports",
        {
            "metric": "incoming_messages_count",
            "type": "account",
            "since": S,
            "until": S + 7200,
            "group_by": "hour",
        },
        wrong={"metric": "x"},
    ),
    "botpress": Asked(
        ("authorization", f"Bearer {BOTPRESS_KEY}"),
        "/v1/admin/bots/bot-1/analytics",
        {"startDate": stamp(NINE), "endDate": stamp(NINE + 24 * HOUR)},
        "records",
        {"x-workspace-id": WORKSPACE},
        wrong={"startDate": "soon"},
    ),
    "intercom": Asked(
        ("authorization", f"Bearer {INTERCOM_KEY}"),
        "/conversations/search",
        {},
        "conversations",
        {"intercom-version": "2.16"},
        body=searched(S, S + 3600),
    ),
    "elevenlabs": Asked(
        ("xi-api-key", ELEVENLABS_KEY),
        "/v1/convai/conversations",
        {"call_start_after_unix": S, "call_start_before_unix": S + 3600, "page_size": 100},
        "conversations",
        wrong={"page_size": 101},
    ),
}


class Simulated(Vendor):
    def __init__(self, name: str, traffic: Traffic | None = None) -> None:
        super().__init__(MANIFEST_SIMULATORS[name], "", traffic or Traffic(5, per_hour=20))
        self.asked = ASKED[name]

    def status(self, key: str | None = None, **more: Any) -> int:
        return self.answer(key, **more).status_code

    def answer(self, key: str | None = None, body: Any = None, **params: Any) -> httpx.Response:
        header, own = self.asked.key
        return self.send(
            "POST" if self.asked.body else "GET",
            self.asked.path,
            params={**self.asked.params, **params},
            headers={**self.asked.headers, header: own if key is None else key},
            json=body or self.asked.body,
        )

    def rows(self, **params: Any) -> list[Any]:
        answer = self.answer(**params).json()
        return list(answer[self.asked.rows] if self.asked.rows else answer)


@pytest.fixture(params=sorted(MANIFEST_SIMULATORS))
def vendor(request: pytest.FixtureRequest) -> Simulated:
    return Simulated(request.param)


def test_the_same_seed_gives_the_same_answer_and_writes_nothing(vendor: Simulated) -> None:
    assert vendor.rows()
    assert vendor.answer().content == vendor.answer().content
    assert vendor.service.writes() == []


def test_a_wrong_request_or_key_is_refused_and_the_key_never_logged(vendor: Simulated) -> None:
    wrong = vendor.asked.wrong or {"body": searched(S, S + 3600, per_page=151)}

    assert vendor.status(**wrong) in (400, 422)
    assert vendor.status("Bearer other") == 401
    assert vendor.status() == 200
    assert "canary" not in repr(vendor.service.requests)


def test_tokens_cost_and_calls_come_together() -> None:
    traffic = Traffic(5, per_hour=20, late_share=0.5)
    window = NINE - HOUR, NINE

    tokens = list(traffic.records(Kind.TOKENS, window, NINE))

    sums = {
        Kind.LLM_CALL: sum(one.get("token_type") == "input" for one in tokens),
        Kind.LLM_COST: sum(PRICES[one.get("token_type")] * one.amount for one in tokens),
    }
    assert sums == {kind: traffic.truth(kind, window, NINE) for kind in sums}
    assert sums[Kind.LLM_CALL] > 5


def scripted(name: str) -> Simulated:
    traffic = Traffic()
    talk: dict[str, Any] = {"environment": "main", "model": "m", "channel": "whatsapp"}
    traffic.add(Kind.LLM_CALL, NINE, count=2, **talk)
    traffic.add(Kind.TOKENS, NINE, amount=30, token_type="input", **talk)
    traffic.add(Kind.TOKENS, NINE, amount=7, token_type="output", **talk)
    traffic.add(Kind.LLM_COST, NINE, amount=1_237_891, **talk)
    traffic.add(Kind.MESSAGE_RECEIVED, NINE, count=3)
    for minute in range(3):
        at_ms = NINE + minute * 60_000
        start: dict[str, Any] = {"conversation": f"c{minute}", "channel": "web", "user": "u"}
        traffic.add(Kind.CONVERSATION_STARTED, at_ms, **start)
    traffic.add(Kind.CONVERSATION_ENDED, NINE + 30_000, amount=30, conversation="c0")
    traffic.add(Kind.HANDOVER, NINE + 40_000, count=2, conversation="c0")
    traffic.add(Kind.FEEDBACK, NINE + 40_000, conversation="c0", rating="neutral")
    return Simulated(name, traffic)


def test_openai_has_totals_that_contain_parts_and_buckets_without_use() -> None:
    busy, idle = scripted("openai").rows()

    assert (busy["start_time"], busy["end_time"]) == (S, S + 3600)
    assert busy["results"] == [
        {
            "num_model_requests": 2,
            "output_tokens": 7,
            "input_uncached_tokens": 0,
            "input_cached_tokens": 30,
            "input_cache_write_tokens": 0,
            "input_tokens": 30,
            "project_id": None,
            "model": "m",
        }
    ]
    assert idle["results"] == []


@pytest.mark.parametrize(
    ("name", "path", "days", "amount"),
    [
        (
            "openai",
            "/v1/organization/costs",
            {"start_time": S - 9 * 3600, "end_time": S + 15 * 3600},
            {"value": 1.237891, "currency": "usd"},
        ),
        (
            "anthropic",
            "/v1/organizations/cost_report",
            {"starting_at": stamp(NINE - 9 * HOUR), "ending_at": stamp(NINE + 15 * HOUR)},
            "123.7891",
        ),
    ],
)
def test_costs_are_decimals_of_days(
    name: str, path: str, days: dict[str, Any], amount: object
) -> None:
    vendor = scripted(name)
    headers = {**vendor.asked.headers, vendor.asked.key[0]: vendor.asked.key[1]}

    (bucket,) = vendor.send("GET", path, params=days, headers=headers).json()["data"]

    assert bucket["results"][0]["amount"] == amount


def test_anthropic_leaves_out_a_bucket_that_has_not_ended() -> None:
    vendor = Simulated("anthropic")
    starts = [row["starting_at"] for row in vendor.rows()]

    assert starts == [stamp(NINE, 0), stamp(NINE + HOUR, 0)]
    assert len(vendor.rows(ending_at=stamp(NINE + 2 * HOUR - 1))) == 1
    vendor.service.faults.on("strict_end")
    assert len(vendor.rows()) == 1


BUSY, IDLE = {"value": 3, "timestamp": S}, {"value": 0, "timestamp": S + 3600}


@pytest.mark.parametrize(
    ("modes", "shown"),
    [
        ([], [BUSY, IDLE]),
        (["string_values"], [BUSY | {"value": "3"}, IDLE | {"value": "0"}]),
        (["missing_bucket"], [IDLE]),
        (["keyed_by_time"], [str(S), str(S + 3600)]),
        (["running_totals"], [BUSY, IDLE | {"value": 3}]),
    ],
)
def test_chatwoot_fills_zeros_and_can_be_otherwise(modes: list[str], shown: list[Any]) -> None:
    vendor = scripted("chatwoot")
    handed_over = vendor.rows(metric="bot_handoffs_count")[0]["value"]
    for mode in modes:
        vendor.service.faults.on(mode)

    assert vendor.rows() == shown
    assert handed_over == 1  # of distinct conversations


@pytest.mark.parametrize(
    ("mode", "parts"),
    [
        ("split_records", [("09:00:00", "16:00:00"), ("16:00:01", "08:59:59")]),
        ("gap", [("09:00:00", "16:00:00"), ("17:00:01", "08:59:59")]),
        ("overlap", [("09:00:00", "16:00:00"), ("15:00:01", "08:59:59")]),
        ("ends_now", [("09:00:00", "11:19:59")]),
    ],
)
def test_botpress_ends_records_inclusively(mode: str, parts: list[tuple[str, str]]) -> None:
    vendor = scripted("botpress")
    (whole,) = vendor.rows()
    vendor.service.faults.on(mode)

    rows = vendor.rows()

    times = [(row["startDateTimeUtc"][11:19], row["endDateTimeUtc"][11:19]) for row in rows]
    assert times == parts
    assert whole["endDateTimeUtc"].endswith("T08:59:59.999Z")
    assert whole["llm"]["cost"]["sum"] == 1.237891


def test_intercom_changes_what_became_of_a_conversation_and_may_give_fewer_than_it_counts() -> None:
    vendor = scripted("intercom")
    states = [row["ai_agent"]["resolution_state"] for row in vendor.rows()]
    vendor.service.faults.on("late_outcomes", hours=48)
    vendor.service.faults.on("fewer_than_total")

    late = vendor.answer().json()

    assert states == ["escalated", None, None]
    assert {row["ai_agent"]["resolution_state"] for row in late["conversations"]} == {None}
    assert (late["total_count"], len(late["conversations"])) == (3, 2)


@pytest.mark.parametrize(("name", "first"), [("intercom", "c0"), ("elevenlabs", "c2")])
def test_bounds_may_leave_their_own_second_out(name: str, first: str) -> None:
    vendor = scripted(name)
    id_ = "id" if name == "intercom" else "conversation_id"
    params: dict[str, Any] = {"call_start_before_unix": S + 120}
    if name == "intercom":
        params = {"body": searched(S, S + 120)}

    whole = [row[id_] for row in vendor.rows(**params)]
    vendor.service.faults.on("strict_bounds")

    assert (whole[0], len(whole)) == (first, 3)
    assert [row[id_] for row in vendor.rows(**params)] == ["c1"]


def paged(vendor: Simulated, cursor: str | None = None) -> Any:
    if vendor.asked.body:
        return vendor.answer(body=searched(S, S + 3600, per_page=2, starting_after=cursor))
    size, name = {"data": ("limit", "page"), "conversations": ("page_size", "cursor")}[
        vendor.asked.rows
    ]
    page = {name: cursor} if cursor else {}
    params: dict[str, Any] = {size: 1 if size == "limit" else 2, **page}
    return vendor.answer(**params)


@pytest.mark.parametrize("name", ["openai", "anthropic", "intercom", "elevenlabs"])
def test_cursors_lead_to_the_end_expire_repeat_or_are_missing(name: str) -> None:
    vendor = scripted(name)

    assert paged(vendor, "page_2").status_code == 200
    assert "page_2" in paged(vendor).text or "page_1" in paged(vendor).text
    assert paged(vendor, "elsewhere").status_code == 400
    vendor.service.faults.on("repeated_cursor")
    assert paged(vendor, "page_2").content == paged(vendor).content
    vendor.service.faults.off("repeated_cursor")
    vendor.service.faults.on("expired_cursor")
    assert paged(vendor, "page_2").status_code == 410
    assert paged(vendor).status_code == 200
    vendor.service.faults.on("missing_cursor")
    assert "page_" not in paged(vendor).text.replace('"per_page"', "").replace("total_pages", "")


def test_elevenlabs_may_cut_rows_repeat_one_or_take_json() -> None:
    vendor = scripted("elevenlabs")
    ids = [row["conversation_id"] for row in vendor.rows()]
    vendor.service.faults.on("shifted_pages")
    shifted = [row["conversation_id"] for row in paged(vendor, "page_2").json()["conversations"]]
    vendor.service.faults.on("row_limit", rows=2)
    cut = vendor.answer().json()
    vendor.service.faults.on("json_filter")

    assert ids == ["c2", "c1", "c0"]
    assert shifted == ["c1", "c0"]
    assert (len(cut["conversations"]), cut["has_more"]) == (2, False)
    assert vendor.status() == 422
    assert vendor.status(filter=f'{{"after": {S}, "before": {S + 3600}}}') == 200


def test_openai_may_leave_out_idle_buckets_and_optional_numbers() -> None:
    vendor = scripted("openai")
    vendor.service.faults.on("older_answer")
    vendor.service.faults.on("sparse")
    vendor.service.faults.on("named_numbers")

    (bucket,) = vendor.rows()

    assert bucket["results"][0]["metrics"] == [
        {"name": "num_model_requests", "value": 2},
        {"name": "output_tokens", "value": 7},
        {"name": "input_tokens", "value": 30},
    ]
