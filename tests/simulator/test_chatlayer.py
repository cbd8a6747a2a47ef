"""Chatlayer's simulator against the documented requests and responses."""

import base64
from typing import Any

import pytest

from exporter.simulator.chatlayer import TOKEN, build
from exporter.simulator.conversations import Kind
from tests.simulator.vendor import HOUR, NINE, Vendor

STREAM = "/v1/bots/b7x2k9/events/stream"
RANGE = {"start_time": "2026-03-03T00:00:00.000Z", "end_time": "2026-03-03T11:00:00.000Z"}
LIVE = {"version": "LIVE", **RANGE}


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(token.encode()).decode()


class Chatlayer(Vendor):
    def __init__(self) -> None:
        super().__init__(build, basic(TOKEN))

    def get(self, path: str, **params: str) -> Any:
        return self.send("GET", path, params=params).json()

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.get(STREAM, **LIVE, page_size="100", page_token=token)
            found += page["events"]
            token = page["next_page_token"]
            if not token:
                return found


@pytest.fixture
def vendor() -> Chatlayer:
    return Chatlayer()


def test_a_wrong_token_is_401_as_the_gateway_writes_it(vendor: Chatlayer) -> None:
    answer = vendor.send("GET", STREAM, params=LIVE, authorization=basic("id:wrong"))

    assert answer.status_code == 401
    assert answer.json() == {"code": 16, "message": "Unauthorized", "details": []}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/bots/other/events/stream", 404), ("/v1/teams/other/events", 403), ("/v2/x", 404)],
)
def test_other_bots_and_teams_are_out_of_reach(vendor: Chatlayer, path: str, status: int) -> None:
    assert vendor.send("GET", path, params=LIVE).status_code == status


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (STREAM, {"version": None}),
        (STREAM, {"version": "live"}),
        (STREAM, {"start_time": ""}),
        (STREAM, {"end_time": "tomorrow"}),
        (STREAM, {"page_token": "made-up"}),
        (STREAM, {"page_size": "many"}),
        (STREAM, {"other": "x"}),
        ("/v1/bots/b7x2k9/messages", {}),
        ("/v1/bots/b7x2k9/messages", {"bucket": "1m"}),
        ("/v1/bots/b7x2k9/messages", {"bucket": "1d"}),  # not smaller than the range
    ],
)
def test_a_wrong_parameter_is_400(
    vendor: Chatlayer, path: str, wrong: dict[str, str | None]
) -> None:
    params = {key: value for key, value in (LIVE | wrong).items() if value is not None}

    assert vendor.send("GET", path, params=params).status_code == 400


def test_an_event_has_the_documented_fields_and_no_campaign(vendor: Chatlayer) -> None:
    vendor.traffic.add(Kind.HANDOVER, NINE, user="u_81", conversation="c_81", channel="web")

    (event,) = vendor.events()

    assert {key: event[key] for key in ("event", "bot_id", "version", "timestamp")} == {
        "event": "handover",
        "bot_id": "b7x2k9",
        "version": "LIVE",
        "timestamp": "2026-03-03T09:00:00.000Z",
    }
    assert not [key for key in event if "campaign" in key]


def test_the_window_is_half_open_and_versions_are_apart(vendor: Chatlayer) -> None:
    vendor.traffic.add(Kind.HANDOVER, NINE - 9 * HOUR)
    vendor.traffic.add(Kind.HANDOVER, NINE + 2 * HOUR)
    vendor.traffic.add(Kind.GOAL, NINE, environment="staging")

    assert [event["event"] for event in vendor.events()] == ["handover"]


def test_a_page_has_a_hundred_events_at_most_in_no_order(vendor: Chatlayer) -> None:
    for number in range(250):
        vendor.traffic.add(Kind.HANDOVER, NINE + number * 1000)

    page = vendor.get(STREAM, **LIVE, page_size="1000")
    times = [event["timestamp"] for event in vendor.events()]

    assert len(page["events"]) == 100
    assert len(times) == len(set(times)) == 250
    assert times != sorted(times)


def test_a_token_is_bound_to_its_list(vendor: Chatlayer) -> None:
    vendor.traffic.add(Kind.HANDOVER, NINE, count=150)
    token = vendor.get(STREAM, **LIVE, page_size="100")["next_page_token"]
    other = LIVE | {"version": "DRAFT", "page_token": token}

    assert vendor.send("GET", STREAM, params=other).status_code == 400


def test_the_post_form_filters_by_attributes(vendor: Chatlayer) -> None:
    vendor.traffic.add(Kind.HANDOVER, NINE)
    vendor.traffic.add(Kind.GOAL, NINE)
    filters = [{"key": "step_name", "operator": "EQUALS", "value": ["goal"]}]

    answer = vendor.send("POST", STREAM, json=LIVE | {"filters": filters, "page_size": 100})

    assert [event["event"] for event in answer.json()["events"]] == ["goal_booked"]
    assert vendor.service.writes() == []


def test_labels_are_in_the_series_or_beside_it(vendor: Chatlayer) -> None:
    vendor.traffic.add(Kind.CONVERSATION_STARTED, NINE, channel="web")
    asked = LIVE | {"bucket": "1h", "group_by": "channel_type"}

    inside = vendor.get("/v1/bots/b7x2k9/conversations", **asked)["data"]
    vendor.service.faults.on("series_labels")
    beside = vendor.get("/v1/bots/b7x2k9/conversations", **asked)["data"]

    assert inside["series"][0]["labels"] == {"channel_type": "web"}
    assert (beside["series"][0]["labels"], beside["series_labels"]) == ({}, ["web"])


def test_empty_fields_may_be_left_out(vendor: Chatlayer) -> None:
    vendor.service.faults.on("omit_empty")

    assert vendor.get(STREAM, **LIVE) == {}
