"""A simulator of Anthropic's Admin API: message usage by hour or day, and the cost report by day."""

from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import msgspec

from exporter.clock import Clock
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.manifests.frame import (
    CURSOR_MODES,
    LIMITS,
    OTHER_CURRENCY,
    WIDTHS,
    GroupedReport,
    bucket_page,
    limit_of,
    page_of,
    target_of,
    token_class,
)
from exporter.simulator.server import Answer, Call, Refusal, Service
from exporter.simulator.times import Instant, milliseconds, stamp
from exporter.simulator.traffic import Traffic

KEY = "sk-ant-admin-canary-41f7"
MODES = CURSOR_MODES | {
    OTHER_CURRENCY,
    "strict_end",  # a bucket that ends at ending_at is left out, too
}


def _workspace(one: Occurrence) -> str | None:
    return "wrkspc_2" if one.get("environment") == "staging" else None  # None: the default one


def _numbers(_call: Call, numbers: Counter[str]) -> dict[str, Any]:
    hour = numbers["cache_write"] // 2
    return {
        "output_tokens": numbers["output"],
        "uncached_input_tokens": numbers["uncached"],
        "cache_creation": {
            "ephemeral_1h_input_tokens": hour,
            "ephemeral_5m_input_tokens": numbers["cache_write"] - hour,
        },
        "cache_read_input_tokens": numbers["cached"],
        "server_tool_use": {"web_search_requests": numbers["searches"]},
    }


def _amount(call: Call, numbers: Counter[str]) -> dict[str, Any]:
    cents, rest = divmod(numbers["micros"], 10_000)
    currency = "EUR" if OTHER_CURRENCY in call.faults else "USD"
    return {"currency": currency, "amount": f"{cents}.{rest:04d}", "cost_type": "tokens"}


USAGE = GroupedReport(
    {Kind.TOKENS: token_class, Kind.SEARCH: lambda _: "searches"},
    {"workspace_id": _workspace, "model": lambda one: one.get("model") or "model-a"},
    _numbers,
)
COSTS = GroupedReport(
    {Kind.LLM_COST: lambda _: "micros"},
    {"workspace_id": _workspace, "description": lambda one: one.get("model")},
    _amount,
)


class AnthropicReport(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of both reports; ``limit`` counts buckets."""

    starting_at: Instant
    ending_at: Instant
    bucket_width: Literal["1h", "1d"] = "1d"
    limit: int | None = None
    page: str | None = None
    group_by: str = msgspec.field(name="group_by[]", default="")


def error_body(status: int, reason: str) -> Any:
    """Return an error in the vendor's form."""
    return {"type": "error", "error": {"type": f"error_{status}", "message": reason}}


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one organization; its modes are ``MODES``."""

    async def usage(call: Call) -> Answer:
        return _answer(call, traffic, USAGE, "output_tokens")

    async def costs(call: Call) -> Answer:
        answer = _answer(call, traffic, COSTS, "amount")
        for row in answer.rows:  # grouped by description, a row also says what it is made of
            row["model"], row["token_type"] = row["description"], None
        return answer

    return Service(
        clock=clock,
        traffic=traffic,
        routes={
            ("GET", "/v1/organizations/usage_report/messages"): usage,
            ("GET", "/v1/organizations/cost_report"): costs,
        },
        modes=MODES,
        secrets=[KEY],
        authorization=KEY,
        key_header="x-api-key",
        error=error_body,
        target=target_of("anthropic", KEY, "/v1/organizations"),
    )


def _answer(call: Call, traffic: Traffic, report: GroupedReport, number: str) -> Answer:
    query = call.read_params(AnthropicReport)
    if call.headers.get("anthropic-version") != "2023-06-01":
        raise Refusal(400, "anthropic-version: header is required")
    if report is COSTS and query.bucket_width != "1d":
        raise Refusal(400, "bucket_width must be 1d")
    width_ms = WIDTHS[query.bucket_width]
    # A bucket that has not ended by ending_at is not given.
    end_ms = milliseconds(query.ending_at) - ("strict_end" in call.faults)
    window = milliseconds(query.starting_at), end_ms // width_ms * width_ms
    found = report.read(call, traffic, window, width_ms)
    page = page_of(call, list(found), query.page, limit_of(query.limit, LIMITS[query.bucket_width]))

    def times(at_ms: int) -> dict[str, Any]:
        return {"starting_at": stamp(at_ms, 0), "ending_at": stamp(at_ms + width_ms, 0)}

    return replace(bucket_page(page, found, times), number=number)
