"""The fake Xenioo: two steps, one call an hour, rows as the documents leave them open."""

from typing import Any

import httpx
import pytest

from exporter.simulator.conversations import Kind
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic
from exporter.simulator.xenioo import ACCOUNT_KEY, build
from exporter.simulator.xenioo_rows import BOTS
from tests.simulator.conftest import PollRequest
from tests.support.virtual import START_MS, VirtualClock

HOUR_MS = 3_600_000
BASE = "/analytics/statistics/account"
JSON = {"Content-Type": "application/json"}


class Client:
    """A client of the fake that keeps its token."""

    def __init__(self, clock: VirtualClock, ask: PollRequest) -> None:
        self.clock = clock
        self.traffic = Traffic()
        self.service: Service = build(clock, self.traffic)
        self._ask = ask
        self.token = ""

    def authorize(self, **body: Any) -> httpx.Response:
        answer = self._ask(
            self.service,
            "POST",
            "/authorization/integration",
            json={"AccountAPIKey": ACCOUNT_KEY} | body,
        )
        if answer.status_code == 200:
            self.token = str(answer.json().get("token") or answer.json().get("Token"))
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        if not self.token:
            self.authorize()
        signed = {"Authorization": f"Bearer {self.token}"} | JSON | headers
        return self._ask(self.service, "GET", path, headers=signed)

    def rows(self, types: str = "13", mode: str = "hour", days: int = 2) -> list[dict[str, Any]]:
        self.service.faults.on("unthrottled")
        answer = self.get(f"{BASE}/*/{types}/{mode}/{days}")
        assert answer.status_code == 200
        return list(answer.json())

    def hear(self, at_ms: int = START_MS, **attributes: Any) -> None:
        self.traffic.add(Kind.MESSAGE_RECEIVED, at_ms, **attributes)


@pytest.fixture
def client(clock: VirtualClock, ask: PollRequest) -> Client:
    return Client(clock, ask)


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        (None, {"token", "expires"}),
        ("token_v1", {"Token", "Expires"}),
        ("token_expire", {"token", "expire"}),
    ],
)
def test_a_token_is_spelled_in_three_ways(
    client: Client, mode: str | None, names: set[str]
) -> None:
    if mode:
        client.service.faults.on(mode)

    assert client.authorize().json().keys() == names


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"AccountAPIKey": None}, 400),
        ({"AccountAPIKey": "unknown"}, 404),
        ({"BotAPIKey": BOTS[0].key, "BotAPISecret": "wrong"}, 404),
        ({"BotAPIKey": BOTS[0].key, "BotAPISecret": BOTS[0].secret}, 200),
    ],
)
def test_a_token_is_for_who_knows_the_keys(
    client: Client, body: dict[str, Any], status: int
) -> None:
    assert client.authorize(**body).status_code == status


def test_a_free_account_gets_no_token(client: Client) -> None:
    client.service.faults.on("free_account")

    assert client.authorize().status_code == 403


def test_a_token_lasts_an_hour(client: Client) -> None:
    client.rows()
    client.clock.step(HOUR_MS - 1)
    late = client.get(f"{BASE}/*/13/hour/1").status_code
    client.clock.step(1)

    assert (late, client.get(f"{BASE}/*/13/hour/1").status_code) == (200, 401)


def test_an_expired_token_may_be_called_a_bad_request(client: Client) -> None:
    client.service.faults.on("expired_status", status=400)

    assert client.get(f"{BASE}/*/13/hour/1", Authorization="Bearer other").status_code == 400


@pytest.mark.parametrize(("mode", "status"), [(None, 200), ("auth_counts", 429)])
def test_a_token_that_is_not_accepted_may_use_up_the_hour(
    client: Client, mode: str | None, status: int
) -> None:
    if mode:
        client.service.faults.on(mode)
    client.get(f"{BASE}/*/13/hour/1", Authorization="Bearer other")

    assert client.get(f"{BASE}/*/13/hour/1").status_code == status


def test_a_call_without_its_content_type_is_refused(client: Client) -> None:
    answer = client.get(f"{BASE}/*/13/hour/1", **{"Content-Type": "text/plain"})

    assert answer.status_code == 400


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
def test_the_path_is_read_part_by_part(client: Client, path: str, status: int) -> None:
    assert client.get(f"{BASE}/{path}").status_code == status


