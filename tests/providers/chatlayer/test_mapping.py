"""What Chatlayer's answers become, row by row."""

import hashlib
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest

from exporter.errors import SchemaError, Truncated
from exporter.model.query import LabelRule
from exporter.model.samples import HOUR_MS, Event, Reading, Window
from exporter.providers.base.options import MappedFamily
from exporter.providers.base.times import parse_instant
from exporter.providers.chatlayer import mapping
from exporter.providers.chatlayer.mapping import (
    Definition,
    EventMapper,
    EventPage,
    EventRules,
    NamedSeries,
    SeriesData,
    SeriesResponse,
    TrackingEvent,
    decode_page,
    read_series,
    snake_case,
)
from tests.providers.vendor import collected

NINE = 1_740_819_600_000  # 2025-03-01T09:00:00Z
WINDOW = Window(NINE, NINE + 3 * HOUR_MS)
EXAMPLE = {
    "id": "0b6a3e0e-5b7e-4a1c-9a55-0f2f3b1c7d10",
    "event": "order_status_checked",
    "bot_id": "b7x2k9",
    "version": "LIVE",
    "user_id": "u_81",
    "channel_id": "64f0aa",
    "channel_type": "web",
    "conversation_id": "web_u_81",
    "attributes": {"flow": "orders", "step_name": "ask_number"},
    "timestamp": "2025-03-01T09:12:44.120Z",
}
LIVE = EventRules("b7x2k9", "LIVE")
BASE = ("b7x2k9", "live")


def page_of(body: bytes) -> tuple[EventPage, dict[str, int]]:
    """Return a page, and the drift in it."""
    drift: Counter[str] = Counter()
    return decode_page(body, "GET /stream", drift), dict(drift)


def mapped(
    *changes: dict[str, Any], window: Window = WINDOW, scope: EventRules = LIVE, **rules: Any
) -> tuple[list[Event], Counter[str]]:
    body = msgspec.json.encode([EXAMPLE | each for each in changes])
    rows = msgspec.json.decode(body, type=list[TrackingEvent])
    drift: Counter[str] = Counter()
    return EventMapper(replace(scope, **rules)).events(rows, window, drift), +drift


def test_an_event_adds_one_to_its_name_and_is_dated_by_its_own_time() -> None:
    (event,), drift = mapped({})

    assert event.counts == (
        ("chatbot_events_total", ("b7x2k9", "live", "web", "order_status_checked")),
    )
    assert event.at_ms == NINE + 12 * 60_000 + 44_120
    assert len(event.digest) == 16
    assert drift == {}


def test_a_mapped_event_adds_to_its_family_and_one_that_is_not_allowed_to_other() -> None:
    goal = MappedFamily(family="chatbot_goals_reached_total", labels={"goal": "order"})

    only = {"event": LabelRule({}, frozenset({"handover"}))}

    (event,), _ = mapped({}, event_map={"order_status_checked": goal}, label_rules=only)

    assert event.counts == (
        ("chatbot_events_total", ("b7x2k9", "live", "web", "other")),
        ("chatbot_goals_reached_total", ("b7x2k9", "live", "web", "order")),
    )


def test_identity_is_bot_version_and_id_and_nothing_else() -> None:
    (one, two, three), _ = mapped({}, {"user_id": "u_9"}, {"id": "another"})
    (draft,), _ = mapped({"version": "DRAFT"}, scope=EventRules("b7x2k9", "DRAFT"))

    assert one.digest == two.digest
    assert one.content != two.content
    assert len({one.digest, three.digest, draft.digest}) == 3


def test_an_identity_is_the_digest_that_ledgers_already_hold() -> None:
    (event, bare), _ = mapped({"id": "e-1"}, {"id": None})

    assert event.digest == hashlib.blake2b(b"b7x2k9\0LIVE\0e-1", digest_size=16).digest()
    assert bare.digest.hex() == "6bcfc18c8da3b8138359ac498b33c7b4"


