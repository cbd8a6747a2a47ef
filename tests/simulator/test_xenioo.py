"""The simulator of Xenioo: two steps, one call an hour, rows as the documents leave them open."""

from itertools import cycle
from typing import Any

import httpx
import pytest

from exporter.simulator.conversations import Kind
from exporter.simulator.xenioo import ACCOUNT_KEY, build
from exporter.simulator.xenioo_rows import BOTS
from tests.simulator.vendor import HOUR, Vendor
from tests.support.virtual import START_MS

PATH = "/analytics/statistics/account/*/13/hour/1"
OF_ONE_BOT = f"/analytics/statistics/account/{BOTS[0].key}/2/day/1"
SHOP, SIZES = (bot.name for bot in BOTS)


class Xenioo(Vendor):
    def __init__(self) -> None:
        super().__init__(build)

    def authorize(self, **body: Any) -> httpx.Response:
        answer = self.send(
            "POST", "/authorization/integration", json={"AccountAPIKey": ACCOUNT_KEY} | body
        )
        if answer.status_code == 200:
            self.authorization = f"Bearer {next(iter(answer.json().values()))}"
        return answer

    def get(self, path: str = PATH, kind: str = "application/json", **more: str) -> httpx.Response:
        if not self.authorization:
            self.authorize()
        return self.send("GET", path, headers={"content-type": kind}, **more)

    def rows(self, types: str = "13", mode: str = "hour", days: int = 2) -> list[dict[str, Any]]:
        self.service.faults.on("unthrottled")
        answer = self.get(f"/analytics/statistics/account/*/{types}/{mode}/{days}")
        assert answer.status_code == 200
        return list(answer.json())

    def receive(self, at_ms: int = START_MS, **attributes: Any) -> None:
        self.traffic.add(Kind.MESSAGE_RECEIVED, at_ms, **attributes)


@pytest.fixture
def vendor() -> Xenioo:
    return Xenioo()


@pytest.mark.parametrize(
    ("mode", "key", "status", "names"),
    [
        ("unthrottled", ACCOUNT_KEY, 200, ["token", "expires"]),
        ("token_v1", ACCOUNT_KEY, 200, ["Token", "Expires"]),
        ("token_expire", ACCOUNT_KEY, 200, ["token", "expire"]),
        ("unthrottled", None, 400, ["error", "status"]),
        ("unthrottled", "unknown", 404, ["error", "status"]),
        ("free_account", ACCOUNT_KEY, 403, ["error", "status"]),
    ],
)
def test_a_token_has_three_spellings_and_may_be_refused(
    vendor: Xenioo, mode: str, key: str | None, status: int, names: list[str]
) -> None:
    vendor.service.faults.on(mode)

    answer = vendor.authorize(AccountAPIKey=key)

    assert (answer.status_code, list(answer.json())) == (status, names)


def test_a_token_lasts_an_hour(vendor: Xenioo) -> None:
    vendor.rows()
    vendor.clock.step(HOUR - 1)
    late = vendor.get().status_code
    vendor.clock.step(1)

    assert (late, vendor.get().status_code) == (200, 401)


@pytest.mark.parametrize(("mode", "status"), [("token_v1", 200), ("auth_counts", 429)])
def test_a_token_that_is_not_accepted_may_use_up_the_hour(
    vendor: Xenioo, mode: str, status: int
) -> None:
    vendor.authorize()
    vendor.service.faults.on(mode)
    vendor.get(authorization="Bearer other")

    assert vendor.get().status_code == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("*/13/hour/1", 200),
        ("%2A/12%2C13/hour/1", 200),
        (f"{BOTS[1].key}/13/day/30", 200),
        ("unknown/13/hour/1", 404),
        ("*/13/minute/1", 400),
        ("*/13/hour/0", 400),
        ("*/13/hour/31", 400),
        ("*/18/hour/1", 400),
        ("*/x/hour/1", 400),
    ],
)
def test_the_path_is_read_part_by_part(vendor: Xenioo, path: str, status: int) -> None:
    assert vendor.get(f"/analytics/statistics/account/{path}").status_code == status


def test_a_call_without_its_content_type_is_refused(vendor: Xenioo) -> None:
    assert vendor.get(kind="text/plain").status_code == 400


def test_a_strict_server_knows_no_encoded_path(vendor: Xenioo) -> None:
    vendor.service.faults.on("literal_only")

    assert vendor.get(PATH.replace("*", "%2A")).status_code == 404
    assert vendor.get(PATH).status_code == 200