def test_a_bad_request_may_be_called_not_found(client: Client) -> None:
    client.service.faults.on("bad_request_status", status=404)

    assert client.get(f"{BASE}/*/13/minute/1").status_code == 404


def test_a_strict_server_knows_no_encoded_path(client: Client) -> None:
    client.service.faults.on("literal_only")

    assert client.get(f"{BASE}/%2A/13/hour/1").status_code == 404
    assert client.get(f"{BASE}/*/12,13/hour/1").status_code == 200


def statuses(client: Client, *minutes: int, path: str = f"{BASE}/*/13/hour/1") -> list[int]:
    """Return the statuses of calls made so many minutes after the first."""
    began_ms = client.clock.now_ms()
    found = []
    for minute in minutes:
        client.clock.step(began_ms + minute * 60_000 - client.clock.now_ms())
        client.authorize()
        found.append(client.get(path).status_code)
    return found


def test_one_call_an_hour_is_answered(client: Client) -> None:
    assert statuses(client, 0, 59, 118, 178) == [200, 429, 429, 200]


def test_a_refusal_need_not_begin_the_hour_again(client: Client) -> None:
    client.service.faults.on("throttle", restart=False)

    assert statuses(client, 0, 59, 60) == [200, 429, 200]


def test_the_hour_may_be_that_of_the_clock(client: Client) -> None:
    client.service.faults.on("throttle", window="clock")

    assert statuses(client, 0, 39, 40, 99) == [200, 429, 200, 429]


@pytest.mark.parametrize("status", [400, 403, 429, 500])
@pytest.mark.parametrize(
    ("body", "text"), [("empty", ""), ("text", "One call per hour."), ("json", None)]
)
def test_a_refusal_has_every_form(client: Client, status: int, body: str, text: str | None) -> None:
    client.service.faults.on("throttle", status=status, body=body)
    client.get(f"{BASE}/*/13/hour/1")

    answer = client.get(f"{BASE}/*/13/hour/1")

    assert answer.status_code == status
    assert answer.text.strip() == text if text is not None else answer.json()["status"] == status


def test_all_tokens_bots_and_types_share_the_hour(client: Client) -> None:
    client.get(f"{BASE}/*/13/hour/1")
    client.authorize()

    assert client.get(f"{BASE}/{BOTS[0].key}/2/day/1").status_code == 429


@pytest.mark.parametrize(("mode", "status"), [(None, 200), ("shared_budget", 429)])
def test_receipts_may_share_the_hour(client: Client, mode: str | None, status: int) -> None:
    if mode:
        client.service.faults.on(mode)
    client.get(f"{BASE}/*/13/hour/1")

    assert client.get("/analytics/statistics/dlr/account/*/hour/1").status_code == status


def test_a_bot_has_half_an_hour_of_its_own(client: Client) -> None:
    for minutes, expected in ((0, 200), (20, 429), (30, 200)):
        client.clock.step(minutes * 60_000)
        client.authorize(BotAPIKey=BOTS[0].key, BotAPISecret=BOTS[0].secret)
        assert client.get("/analytics/statistics/13,18/hour/1").status_code == expected
    assert client.get("/analytics/statistics/dlr/hour/1").status_code == 200
    assert client.get(f"{BASE}/*/13/hour/1").status_code == 401


def test_a_call_counts_though_its_answer_never_comes(client: Client) -> None:
    client.service.faults.on("hang_after", times=1, seconds=60)
    client.get(f"{BASE}/*/13/hour/1")

    assert client.get(f"{BASE}/*/13/hour/1").status_code == 429


def test_rows_tell_group_bot_channel_event_and_number(client: Client) -> None:
    client.hear(channel="whatsapp")
    client.hear(channel="web", bot=BOTS[1].key)

    assert sorted(client.rows(), key=lambda row: row["BotName"], reverse=True) == [
        {
            "GroupLabel": "2026-03-03 11",
            "BotName": "Shop bot",
            "ChannelName": "WhatsApp",
            "EventLabel": "Incoming Message",
            "Value": 1,
        },
        {
            "GroupLabel": "2026-03-03 11",
            "BotName": 'Größe "XL" 👟',
            "ChannelName": "Web",
            "EventLabel": "Incoming Message",
            "Value": 1,
        },
    ]


