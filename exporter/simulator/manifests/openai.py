"""A simulator of OpenAI's organization usage, by hour or day, and costs, by day."""

from collections import Counter
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
from exporter.simulator.traffic import Traffic

KEY = "sk-admin-canary-5b1e7d"
INPUT = ("input_uncached_tokens", "input_cached_tokens", "input_cache_write_tokens")
NUMBERS = ("num_model_requests", "output_tokens", *INPUT)
REQUIRED = ("num_model_requests", "output_tokens", "input_tokens")
MODES = CURSOR_MODES | {
    OTHER_CURRENCY,
    "sparse",  # no bucket where nothing was used
    "older_answer",  # without the optional members of a result
    "named_numbers",  # a result's numbers are a list: [{"name": "output_tokens", "value": 14}]
}


def _project(one: Occurrence) -> str:
    return "proj_b2" if one.get("environment") == "staging" else "proj_a1"


def _field(one: Occurrence) -> str:
    billed = token_class(one)
    return "output_tokens" if billed == "output" else f"input_{billed}_tokens"


def _numbers(call: Call, numbers: Counter[str]) -> dict[str, Any]:
    shown = {name: numbers[name] for name in NUMBERS}
    shown["input_tokens"] = sum(numbers[name] for name in INPUT)
    if "older_answer" in call.faults:
        shown = {name: shown[name] for name in REQUIRED}
    if "named_numbers" in call.faults:
        return {"metrics": [{"name": name, "value": value} for name, value in shown.items()]}
    return {**shown}


def _amount(call: Call, numbers: Counter[str]) -> dict[str, Any]:
    currency = "eur" if OTHER_CURRENCY in call.faults else "usd"
    return {"amount": {"value": numbers["micros"] / 1_000_000, "currency": currency}}


USAGE = GroupedReport(
    {Kind.LLM_CALL: lambda _: "num_model_requests", Kind.TOKENS: _field},
    {"project_id": _project, "model": lambda one: one.get("model")},
    _numbers,
)
COSTS = GroupedReport(
    {Kind.LLM_COST: lambda _: "micros"},
    {
        "project_id": _project,
        "line_item": lambda one: f"{one.get('model')}, {one.get('token_type')}",
    },
    _amount,
)


class OrganizationUsage(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of both endpoints; ``limit`` counts buckets."""

    start_time: int
    end_time: int
    bucket_width: Literal["1h", "1d"] = "1d"
    limit: int | None = None
    page: str | None = None
    group_by: str = ""
    project_ids: str = ""


def error_body(status: int, reason: str) -> Any:
    """Return an error as the specification has it."""
    return {"error": {"message": reason, "type": f"error_{status}", "param": None, "code": None}}


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one organization; its modes are ``MODES``."""

    async def usage(call: Call) -> Answer:
        query = call.read_params(OrganizationUsage)
        return _answer(call, traffic, USAGE, query, LIMITS[query.bucket_width])

    async def costs(call: Call) -> Answer:
        query = call.read_params(OrganizationUsage)
        if query.bucket_width != "1d":
            raise Refusal(400, "bucket_width must be 1d")
        answer = _answer(call, traffic, COSTS, query, (7, 180))
        return Answer(answer.payload, [row["amount"] for row in answer.rows], number="value")

    return Service(
        clock=clock,
        traffic=traffic,
        routes={
            ("GET", "/v1/organization/usage/completions"): usage,
            ("GET", "/v1/organization/costs"): costs,
        },
        modes=MODES,
        secrets=[KEY],
        authorization=f"Bearer {KEY}",
        error=error_body,
        target=target_of("openai", KEY, "/v1"),
    )


def _answer(
    call: Call,
    traffic: Traffic,
    report: GroupedReport,
    query: OrganizationUsage,
    limits: tuple[int, int],
) -> Answer:
    width_ms = WIDTHS[query.bucket_width]
    window = query.start_time * 1000, query.end_time * 1000
    found = report.read(call, traffic, window, width_ms)
    if query.project_ids:
        found = {
            at_ms: [row for row in rows if row["project_id"] == query.project_ids]
            for at_ms, rows in found.items()
        }
    shown = [at_ms for at_ms in found if found[at_ms] or "sparse" not in call.faults]
    page = page_of(call, shown, query.page, limit_of(query.limit, limits))

    def times(at_ms: int) -> dict[str, Any]:
        ends = (at_ms + width_ms) // 1000
        return {"object": "bucket", "start_time": at_ms // 1000, "end_time": ends}

    return bucket_page(page, found, times)