def test_without_an_id_all_that_is_said_is_the_identity_in_whatever_order() -> None:
    bare = {"id": ""}
    attributes = {"step_name": "ask_number", "flow": "orders"}

    events, _ = mapped(bare, bare | {"attributes": attributes}, bare | {"user_id": "u_9"})

    assert events[0].digest == events[1].digest
    assert events[0].digest != events[2].digest


def test_only_active_names_mark_users_and_conversations() -> None:
    (quiet,), _ = mapped({}, active=frozenset({"handover"}))
    (loud,), _ = mapped({}, active=frozenset({"order_status_checked"}))

    assert (quiet.place, quiet.user, quiet.conversation) == (None, "", "")
    assert loud.place == ("b7x2k9", "live", "web")
    assert (loud.user, loud.conversation) == ("u_81", "web_u_81")


def test_events_outside_the_window_are_left_out_at_both_edges() -> None:
    times = ["08:59:59.999Z", "09:00:00Z", "11:59:59.999999999Z", "12:00:00Z"]

    events, _ = mapped(*({"timestamp": f"2025-03-01T{each}"} for each in times))

    assert [event.at_ms for event in events] == [NINE, NINE + 3 * HOUR_MS - 1]


def test_an_event_without_its_fraction_is_kept_where_its_second_is_cut() -> None:
    whole = {"timestamp": "2025-03-01T09:00:00Z"}

    same_second, _ = mapped(whole, window=Window(NINE + 330, NINE + 331))
    next_second, _ = mapped(whole, window=Window(NINE + 1000, NINE + 1001))

    assert [event.at_ms for event in same_second] == [NINE]
    assert next_second == []


@pytest.mark.parametrize(
    ("timestamp", "kind", "minutes"),
    [
        ("", "missing", None),
        (None, "missing", None),
        ("today", "unexpected_type", None),
        ("2025-03-01T08:59:00", "unexpected_type", None),
        ("2025-03-01T09:12:00", "unexpected_type", 12),  # in UTC
    ],
)
def test_a_time_that_cannot_be_read_is_drift(
    timestamp: str | None, kind: str, minutes: int | None
) -> None:
    events, drift = mapped({"timestamp": timestamp})

    expected = [] if minutes is None else [NINE + minutes * 60_000]
    assert ([event.at_ms for event in events], drift) == (expected, {kind: 1})


def test_a_team_event_is_its_own_bots_and_versions_unless_that_is_counted_already() -> None:
    covered = frozenset({("b7x2k9", "LIVE")})

    events, _ = mapped({}, {"version": "DRAFT", "bot_id": "b2"}, scope=EventRules(covered=covered))

    assert [event.counts[0][1][:2] for event in events] == [("b2", "draft")]


@pytest.mark.parametrize(
    ("lacking", "counted"),
    [
        ({"version": ""}, []),
        ({"bot_id": None}, []),
        ({"version": None, "bot_id": ""}, []),
        ({"version": "", "bot_id": "b2"}, [("b2", "")]),
        ({"version": "DRAFT", "bot_id": ""}, [("", "draft")]),
    ],
)
def test_a_team_event_that_may_be_a_covered_bots_is_left_out_as_drift(
    lacking: dict[str, Any], counted: list[tuple[str, str]]
) -> None:
    covered = frozenset({("b7x2k9", "LIVE"), ("b9", "LIVE")})

    events, drift = mapped(lacking, scope=EventRules(covered=covered))

    assert [event.counts[0][1][:2] for event in events] == counted
    assert drift == ({} if counted else {"missing": 1})


def test_everything_but_a_time_may_be_left_out() -> None:
    page, drift = page_of(b'{"events": [{"timestamp": "2025-03-01T09:00:00Z"}]}')

    assert [event.timestamp for event in page.events or ()] == ["2025-03-01T09:00:00Z"]
    assert drift == {}
    assert page_of(b"{}") == (EventPage(), {})


