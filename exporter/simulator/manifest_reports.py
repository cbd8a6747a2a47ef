"""Simulators of reports by bucket: OpenAI's organization usage and costs, Anthropic's Admin API.

Usage is by hour or day, costs are by day.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import msgspec

from exporter.simulator.conversations import DAY_MS, HOUR_MS, Kind, Occurrence
from exporter.simulator.server import (
    CURSOR_MODES,
    Answer,
    Call,
    Instant,
    Refusal,
    Rows,
    Service,
    manifest_target,
    milliseconds,
    page_of,
    stamp,
)
from exporter.simulator.traffic import Window

WIDTHS = {"1h": HOUR_MS, "1d": DAY_MS}
LIMITS = {"1h": (24, 168), "1d": (7, 31)}
"""Buckets per page (default, maximum), by the width of a bucket."""
OTHER_CURRENCY = "other_currency"  # a mode: costs are in euros

Dimension = Callable[[Occurrence], str | None]
"""The name that an occurrence is counted under."""
Values = tuple[str | None, ...]


class ReportQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The parameters of all reports; ``limit`` counts buckets."""

    bucket_width: Literal["1h", "1d"] = "1d"
    limit: int | None = None
    page: str | None = None

    @property
    def width_ms(self) -> int:
        """Return the length of a bucket."""
        return WIDTHS[self.bucket_width]


