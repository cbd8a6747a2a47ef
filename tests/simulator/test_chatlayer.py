"""Chatlayer's simulator against the documented requests and responses."""

import base64
from typing import Any

import pytest

from exporter.simulator.chatlayer import TOKEN, build
from exporter.simulator.conversations import Kind
from tests.simulator.vendor import NINE, Vendor

STREAM = "/v1/bots/b7x2k9/events/stream"
MESSAGES = "/v1/bots/b7x2k9/messages"
RANGE = {"start_time": "2026-03-03T00:00:00.000Z", "end_time": "2026-03-03T11:00:00.000Z"}
LIVE = {"version": "LIVE", **RANGE}


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(token.encode()).decode()


@pytest.fixture
def vendor() -> Vendor:
    return Vendor(build, basic(TOKEN))


def page(vendor: Vendor, **params: str) -> Any:
    return vendor.send("GET", STREAM, params=LIVE | params).json()


def test_a_wrong_token_is_401_as_the_gateway_writes_it(vendor: Vendor) -> None:
    answer = vendor.send("GET", STREAM, params=LIVE, authorization=basic("id:wrong"))

    assert answer.status_code == 401
    assert answer.json() == {"code": 16, "message": "Unauthorized", "details": []}


@pytest.mark.parametrize(
    ("path", "wrong", "status"),
    [
        ("/v1/bots/other/events/stream", {}, 404),
        ("/v1/teams/other/events", {}, 403),
        ("/v2/x", {}, 404),
        (STREAM, {"version": None}, 400),
        (STREAM, {"version": "live"}, 400),
        (STREAM, {"start_time": ""}, 400),
        (STREAM, {"end_time": "tomorrow"}, 400),
        (STREAM, {"page_token": "made-up"}, 400),
        (STREAM, {"page_size": "many"}, 400),
        (STREAM, {"other": "x"}, 400),
        (MESSAGES, {}, 400),
        (MESSAGES, {"bucket": "1m"}, 400),
        (MESSAGES, {"bucket": "1d"}, 400),  # not smaller than the range
    ],
)
def test_a_wrong_request_is_refused(
    vendor: Vendor, path: str, wrong: dict[str, str | None], status: int
) -> None:
    params = {key: value for key, value in (LIVE | wrong).items() if value is not None}

    assert vendor.send("GET", path, params=params).status_code == status


def test_pages_have_a_hundred_events_at_most_in_no_order(vendor: Vendor) -> None:
    for number in range(150):
        vendor.traffic.add(Kind.HANDOVER, NINE + number * 1000)

    first = page(vendor, page_size="1000")
    last = page(vendor, page_size="1000", page_token=first["next_page_token"])

    times = [event["timestamp"] for event in (*first["events"], *last["events"])]
    assert (len(first["events"]), len(set(times)), last["next_page_token"]) == (100, 150, "")
    assert times != sorted(times)
    assert "events" not in page(vendor, version="DRAFT", page_token=first["next_page_token"])