def test_camel_case_is_read_as_well() -> None:
    page, _ = page_of(b'{"events": [{"id": "1", "botId": "b"}], "nextPageToken": "t"}')

    assert page.next_page_token == "t"
    assert [event.bot_id for event in page.events or ()] == ["b"]


@pytest.mark.parametrize(
    "body",
    [b"[]", b'{"events": {}}', b"<html>", b'{"code": 14, "message": "connect", "details": []}'],
)
def test_a_page_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(SchemaError):
        page_of(body)


@pytest.mark.parametrize(
    ("event", "read"),
    [
        (b'{"id": 12, "user_id": 77, "channel_id": 9}', [("12", "77", "")]),
        (b'{"id": "1", "event": {"name": "x"}, "user_id": "u"}', [("1", "u", "")]),
        (b'{"id": "1", "timestamp": {"seconds": 1}, "userId": 5}', [("1", "5", "")]),
        (b'{"id": "1", "version": false, "event": 5}', [("1", "", "5")]),
        (b"null", []),
        (b'"text"', []),
        (b"[1]", []),
    ],
)
def test_an_event_of_another_form_stops_no_other(
    event: bytes, read: list[tuple[str, str, str]]
) -> None:
    page, drift = page_of(b'{"events": [%b, {"id": "2", "attributes": {"n": 5}}]}' % event)

    found = [(each.id, each.user_id, each.event) for each in page.events or ()]
    assert found == [*read, ("2", "", "")]
    assert drift["unexpected_type"] >= 1


@pytest.mark.parametrize("digits", ["", ".1", ".120", ".120000", ".120000000"])
def test_fractions_of_any_length_are_read(digits: str) -> None:
    assert parse_instant(f"2025-03-01T09:00:00{digits}Z") // 1000 == NINE // 1000


def answer(drift: int = 0, **data: Any) -> list[NamedSeries]:
    found: Counter[str] = Counter()
    read = msgspec.convert({"data": data}, SeriesResponse)
    named = read_series(read.data, WINDOW, HOUR_MS, WINDOW, found)
    assert found == ({"unexpected_type": drift} if drift else {})
    return named


def of_messages(found: list[NamedSeries], received: list[str] | None = None) -> Reading:
    collect = partial(mapping.collect_messages, base=BASE, received=received)
    return collected(collect, found, WINDOW)


def kinds(*names: str, value: int = 5) -> list[NamedSeries]:
    return [NamedSeries({"type": name}, name, {NINE: value}) for name in names]


X = ["2025-03-01T09:00:00Z", "2025-03-01T10:00:00Z", "2025-03-01T11:00:00Z"]


@pytest.mark.parametrize(
    ("x_values", "drift"),
    [
        (X, 0),
        ([], 0),
        (["1740819600", "1740823200", "1740826800"], 0),
        ([1740819600000, 1740823200000, 1740826800000], 0),
        ([1740819600.0, 1740823200.0, 1740826800.0], 0),
        (["1740819600.0", "1.7408232e9", " 1740826800 "], 0),
        (["1e400", "1740823200", "1740826800"], 1),
        (["09", "10", "11"], 1),  # of another time: counted from the start
        ([0, 1, 2], 1),
        (["2025030109", "2025030110", "2025030111"], 1),
        (["2025-03-01"] * 3, 1),
        (["9" * 5000] * 3, 1),
        (["2025-03-01T11:00:00", "2025-03-01T12:00:00", "2025-03-01T13:00:00"], 1),
        (["2025-03-01T04:00:00", "2025-03-01T05:00:00", "2025-03-01T06:00:00"], 1),
        (["2025-03-01T08:00:00Z", *X, "2025-03-01T12:00:00Z"], 1),
    ],
)
def test_x_values_lose_nothing_whatever_their_form(x_values: list[Any], drift: int) -> None:
    values = [4, 0, 7] if len(x_values) < 5 else [9, 4, 0, 7, 9]  # two were not asked for

    (read,) = answer(drift, series=[{"values": values}], x_values=x_values)

    assert read.values == {NINE: 4, NINE + HOUR_MS: 0, NINE + 2 * HOUR_MS: 7}


