"""The simulators of APIs that manifests read, against the documented requests."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import pytest

from exporter.simulator import MANIFEST_SIMULATORS
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
    def __init__(self, name: str) -> None:
        super().__init__(MANIFEST_SIMULATORS[name], traffic=Traffic(5, per_hour=20))
        self.asked = ASKED[name]

    def answer(self, key: str | None = None, body: Any = None, **params: Any) -> httpx.Response:
        header, own = self.asked.key
        return self.send(
            "POST" if self.asked.body else "GET",
            self.asked.path,
            params={**self.asked.params, **params},
            headers={**self.asked.headers, header: own if key is None else key},
            json=body or self.asked.body,
        )


@pytest.fixture(params=sorted(MANIFEST_SIMULATORS))
def vendor(request: pytest.FixtureRequest) -> Simulated:
    return Simulated(request.param)


def test_the_same_seed_gives_the_same_answer_and_writes_nothing(vendor: Simulated) -> None:
    answer = vendor.answer().json()

    assert answer[vendor.asked.rows] if vendor.asked.rows else answer
    assert vendor.answer().content == vendor.answer().content
    assert vendor.service.writes() == []


def test_a_wrong_request_or_key_is_refused_and_the_key_never_logged(vendor: Simulated) -> None:
    wrong = vendor.asked.wrong or {"body": searched(S, S + 3600, per_page=151)}

    assert vendor.answer(**wrong).status_code in (400, 422)
    assert vendor.answer("Bearer other").status_code == 401
    assert vendor.answer().status_code == 200
    assert "canary" not in repr(vendor.service.requests)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("openai", {"page": "elsewhere"}),
        ("elevenlabs", {"cursor": "elsewhere"}),
        ("intercom", {"body": searched(S, S + 3600, starting_after="elsewhere")}),
    ],
)
def test_a_cursor_that_was_made_up_is_refused(name: str, asked: dict[str, Any]) -> None:
    assert Simulated(name).answer(**asked).status_code == 400
