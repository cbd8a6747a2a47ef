"""A Xenioo target asks once an hour, as documented, and waits out whatever refuses it."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from exporter.config.secret import Secret
from exporter.errors import ProviderError, Refused, SchemaError, Throttled, Unauthorized
from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Window, floor_to
from exporter.providers.base.plugin import Target
from exporter.providers.xenioo.provider import XeniooOptions, account_name, certain_ms, days_for
from exporter.simulator.conversations import Kind
from exporter.simulator.xenioo import ACCOUNT_KEY
from tests.providers.vendor import build_target, options_of, read
from tests.providers.xenioo.account import WINDOW, Account, is_statistics, read_once
from tests.support.driver import shown_by
from tests.support.virtual import START_MS

Vendor = Callable[[httpx.Request], httpx.Response]
RECEIVED = "chatbot_messages_received_total"
MESSAGES = "chatbot_xenioo_messages_total"
SENT = "chatbot_messages_sent_total"
HOUR = floor_to(START_MS, HOUR_MS)


PLAIN = {
    "name": "agency",
    "provider": "xenioo",
    "account_key": ACCOUNT_KEY,
    "service_url": "https://node.example.com/",
}


def options(**keys: Any) -> XeniooOptions:
    found: XeniooOptions = options_of(**{**PLAIN, **keys})
    return found


def target(**keys: Any) -> Target:
    return build_target(**{**PLAIN, **keys})


def token_and(rows: Any) -> Vendor:
    def vendor(request: httpx.Request) -> httpx.Response:
        is_token = request.method == "POST"
        return httpx.Response(200, json={"token": "t1", "expires": 60} if is_token else rows)

    return vendor


def ask_all(vendor: Vendor, **keys: Any) -> list[httpx.Request]:
    """Read once and return the requests that left."""
    seen: list[httpx.Request] = []

    def noted(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return vendor(request)

    built, request = target(**keys), PollRequest(WINDOW, START_MS)
    assert read(built, built.queries[0], httpx.MockTransport(noted), request)
    return seen


def test_the_two_calls_are_those_of_the_documentation() -> None:
    token, statistics = ask_all(token_and([]))

    assert (token.method, str(token.url)) == (
        "POST",
        "https://node.example.com/authorization/integration",
    )
    assert json.loads(token.content) == {"AccountAPIKey": ACCOUNT_KEY}
    assert "authorization" not in token.headers
    assert statistics.url.host == "publicapi.xenioo.com"
    assert statistics.headers["authorization"] == "Bearer t1"
    assert statistics.headers["content-type"] == "application/json"
    types = b"0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"  # they leave as they are, as the star
    assert statistics.url.raw_path == b"/analytics/statistics/account/*/" + types + b"/hour/3"
    _, odd = ask_all(token_and([]), bot="a/b ?*")
    assert odd.url.raw_path.startswith(b"/analytics/statistics/account/a%2Fb%20%3F*/0,")


@pytest.mark.parametrize(
    "reply",
    [
        {"token": "t1", "expires": 60},
        {"token": "t1", "expire": 60},
        {"Token": "t1", "Expires": 60},
        {"token": "t1"},
        {"token": "t1", "expires": 10**400},
    ],
)
def test_every_spelling_of_the_token_is_read(reply: dict[str, Any]) -> None:
    def vendor(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=reply if request.method == "POST" else [])

    assert ask_all(vendor)[1].headers["authorization"] == "Bearer t1"


@pytest.mark.parametrize("reply", [{}, {"token": ""}, {"token": 5}, {"token": "a\nb"}])
def test_a_reply_without_a_token_is_a_fault(reply: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="token: missing"):
        ask_all(lambda _request: httpx.Response(200, json=reply))


@pytest.mark.parametrize(
    ("status", "error"), [(400, Refused), (403, Unauthorized), (404, Unauthorized)]
)
def test_a_refused_token_spends_nothing(
    account: Account, status: int, error: type[ProviderError]
) -> None:
    account.service.faults.on("refused", status=status)

    outcome = account.poll()

    assert outcome == error.reason
    assert not account.statistics
    account.service.faults.off("refused")
    assert account.poll() == "ok"


def test_a_token_is_kept_for_four_fifths_of_its_life(account: Account) -> None:
    account.run(1)
    account.service.faults.on("unthrottled")

    def asked_after(minutes: int) -> int:
        before = len([seen for seen in account.service.requests if seen.method == "POST"])
        account.clock.advance(minutes * 60)
        read_once(account)
        return len([seen for seen in account.service.requests if seen.method == "POST"]) - before

    assert [asked_after(46), asked_after(1), asked_after(1)] == [0, 1, 0]


def test_a_token_that_is_not_accepted_is_renewed_once(account: Account) -> None:
    account.service.faults.on("revoked", times=1, when=is_statistics)

    outcome = account.poll()

    assert outcome == "ok"
    asked = [(seen.method, seen.status) for seen in account.service.requests]
    assert asked == [("POST", 200), ("GET", 401), ("POST", 200), ("GET", 200)]


def test_after_a_refusal_the_next_call_has_a_new_token() -> None:
    asked: list[str] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if request.method == "POST":
            return httpx.Response(200, json={"token": "t", "expires": 3600})
        return httpx.Response(400 if asked.count("GET") == 1 else 200, json=[])

    built, request = target(), PollRequest(WINDOW, START_MS)
    with pytest.raises(Throttled):
        read(built, built.queries[0], httpx.MockTransport(vendor), request)
    assert read(built, built.queries[0], httpx.MockTransport(vendor), request)

    assert asked == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize(
    ("fault", "outcome", "statuses"),
    [("unauthorized", "auth", [401, 401]), ("auth_counts", "throttled", [401, 429])],
)
def test_a_second_refused_token_waits_for_the_next_hour(
    account: Account, fault: str, outcome: str, statuses: list[int]
) -> None:
    if fault == "auth_counts":
        account.service.faults.on("revoked", times=1, when=is_statistics)
    account.service.faults.on(fault, when=is_statistics)

    assert account.poll() == outcome
    account.run(59)

    assert [seen.status for seen in account.statistics] == statuses


def test_targets_of_one_account_share_a_budget_that_does_not_tell_its_key() -> None:
    one, two, other = (
        target(**keys).queries[0].spec.budget
        for keys in ({"name": "a"}, {"name": "b"}, {"account_key": "another-key"})
    )

    assert one is not None
    assert (one, one.period_ms, one.margin_ms) == (two, HOUR_MS, 60_000)
    assert one != other
    assert ACCOUNT_KEY not in one.name
    assert account_name(options().account_key) == one.name


def test_targets_that_name_the_same_key_share_a_budget_even_if_it_cannot_be_read_now() -> None:
    missing, same, other = (
        account_name(Secret.model_construct(env=name, file=None))
        for name in ("XENIOO_KEY_NOT_SET", "XENIOO_KEY_NOT_SET", "XENIOO_OTHER_NOT_SET")
    )

    assert missing == same != other


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 24), ("Asia/Tokyo", 15)])
def test_a_day_of_the_zone_is_read_once_and_only_when_it_has_settled(
    tmp_path: Path, zone: str, hour: int
) -> None:
    account = Account(tmp_path, timezone=zone)
    account.service.faults.on("zone", of=zone)

    account.run(60 * 48)

    days = [seen.at_ms for seen in account.statistics if "/day/" in seen.path]
    midnights = [floor_to(START_MS, DAY_MS) + hour * HOUR_MS + day * DAY_MS for day in range(2)]
    for at_ms, midnight in zip(days[1:], midnights, strict=True):
        assert midnight + HOUR_MS <= at_ms < midnight + 3 * HOUR_MS
    account.driver.close()


def test_a_failed_day_leaves_the_next_call_to_hours(account: Account) -> None:
    account.service.faults.on("server_error", when=lambda call: "/day/" in call.path)

    account.run(60 * 7)

    modes = [mode.split("/")[0] for mode in account.modes]
    assert modes[:6] == ["hour", "day"] * 3


def test_a_day_shows_users_and_averages_and_leaves_counters_alone(account: Account) -> None:
    yesterday = floor_to(START_MS, DAY_MS) - HOUR_MS
    for user in ("u1", "u2", "u1"):
        account.traffic.add(Kind.MESSAGE_RECEIVED, yesterday, user=user, channel="web")
    account.traffic.add(Kind.CONVERSATION_STARTED, yesterday, count=2, channel="web")
    assert account.poll() == "ok"
    account.traffic.add(Kind.MESSAGE_RECEIVED, account.clock.now_ms(), count=4, channel="web")
    assert account.poll() == "ok"
    assert account.modes == ["hour/30", "day/3"]

    shown = account.gauges("chatbot_active_users")
    assert shown == {("Shop bot", "", "Web", "day"): 2}
    assert account.gauges("chatbot_xenioo_conversation_length") == {
        ("Shop bot", "", "Web", "day"): 11.25
    }
    assert account.counter(RECEIVED) == 0
    assert account.poll() == "ok"
    assert account.counter(RECEIVED) == 4
    assert account.gauges("chatbot_active_users")["Shop bot", "", "Web", "day"] == 2


def test_users_of_the_newest_settled_hour_are_shown(account: Account) -> None:
    account.traffic.add(Kind.MESSAGE_RECEIVED, HOUR - HOUR_MS // 2, user="u1", channel="web")
    account.traffic.add(Kind.MESSAGE_RECEIVED, HOUR - 3 * HOUR_MS // 2, user="u2", channel="web")
    account.traffic.add(Kind.MESSAGE_RECEIVED, HOUR - 3 * HOUR_MS // 2, user="u3", channel="web")

    account.poll()

    assert account.gauges("chatbot_active_users") == {("Shop bot", "", "Web", "hour"): 2}


def test_an_outage_is_made_up_for_as_far_as_the_vendor_reaches(account: Account) -> None:
    account.poll()
    began_ms = account.clock.now_ms()
    for day in range(1, 33):
        account.traffic.add(Kind.MESSAGE_RECEIVED, began_ms + day * DAY_MS, channel="web")
    account.clock.advance(33 * DAY_MS / 1000)

    assert account.poll() == "ok"
    account.poll()

    assert account.modes[1] == "hour/30"  # first, since its oldest hours may be gone in an hour
    assert account.modes[2].startswith("day/")
    counted = account.counter(RECEIVED)
    assert 28 <= counted <= 30
    gaps = {name: value for (name, _), value in account.ledger.self_counts().items()}
    lost_days = gaps["chatbot_exporter_coverage_gap_seconds_total"] / 86_400
    assert 3 <= lost_days <= 4.2


def test_days_are_counted_so_that_the_window_is_covered() -> None:
    now = HOUR + 20 * 60_000
    steady = Window(floor_to(now - 2 * DAY_MS, HOUR_MS), HOUR + HOUR_MS)

    assert days_for(steady, now, 2 * DAY_MS) == 3
    assert days_for(Window(now - 5 * DAY_MS, now), now, 2 * DAY_MS) == 7
    assert days_for(Window(now - 29 * DAY_MS, now), now, 2 * DAY_MS) == 30
    assert days_for(steady, now, 7 * DAY_MS) == 8


def test_what_days_surely_cover_is_the_shorter_of_both_meanings() -> None:
    noon = floor_to(START_MS, DAY_MS) + 12 * HOUR_MS

    assert certain_ms(3, noon, "UTC") == noon - 12 * HOUR_MS - 2 * DAY_MS
    assert certain_ms(1, noon, "UTC") == noon - 12 * HOUR_MS


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interval": "59m"}, "one call an hour"),
        ({"interval": "1s"}, "one call an hour"),
        *(
            ({"label_format": each}, "does not tell one hour from all others")
            for each in ("%d.%m.%Y", "%d/%m %H:%M", "%d/%m/%Y %I:%M", "%H %H", "%Q %H")
        ),
        ({"units": {"takeover_rate": "minutes"}}, "percent"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        options(**settings)


@pytest.mark.parametrize("label_format", ["%d/%m/%Y %H:%M", "%Y-%m-%dT%H:%M:%S%z", "%y%j %I%p"])
def test_a_format_that_tells_hours_apart_is_taken(label_format: str) -> None:
    assert options(label_format=label_format).label_format == label_format


def test_a_unit_of_the_settings_reaches_the_rows() -> None:
    rate = {"GroupLabel": "2026-03-03 10", "EventLabel": "Takeover Rate", "Value": 40}
    built, request = target(units={"takeover_rate": "percent"}), PollRequest(WINDOW, START_MS)

    (reading,) = read(built, built.queries[0], httpx.MockTransport(token_and([rate])), request)

    assert [(row.series[0], row.value) for row in reading.buckets] == [
        ("chatbot_takeover_ratio", 0.4)
    ]


def test_settings_that_change_the_meaning_change_the_fingerprint() -> None:
    prints = {
        target(**keys).queries[0].spec.fingerprint
        for keys in (
            *({}, {"bot": "b"}, {"timezone": "Europe/Berlin"}, {"value_field": "Value"}),
            {"messages_are_sent": True},
        )
    }
    same = {
        target(**keys).queries[0].spec.fingerprint
        for keys in ({}, {"interval": "2h"}, {"messages_are_sent": False})
    }

    assert (len(prints), len(same)) == (5, 1)


def test_messages_that_become_sent_ones_count_from_then_on_and_never_twice(tmp_path: Path) -> None:
    account = Account(tmp_path)
    shown: list[tuple[float, float, float]] = []

    def poll(*, messages_are_sent: bool) -> None:
        """Poll under these settings, before and after 5 messages."""
        account.configure(["agency"], messages_are_sent=messages_are_sent)
        account.restart()
        account.run(90)
        account.traffic.add(Kind.MESSAGE_RECEIVED, account.clock.now_ms(), count=5, channel="web")
        account.run(180)
        shown.append((account.counter(RECEIVED), account.counter(MESSAGES), account.counter(SENT)))

    account.traffic.add(Kind.MESSAGE_RECEIVED, HOUR - 20 * HOUR_MS, count=40, channel="web")
    for sent in (False, True, False, True):
        poll(messages_are_sent=sent)

    assert shown == [(5, 5, 0), (10, 10, 5), (15, 15, 0), (20, 20, 10)]  # absent in between
    account.driver.close()


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin"])
def test_periods_and_gauges_are_those_of_the_accounts_zone(tmp_path: Path, zone: str) -> None:
    account = Account(tmp_path, timezone=zone, start="history")
    account.service.faults.on("zone", of=zone)
    # The simulator labels whole UTC hours; these minutes are in the hour of the zone it names.
    happened = [HOUR - h * HOUR_MS + minute * 60_000 for h in range(48) for minute in (2, 5, 8)]
    for at_ms in happened:
        account.traffic.add(Kind.MESSAGE_RECEIVED, at_ms, user="u1", channel="web")

    account.run(150)

    (key,) = account.queries
    ends = shown_by(account.ledger, key).state.periods
    shown = account.gauges("chatbot_period_messages_received")
    assert account.modes == ["hour/30", "day/3", "hour/3"]
    assert {labels[-1] for labels in account.gauges("chatbot_active_users")} == {"hour", "day"}
    for period, length_ms in (("hour", HOUR_MS), ("day", DAY_MS)):
        end = datetime.fromtimestamp(ends[period] / 1000, ZoneInfo(zone))
        assert (end.minute, period == "hour" or end.hour) in {(0, True), (0, 0)}
        inside = [at for at in happened if ends[period] - length_ms <= at < ends[period]]
        assert shown["Shop bot", "", "Web", period] == len(inside) > 0
    account.driver.close()