@pytest.mark.parametrize("seconds", [1740823200, 1740823200.0, "1740823200.0", "1.7408232e9"])
def test_buckets_that_are_listed_as_numbers_keep_their_places(seconds: Any) -> None:
    (read,) = answer(series=[{"values": [7]}], x_values=[seconds])

    assert read.values == {NINE + HOUR_MS: 7}


@pytest.mark.parametrize(
    "data",
    [
        {"series": [{"values": [1, 2, 3], "labels": {"channel_type": "web"}}]},
        {"series": [{"values": [1, 2, 3]}], "series_labels": ["web"]},
    ],
)
def test_labels_are_in_the_series_or_beside_it(data: dict[str, Any]) -> None:
    (read,) = answer(**data)

    assert (read.name, read.label("channel_type")) == ("web", "web")


def test_more_values_than_buckets_are_refused() -> None:
    with pytest.raises(SchemaError, match="more values"):
        answer(series=[{"values": [1, 2]}], x_values=X[:1])


@pytest.mark.parametrize("values", [[1], []])
def test_fewer_values_than_buckets_are_an_incomplete_read(values: list[int]) -> None:
    with pytest.raises(Truncated, match="fewer values"):
        answer(series=[{"values": values}], x_values=X)
    with pytest.raises(Truncated, match="fewer values"):
        answer(series=[{"values": [5]}])


def test_where_buckets_are_not_listed_the_open_one_and_series_without_counts_may_be_left_out() -> (
    None
):
    found = answer(series=[{"values": [12, 3]}, {}])

    assert [each.values for each in found] == [{NINE: 12, NINE + HOUR_MS: 3}, {}]
    assert answer() == []


def test_zeros_that_begin_later_than_asked_for_are_drift() -> None:
    found: Counter[str] = Counter()
    for values in ([0, 7], ["0", "7"], [4, 7], ["4", "7"]):
        data = msgspec.convert({"series": [{"values": values}], "x_values": X[1:]}, SeriesData)
        read_series(data, WINDOW, HOUR_MS, WINDOW, found)

    assert found == {"missing": 2}


@pytest.mark.parametrize(
    "body",
    [
        b'{"code": 14, "message": "upstream connect error", "details": []}',
        b'{"error": {"code": 3}}',
        b'{"result": {"data": {}}}',
    ],
)
def test_an_error_with_200_is_no_answer_without_data(body: bytes) -> None:
    with pytest.raises(SchemaError, match="no known field"):
        snake_case(body)


@pytest.mark.parametrize("body", [b"{}", b'{"data": {}}', b'{"events": null}', b"<html>"])
def test_an_answer_may_be_empty(body: bytes) -> None:
    assert snake_case(body) == body


@pytest.mark.parametrize("name", ["total", "Total", "all", "total_messages", "messages total"])
def test_a_total_beside_its_parts_is_left_out(name: str) -> None:
    found = kinds("understood", "click") + kinds(name, value=10)

    reading = of_messages(found)

    assert {(family, labels): value for (family, labels), _, value in reading.counts} == {
        ("chatbot_chatlayer_messages_total", (*BASE, "", "understood")): 5,
        ("chatbot_chatlayer_messages_total", (*BASE, "", "click")): 5,
        ("chatbot_messages_received_total", (*BASE, "")): 10,
    }


@pytest.mark.parametrize(
    ("names", "received", "total"),
    [
        (["understood", "bot", "click"], ["understood", "click"], 10),
        (["understood", "bot", "click"], None, 15),
        (["total"], None, 5),
    ],
)
def test_received_kinds_say_what_adds_up(
    names: list[str], received: list[str] | None, total: int
) -> None:
    reading = of_messages(kinds(*names), received)

    assert [value for (family, _), _, value in reading.counts if "received" in family] == [total]