@pytest.mark.parametrize(
    ("rule", "minutes", "statuses"),
    [
        ({}, (0, 59, 118, 178), [200, 429, 429, 200]),
        ({"restart": False}, (0, 59, 60), [200, 429, 200]),
        ({"window": "clock"}, (0, 39, 40, 99), [200, 429, 200, 429]),
    ],
)
def test_one_call_an_hour_is_answered_of_all_tokens_bots_and_types(
    vendor: Xenioo, rule: dict[str, Any], minutes: tuple[int, ...], statuses: list[int]
) -> None:
    vendor.service.faults.on("throttle", **rule)

    found = []
    for minute, path in zip(minutes, cycle((PATH, OF_ONE_BOT)), strict=False):
        vendor.clock.step(START_MS + minute * 60_000 - vendor.clock.now_ms())
        vendor.authorize()
        found.append(vendor.get(path).status_code)

    assert found == statuses


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [(400, "empty", ""), (403, "text", "One call per hour."), (500, "json", "One call per hour")],
)
def test_a_refusal_has_every_form(vendor: Xenioo, status: int, body: str, text: str) -> None:
    vendor.service.faults.on("throttle", status=status, body=body)
    vendor.get()

    answer = vendor.get()

    assert answer.status_code == status
    assert (answer.json()["error"] if body == "json" else answer.text.strip()) == text


def test_a_call_counts_though_its_answer_never_comes(vendor: Xenioo) -> None:
    vendor.authorize()
    vendor.service.faults.on("hang_after", times=1, seconds=60)
    vendor.get()

    assert vendor.get().status_code == 429


def test_rows_hold_group_bot_channel_event_and_number(vendor: Xenioo) -> None:
    vendor.receive(channel="whatsapp")
    vendor.receive(channel="web", environment="staging")

    shared = {"GroupLabel": "2026-03-03 11", "EventLabel": "Incoming Message", "Value": 1}
    assert sorted(vendor.rows(), key=lambda row: row["BotName"], reverse=True) == [
        {**shared, "BotName": SHOP, "ChannelName": "WhatsApp"},
        {**shared, "BotName": SIZES, "ChannelName": "Web"},
    ]


def test_users_count_once_in_each_group(vendor: Xenioo) -> None:
    for at_ms in (START_MS, START_MS, START_MS - HOUR):
        vendor.receive(at_ms, user="u1")

    assert [row["Value"] for row in vendor.rows("2", "hour")] == [1, 1]
    assert [row["Value"] for row in vendor.rows("2", "day")] == [1]


def test_averages_are_fractions(vendor: Xenioo) -> None:
    vendor.traffic.add(Kind.CONVERSATION_STARTED, START_MS, count=3)
    vendor.traffic.add(Kind.HANDOVER, START_MS)

    assert [row["Value"] for row in vendor.rows("10")] == [33.33]


@pytest.mark.parametrize(
    ("mode", "options", "key", "value"),
    [
        ("second_number", {}, "Previous", 2),
        ("lower_keys", {}, "grouplabel", "2026-03-03 11"),
        ("codes_as_events", {}, "EventLabel", "13"),
        ("shouted_events", {}, "EventLabel", "INCOMINGMESSAGE"),
        ("zone", {"of": "Asia/Tokyo"}, "GroupLabel", "2026-03-03 20"),
        ("same_names", {}, "BotName", SHOP),
    ],
)
def test_what_is_not_documented_can_be_otherwise(
    vendor: Xenioo, mode: str, options: dict[str, Any], key: str, value: Any
) -> None:
    vendor.receive(environment="staging")
    vendor.service.faults.on(mode, **options)

    assert [row[key] for row in vendor.rows()] == [value]


def test_empty_groups_can_be_filled(vendor: Xenioo) -> None:
    vendor.receive()
    vendor.service.faults.on("zero_filled")

    rows = vendor.rows("13", "hour", 2)

    assert (len(rows), sum(row["Value"] for row in rows)) == (24 + 12, 1)


@pytest.mark.parametrize(("mode", "messages"), [("unthrottled", 36), ("rolling_days", 48)])
def test_days_are_today_and_before_or_of_24_hours(vendor: Xenioo, mode: str, messages: int) -> None:
    for hour in range(60):
        vendor.receive(START_MS - hour * HOUR - 1)
    vendor.service.faults.on(mode)

    assert sum(row["Value"] for row in vendor.rows("13", "day", 2)) == messages