def test_an_open_hour_grows_and_may_be_revised(client: Client) -> None:
    found = []
    client.hear()
    (late,) = client.traffic.add(Kind.MESSAGE_RECEIVED, START_MS, visible_ms=START_MS + 60_000)
    client.traffic.retract([late], START_MS + 120_000)
    for _ in range(3):
        found.append(client.rows()[0]["Value"])
        client.clock.step(60_000)

    assert found == [1, 2, 1]


def test_users_count_once_in_each_group(client: Client) -> None:
    for at_ms in (START_MS, START_MS - HOUR_MS):
        client.hear(at_ms, user="u1")
        client.hear(at_ms, user="u1")

    assert [row["Value"] for row in client.rows("2", "hour")] == [1, 1]
    assert [row["Value"] for row in client.rows("2", "day")] == [1]


def test_averages_are_fractions(client: Client) -> None:
    client.traffic.add(Kind.CONVERSATION_STARTED, START_MS, count=3)
    client.traffic.add(Kind.HANDOVER, START_MS)

    (row,) = client.rows("10")

    assert row["Value"] == 33.33


@pytest.mark.parametrize(
    ("mode", "options", "key", "value"),
    [
        ("value_key", {"key": "Total"}, "Total", 1),
        ("second_number", {}, "Previous", 2),
        ("lower_keys", {}, "grouplabel", "2026-03-03 11"),
        ("codes_as_events", {}, "EventLabel", "13"),
        ("shouted_events", {}, "EventLabel", "INCOMINGMESSAGE"),
        ("label", {"hour": "%d/%m/%Y %H:%M"}, "GroupLabel", "03/03/2026 11:00"),
        ("label", {"hour": "epoch"}, "GroupLabel", 1772535600),
        ("zone", {"of": "Asia/Tokyo"}, "GroupLabel", "2026-03-03 20"),
        ("zone", {"of": "Asia/Kolkata"}, "GroupLabel", "2026-03-03 16"),
    ],
)
def test_what_is_not_documented_can_be_otherwise(
    client: Client, mode: str, options: dict[str, Any], key: str, value: Any
) -> None:
    client.hear()
    client.service.faults.on(mode, **options)

    (row,) = client.rows()

    assert row[key] == value


def test_bots_can_have_one_name(client: Client) -> None:
    client.hear()
    client.hear(bot=BOTS[1].key)
    client.service.faults.on("same_names")

    assert {row["BotName"] for row in client.rows()} == {"Shop bot"}


def test_an_event_nobody_asked_for_can_come(client: Client) -> None:
    client.traffic.add(Kind.SEARCH, START_MS)
    client.service.faults.on("tag_hits")

    assert [row["EventLabel"] for row in client.rows()] == ["Tag Hit"]


def test_empty_groups_can_be_filled(client: Client) -> None:
    client.hear()
    client.service.faults.on("zero_filled")

    rows = client.rows("13", "hour", 2)

    assert (len(rows), sum(row["Value"] for row in rows)) == (24 + 12, 1)


@pytest.mark.parametrize(("mode", "hours"), [(None, 35), ("rolling_days", 48)])
def test_days_are_today_and_before_or_of_24_hours(
    client: Client, mode: str | None, hours: int
) -> None:
    for hour in range(60):
        client.hear(START_MS - hour * HOUR_MS - 1)
    if mode:
        client.service.faults.on(mode)

    assert sum(row["Value"] for row in client.rows("13", "day", 2)) == hours + (mode is None)


def test_the_first_of_rolling_hours_is_cut(client: Client) -> None:
    first = START_MS - 24 * HOUR_MS
    client.hear(first - 1)
    client.hear(first + 1)
    client.service.faults.on("rolling_days")

    assert [row["Value"] for row in client.rows("13", "hour", 1)] == [1]


def test_keys_are_not_remembered(client: Client) -> None:
    client.get(f"{BASE}/{BOTS[0].key}/13/hour/1")

    told = repr(client.service.requests)
    assert not any(secret in told for secret in (ACCOUNT_KEY, BOTS[0].key, client.token))