def test_users_are_shown_by_kind_and_their_total_as_active_users() -> None:
    found = kinds("new", "returning", value=2) + kinds("total", value=4)

    reading = collected(partial(mapping.collect_users, base=BASE), found, WINDOW)

    assert {row.series: row.value for row in reading.buckets} == {
        ("chatbot_chatlayer_users", (*BASE, "new", "hour")): 2,
        ("chatbot_chatlayer_users", (*BASE, "returning", "hour")): 2,
        ("chatbot_chatlayer_users", (*BASE, "total", "hour")): 4,
        ("chatbot_active_users", (*BASE, "", "hour")): 4,
    }


@pytest.mark.parametrize(("names", "total"), [(("whatever",), 1), (("new", "returning"), 0)])
def test_active_users_need_one_series_or_a_total(names: tuple[str, ...], total: int) -> None:
    reading = collected(partial(mapping.collect_users, base=BASE), kinds(*names), WINDOW)

    assert sum(row.series[0] == "chatbot_active_users" for row in reading.buckets) == total


def test_conversations_have_their_channel_and_an_empty_one_stays_empty() -> None:
    found = [NamedSeries({"channel_type": name}, name, {NINE: 3}) for name in ("web", "")]

    reading = collected(partial(mapping.collect_conversations, base=BASE), found, WINDOW)

    assert [labels[2] for (_, labels), _, _ in reading.counts] == ["web", ""]


def test_campaigns_are_counted_by_bot_id_and_source() -> None:
    labels = {"bot_id": "b7x2k9", "campaign_id": "spring24", "campaign_source": "mail"}

    reading = collected(
        mapping.collect_campaigns,
        [NamedSeries({}, "total", {NINE: 3}), NamedSeries(labels, "1", {NINE: 3})],
        WINDOW,
        label_rules={"project": LabelRule({"b7x2k9": "care"})},
    )

    assert reading.counts == [
        (
            ("chatbot_chatlayer_campaign_conversations_total", ("care", "spring24", "mail")),
            NINE,
            3,
        )
    ]


def test_volumes_of_names_that_are_not_allowed_are_added_up() -> None:
    found = [Definition("handover", 7), Definition("a", "3"), Definition("b", 2), Definition("c")]
    rules = {"event": LabelRule({}, frozenset({"handover"}))}

    reading = collected(
        partial(mapping.collect_definitions, bot="b7x2k9"), found, WINDOW, label_rules=rules
    )

    assert {row.series[1][2]: row.value for row in reading.lists} == {"handover": 7, "other": 5}


@pytest.mark.parametrize("half", [b"s\xe9", b"s\\ud83d"], ids=["of UTF-8", "of UTF-16"])
def test_half_a_character_beside_another_type_than_text_is_read(half: bytes) -> None:
    body = b'{"events":[{"id":5,"event":"a"},{"id":"6","event":"%b"}]}' % half

    drift: Counter[str] = Counter()

    page = decode_page(body, "GET /events", drift)

    assert [each.event for each in page.events or ()] == ["a", "s\ufffd"]
    assert drift == {"unexpected_type": 1}


@pytest.mark.parametrize(
    ("written", "digest"),
    [
        (b'"user_id":true', '"True"'),
        (b'"channel_id":2.50', '"2.5"'),
        (b'"attributes":{"n":1e400}', "{}"),
        (b'"attributes":{"a":"s\xe9"}', '{"a":"s\ufffd"}'),
    ],
)
def test_what_an_event_without_an_id_says_never_changes(written: bytes, digest: str) -> None:
    """Ledgers hold its digest: another spelling of the same event would count it again."""
    alone, beside = (
        decode_page(b'{"events":[{"event":"a",%b}%b]}' % (written, other), "x", Counter())
        for other in (b"", b',{"id":5}')
    )
    one, same = ((page.events or [TrackingEvent()])[0] for page in (alone, beside))

    said = mapping._canonical(one, "B1", "LIVE")

    assert said == mapping._canonical(same, "B1", "LIVE")
    assert digest.encode() in said