@dataclass(frozen=True, slots=True)
class GroupedReport:
    """Sums by bucket and by the dimensions of ``group_by``.

    ``fields`` name the number that an occurrence adds to. ``dimensions`` can be requested; one that
    is not is null. ``row`` returns the rest of a row from its numbers. ``limits`` are the buckets
    per page (default, maximum) by each possible width.
    """

    fields: Mapping[Kind, Dimension]
    dimensions: Mapping[str, Dimension]
    row: Callable[[Call, Counter[str]], dict[str, Any]]
    limits: Mapping[str, tuple[int, int]]

    def read(self, call: Call, query: ReportQuery, window: Window) -> dict[int, Rows]:
        """Return the rows of the window's buckets up to now, with its start rounded down."""
        if query.bucket_width not in self.limits:
            raise Refusal(400, "bucket_width must be 1d")
        (start_ms, end_ms), width_ms = window, query.width_ms
        starts = range(start_ms // width_ms * width_ms, min(end_ms, call.now_ms + 1), width_ms)
        asked = [*call.lists.get("group_by", ()), *call.lists.get("group_by[]", ())]
        if wrong := set(asked) - self.dimensions.keys():
            raise Refusal(400, f"cannot group by {', '.join(sorted(wrong))}")
        found = self._sums(call, starts, [self.dimensions[name] for name in asked])
        rows: dict[int, Rows] = {at_ms: [] for at_ms in starts}
        for (at_ms, values), numbers in found.items():
            names = {**dict.fromkeys(self.dimensions), **dict(zip(asked, values, strict=True))}
            rows[at_ms].append({**self.row(call, numbers), **names})
        return rows

    def page(
        self,
        call: Call,
        query: ReportQuery,
        found: Mapping[int, Rows],
        times: Callable[[int], dict[str, Any]],
    ) -> Answer:
        """Return a page of buckets; ``times`` returns the members with a bucket's time.

        Faults hit the first row, so the middle ones come first: clients may request extra buckets.
        """
        default, most = self.limits[query.bucket_width]
        if query.limit is not None and not 1 <= query.limit <= most:
            raise Refusal(400, f"limit must be from 1 to {most}")
        page = page_of(call, list(found), query.page, query.limit or default)
        data = [{**times(at_ms), "results": found[at_ms]} for at_ms in page.items]
        middle = len(page.items) // 2
        shown = [*page.items[middle:], *page.items[:middle]]
        rows = [row for at_ms in shown for row in found[at_ms]]
        return Answer({"data": data, "has_more": page.more, "next_page": page.cursor}, rows)

    def _sums(
        self, call: Call, starts: range, dimensions: Sequence[Dimension]
    ) -> dict[tuple[int, Values], Counter[str]]:
        """Return sums by bucket start and values of the dimensions, then by name of the number."""
        found: defaultdict[tuple[int, Values], Counter[str]] = defaultdict(Counter)
        end_ms = starts[-1] + starts.step if starts else starts.start
        for kind, field in self.fields.items():
            for one in call.records(kind, (starts.start, end_ms)):
                values = tuple(dimension(one) for dimension in dimensions)
                at_ms = one.at_ms // starts.step * starts.step
                found[at_ms, values][field(one) or ""] += one.amount
        return found


def _token_class(one: Occurrence) -> str:
    """Return how tokens are billed: ``output`` or, by channel, one of three kinds of input."""
    if one.get("token_type") == "output":
        return "output"
    return {"whatsapp": "cached", "messenger": "cache_write"}.get(one.get("channel"), "uncached")


OPENAI_KEY = "sk-admin-canary-5b1e7d"
INPUT = ("input_uncached_tokens", "input_cached_tokens", "input_cache_write_tokens")
NUMBERS = ("num_model_requests", "output_tokens", *INPUT)
REQUIRED = ("num_model_requests", "output_tokens", "input_tokens")
OPENAI_MODES = CURSOR_MODES | {
    OTHER_CURRENCY,
    "sparse",  # no buckets without usage
    "older_answer",  # without the optional members of a result
    "named_numbers",  # numbers as a list: [{"name": "output_tokens", "value": 14}]
}


def _project(one: Occurrence) -> str:
    return "proj_b2" if one.get("environment") == "staging" else "proj_a1"


def _field(one: Occurrence) -> str:
    billed = _token_class(one)
    return "output_tokens" if billed == "output" else f"input_{billed}_tokens"


def _openai_numbers(call: Call, numbers: Counter[str]) -> dict[str, Any]:
    shown = {name: numbers[name] for name in NUMBERS}
    shown["input_tokens"] = sum(numbers[name] for name in INPUT)
    if "older_answer" in call.faults:
        shown = {name: shown[name] for name in REQUIRED}
    if "named_numbers" in call.faults:
        return {"metrics": [{"name": name, "value": value} for name, value in shown.items()]}
    return {**shown}


def _openai_amount(call: Call, numbers: Counter[str]) -> dict[str, Any]:
    currency = "eur" if OTHER_CURRENCY in call.faults else "usd"
    return {"amount": {"value": numbers["micros"] / 1_000_000, "currency": currency}}


OPENAI_USAGE = GroupedReport(
    {Kind.LLM_CALL: lambda _: "num_model_requests", Kind.TOKENS: _field},
    {"project_id": _project, "model": lambda one: one.get("model")},
    _openai_numbers,
    LIMITS,
)
OPENAI_COSTS = GroupedReport(
    {Kind.LLM_COST: lambda _: "micros"},
    {
        "project_id": _project,
        "line_item": lambda one: f"{one.get('model')}, {one.get('token_type')}",
    },
    _openai_amount,
    {"1d": (7, 180)},
)


class OpenAiQuery(ReportQuery):
    """The parameters of both endpoints; times are in seconds."""

    start_time: int
    end_time: int
    group_by: str = ""
    project_ids: str = ""


async def _openai(report: GroupedReport, call: Call) -> Answer:
    query = call.read_params(OpenAiQuery)
    found = report.read(call, query, (query.start_time * 1000, query.end_time * 1000))
    if query.project_ids:
        found = {
            at_ms: [row for row in rows if row["project_id"] == query.project_ids]
            for at_ms, rows in found.items()
        }
    if "sparse" in call.faults:
        found = {at_ms: rows for at_ms, rows in found.items() if rows}

    def times(at_ms: int) -> dict[str, Any]:
        ends = (at_ms + query.width_ms) // 1000
        return {"object": "bucket", "start_time": at_ms // 1000, "end_time": ends}

    answer = report.page(call, query, found, times)
    if report is OPENAI_USAGE:
        return answer
    return Answer(answer.payload, [row["amount"] for row in answer.rows], number="value")


openai = partial(
    Service,
    routes={
        ("GET", "/v1/organization/usage/completions"): partial(_openai, OPENAI_USAGE),
        ("GET", "/v1/organization/costs"): partial(_openai, OPENAI_COSTS),
    },
    modes=OPENAI_MODES,
    secrets=[OPENAI_KEY],
    authorization=f"Bearer {OPENAI_KEY}",
    error=lambda status, reason: {
        "error": {"message": reason, "type": f"error_{status}", "param": None, "code": None}
    },
    target=manifest_target("openai", OPENAI_KEY, "/v1"),
)
"""Builds the simulator of one organization at OpenAI."""

ANTHROPIC_KEY = "sk-ant-admin-canary-41f7"
ANTHROPIC_MODES = CURSOR_MODES | {
    OTHER_CURRENCY,
    "strict_end",  # a bucket that ends at ending_at is also left out
}


def _workspace(one: Occurrence) -> str | None:
    return "wrkspc_2" if one.get("environment") == "staging" else None  # None: the default one


def _anthropic_numbers(_call: Call, numbers: Counter[str]) -> dict[str, Any]:
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


def _anthropic_amount(call: Call, numbers: Counter[str]) -> dict[str, Any]:
    cents, rest = divmod(numbers["micros"], 10_000)
    currency = "EUR" if OTHER_CURRENCY in call.faults else "USD"
    return {"currency": currency, "amount": f"{cents}.{rest:04d}", "cost_type": "tokens"}


ANTHROPIC_USAGE = GroupedReport(
    {Kind.TOKENS: _token_class, Kind.SEARCH: lambda _: "searches"},
    {"workspace_id": _workspace, "model": lambda one: one.get("model") or "model-a"},
    _anthropic_numbers,
    LIMITS,
)
ANTHROPIC_COSTS = GroupedReport(
    {Kind.LLM_COST: lambda _: "micros"},
    {"workspace_id": _workspace, "description": lambda one: one.get("model")},
    _anthropic_amount,
    {"1d": (7, 31)},
)


class AnthropicQuery(ReportQuery):
    """The parameters of both reports."""

    starting_at: Instant
    ending_at: Instant
    group_by: str = msgspec.field(name="group_by[]", default="")


async def _anthropic(report: GroupedReport, call: Call) -> Answer:
    query = call.read_params(AnthropicQuery)
    if call.headers.get("anthropic-version") != "2023-06-01":
        raise Refusal(400, "anthropic-version: header is required")
    # A bucket that has not ended by ending_at is left out.
    end_ms = milliseconds(query.ending_at) - ("strict_end" in call.faults)
    window = milliseconds(query.starting_at), end_ms // query.width_ms * query.width_ms
    found = report.read(call, query, window)

    def times(at_ms: int) -> dict[str, Any]:
        return {"starting_at": stamp(at_ms, 0), "ending_at": stamp(at_ms + query.width_ms, 0)}

    answer = report.page(call, query, found, times)
    if report is ANTHROPIC_USAGE:
        return replace(answer, number="output_tokens")
    for row in answer.rows:  # grouped by description, a row also has its parts
        row["model"], row["token_type"] = row["description"], None
    return replace(answer, number="amount")


anthropic = partial(
    Service,
    routes={
        ("GET", "/v1/organizations/usage_report/messages"): partial(_anthropic, ANTHROPIC_USAGE),
        ("GET", "/v1/organizations/cost_report"): partial(_anthropic, ANTHROPIC_COSTS),
    },
    modes=ANTHROPIC_MODES,
    secrets=[ANTHROPIC_KEY],
    authorization=ANTHROPIC_KEY,
    key_header="x-api-key",
    error=lambda status, reason: {
        "type": "error",
        "error": {"type": f"error_{status}", "message": reason},
    },
    target=manifest_target("anthropic", ANTHROPIC_KEY, "/v1/organizations"),
)
"""Builds the simulator of one organization at Anthropic."""
