"""Chatlayer's simulator against the documented requests and responses."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from exporter.simulator.chatlayer import TOKEN, build, violations
from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from tests.support.virtual import START_MS, VirtualClock

HOUR = 3_600_000
NINE = START_MS // HOUR * HOUR - 2 * HOUR
STREAM = "/v1/bots/b7x2k9/events/stream"
RANGE = {"start_time": "2026-03-03T00:00:00.000Z", "end_time": "2026-03-03T11:00:00.000Z"}
LIVE = {"version": "LIVE", **RANGE}


class Vendor:
    def __init__(self, clock: VirtualClock, ask: Callable[..., httpx.Response]) -> None:
        self.traffic = Traffic()
        self.service = build(clock, self.traffic)
        self._ask = ask

    def send(self, method: str, path: str, *, token: str = TOKEN, **more: Any) -> httpx.Response:
        auth = httpx.BasicAuth(*token.split(":"))
        headers = {"authorization": auth._auth_header}
        return self._ask(self.service, method, path, headers=headers, **more)

    def get(self, path: str, **params: str) -> Any:
        return self.send("GET", path, params=params).json()

    def walk(self, **more: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.get(STREAM, **LIVE, page_size="100", page_token=token, **more)
            found += page.get("events", [])
            token = page.get("next_page_token", "")
            if not token:
                return found


@pytest.fixture
def vendor(clock: VirtualClock, ask: Callable[..., httpx.Response]) -> Vendor:
    return Vendor(clock, ask)


def test_a_wrong_token_is_401_as_the_gateway_writes_it(vendor: Vendor) -> None:
    answer = vendor.send("GET", STREAM, token="id:wrong", params=LIVE)

    assert answer.status_code == 401
    assert answer.json() == {"code": 16, "message": "invalid credentials", "details": []}


def test_an_ingress_may_answer_in_plain_text(vendor: Vendor) -> None:
    vendor.service.faults.on("plain_401")

    assert vendor.send("GET", STREAM, token="id:wrong", params=LIVE).text == "Unauthorized"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/bots/other/events/stream", 404), ("/v1/teams/other/events", 403), ("/v2/x", 404)],
)
def test_other_bots_and_teams_are_out_of_reach(vendor: Vendor, path: str, status: int) -> None:
    assert vendor.send("GET", path, params=LIVE).status_code == status


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": ""},
        {"version": "live"},
        {"start_time": ""},
        {"end_time": "tomorrow"},
        {"start_time": RANGE["end_time"]},
        {"page_token": "made-up"},
        {"page_size": "many"},
    ],
)
def test_a_wrong_parameter_is_400(vendor: Vendor, wrong: dict[str, str]) -> None:
    assert vendor.send("GET", STREAM, params=LIVE | wrong).status_code == 400


def test_an_event_has_the_documented_fields_and_no_campaign(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.HANDOVER, NINE, user="u_81", conversation="c_81", channel="web")

    (event,) = vendor.walk()

    assert {key: event[key] for key in ("event", "bot_id", "version", "timestamp")} == {
        "event": "handover",
        "bot_id": "b7x2k9",
        "version": "LIVE",
        "timestamp": "2026-03-03T09:00:00.000Z",
    }
    assert not [key for key in event if "campaign" in key]


def test_the_window_is_half_open_and_versions_are_apart(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.HANDOVER, NINE - 9 * HOUR)
    vendor.traffic.add(Kind.HANDOVER, NINE + 2 * HOUR)
    vendor.traffic.add(Kind.GOAL, NINE, environment="staging")

    assert [event["event"] for event in vendor.walk()] == ["handover"]


def test_a_page_has_a_hundred_events_at_most_in_no_order(vendor: Vendor) -> None:
    for number in range(250):
        vendor.traffic.add(Kind.HANDOVER, NINE + number * 1000)

    page = vendor.get(STREAM, **LIVE, page_size="1000")
    times = [event["timestamp"] for event in vendor.walk()]

    assert len(page["events"]) == 100
    assert len(times) == len(set(times)) == 250
    assert times != sorted(times)


def test_a_token_is_bound_to_its_question(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.HANDOVER, NINE, count=150)
    token = vendor.get(STREAM, **LIVE, page_size="100")["next_page_token"]

    other = LIVE | {"version": "DRAFT", "page_token": token}

    assert vendor.send("GET", STREAM, params=other).status_code == 400


def test_the_post_form_filters_by_attributes(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.HANDOVER, NINE)
    vendor.traffic.add(Kind.GOAL, NINE)
    filters = [{"key": "step_name", "operator": "EQUALS", "value": ["goal"]}]

    answer = vendor.send("POST", STREAM, json=LIVE | {"filters": filters, "page_size": 100})

    assert [event["event"] for event in answer.json()["events"]] == ["goal_booked"]
    assert violations(vendor.service) == []


@pytest.mark.parametrize("path", ["events/track", "events/definitions", "subscriptions"])
def test_a_call_that_writes_is_a_violation(vendor: Vendor, path: str) -> None:
    vendor.send("POST", f"/v1/bots/b7x2k9/{path}", json={})

    assert [seen.path for seen in violations(vendor.service)] == [f"/v1/bots/b7x2k9/{path}"]


@pytest.mark.parametrize(
    ("bucket", "status"), [("1h", 200), ("", 400), ("1m", 400), ("1d", 400), ("1w", 400)]
)
def test_a_bucket_must_be_known_and_smaller_than_the_range(
    vendor: Vendor, bucket: str, status: int
) -> None:
    answer = vendor.send("GET", "/v1/bots/b7x2k9/messages", params=LIVE | {"bucket": bucket})

    assert answer.status_code == status


def test_series_add_up_to_the_truth_in_every_bucket(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, NINE, count=5)
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, NINE + HOUR, count=2)

    data = vendor.get("/v1/bots/b7x2k9/messages", **LIVE, bucket="1h")["data"]

    columns = zip(*(each["values"] for each in data["series"]), strict=True)
    sums = dict(zip(data["x_values"], map(sum, columns), strict=True))
    assert {x: value for x, value in sums.items() if value} == {
        "2026-03-03T09:00:00Z": 5,
        "2026-03-03T10:00:00Z": 2,
    }


def test_labels_are_in_the_series_or_beside_it(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.CONVERSATION_STARTED, NINE, channel="web")
    asked = LIVE | {"bucket": "1h", "group_by": "channel_type"}

    inside = vendor.get("/v1/bots/b7x2k9/conversations", **asked)["data"]
    vendor.service.faults.on("series_labels")
    beside = vendor.get("/v1/bots/b7x2k9/conversations", **asked)["data"]

    assert inside["series"][0]["labels"] == {"channel_type": "web"}
    assert (beside["series"][0]["labels"], beside["series_labels"]) == ({}, ["web"])


def test_empty_fields_may_be_left_out(vendor: Vendor) -> None:
    vendor.service.faults.on("omit_empty")

    assert vendor.get(STREAM, **LIVE) == {}
