"""Xenioo's rows become samples, whatever the vendor left undocumented."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from exporter.errors import SchemaError
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Reading, Window
from exporter.providers.xenioo.mapping import (
    STATISTICS,
    GroupMode,
    RowFormat,
    closed_day,
    day_to_reading,
    day_window,
    hours_to_reading,
)
from exporter.providers.xenioo.provider import PROVIDER
from tests.support.builders import spec

NINE = 1_770_109_200_000  # 2026-02-03T09:00:00Z
NOW = NINE + HOUR_MS // 2
WINDOW = Window(NINE - 3 * HOUR_MS, NINE + HOUR_MS)
DAY = Window(NINE - 9 * HOUR_MS, NINE + 15 * HOUR_MS)
SPEC = spec(target="agency", provider="xenioo", name="statistics", meaning={})
RECEIVED = "chatbot_messages_received_total"


def row(event: str, value: Any, group: Any = "2026-02-03 09", **changes: Any) -> dict[str, Any]:
    plain = {
        "GroupLabel": group,
        "BotName": "Shop bot",
        "ChannelName": "Web",
        "EventLabel": event,
        "Value": value,
    }
    return {key: cell for key, cell in (plain | changes).items() if cell is not ...}


def row_format(mode: GroupMode = "hour", **changes: Any) -> RowFormat:
    return RowFormat(mode, "UTC", **changes)


def read(*rows: dict[str, Any], certain_ms: int = 0, **changes: Any) -> Reading:
    return hours_to_reading(
        rows,
        row_format(**changes),
        SPEC,
        window=WINDOW,
        now_ms=NOW,
        certain_ms=certain_ms,
    )


def test_incoming_messages_are_counted_by_bot_channel_and_hour() -> None:
    reading = read(row("Incoming Message", 42))

    series = (RECEIVED, ("Shop bot", "", "Web"))
    assert list(reading.counts) == [(series, NINE, 42)]
    assert (reading.window, reading.drift, reading.gauges_only) == (WINDOW, {}, False)


@pytest.mark.parametrize(
    ("event", "family"),
    [
        ("New User", "chatbot_new_users_total"),
        ("Messages", "chatbot_xenioo_messages_total"),
        ("Action Messages", "chatbot_xenioo_action_messages_total"),
        ("Fallback Reply", "chatbot_fallbacks_total"),
        ("NLP Detected", "chatbot_nlp_matches_total"),
        ("NLP Missed", "chatbot_nlp_misses_total"),
        ("Goal Reached", "chatbot_goals_reached_total"),
        ("API Request", "chatbot_outbound_api_requests_total"),
        ("API Request Error", "chatbot_outbound_api_request_errors_total"),
        ("Operator Message", "chatbot_operator_messages_sent_total"),
        *((name, RECEIVED) for name in ("incoming message", "INCOMINGMESSAGE", "13", 13)),
    ],
)
def test_each_additive_type_feeds_its_counter_by_name_or_code(event: Any, family: str) -> None:
    reading = read(row(event, 3))

    assert [(series[0], value) for series, _, value in reading.counts] == [(family, 3)]


@pytest.mark.parametrize(
    ("event", "families"),
    [
        ("Messages", {"chatbot_xenioo_messages_total", "chatbot_messages_sent_total"}),
        ("Action Messages", {"chatbot_xenioo_action_messages_total"}),
        ("Incoming Message", {RECEIVED}),
        ("Takeover Rate", set()),
    ],
)
def test_type_3_alone_is_messages_sent_as_well_if_the_settings_say_so(
    event: str, families: set[str]
) -> None:
    reading = read(row(event, 3), messages_are_sent=True)

    counted = [
        (series, NINE, 3) for series in ((name, ("Shop bot", "", "Web")) for name in families)
    ]
    assert sorted(reading.counts) == sorted(counted)


def incoming(value: Any, *group: str, **changes: Any) -> dict[str, Any]:
    return row("Incoming Message", value, *group, **changes)


NO_NUMBER = row("Time To Pick Up", None)
COUNTED: dict[str, tuple[list[dict[str, Any]], str | None, list[int], dict[str, int]]] = {
    "an unknown event is drift": ([row("Tag Hit", 3), incoming(1)], None, [1], {"unknown_enum": 1}),
    "members are found in any case": (
        [{key.lower(): cell for key, cell in incoming(3).items()}],
        None,
        [3],
        {},
    ),
    "the only number": ([incoming(..., Total=3, Trend="up", Live=True)], None, [3], {}),
    "a text without other numbers": (
        [incoming("3"), incoming(4, "2026-02-03 08", BotId="7")],
        None,
        [3, 4],
        {},
    ),
    "the settings choose": ([incoming(3, Previous=2)], "value", [3], {}),
    "no bot or channel": ([incoming(3, BotName=None, ChannelName=...)], None, [3], {"missing": 2}),
    "bots with one name": ([incoming(3), incoming(4)], None, [7], {}),
    "an average of nothing": ([incoming(3), NO_NUMBER], None, [3], {"missing": 1}),
    "an average of nothing, named": ([incoming(3), NO_NUMBER], "Value", [3], {"missing": 1}),
    "hours outside the question": ([incoming(1, "2026-02-03 05"), incoming(2)], None, [2], {}),
    "nothing in the future": ([incoming(0, "2026-02-03 10"), incoming(1)], None, [1], {}),
}


@pytest.mark.parametrize("case", COUNTED)
def test_a_row_counts_as_far_as_it_is_certain(case: str) -> None:
    rows, value_field, values, drift = COUNTED[case]

    reading = read(*rows, value_field=value_field)

    assert [value for _, _, value in reading.counts] == values
    assert (reading.buckets, reading.drift) == ([], drift)
    bare = ("", "", "")
    assert (reading.counts[0][0] == (RECEIVED, bare)) == (case == "no bot or channel")


@pytest.mark.parametrize(
    ("rows", "value_field", "kind", "words"),
    [
        ([incoming(...)], None, "missing", ""),
        ([incoming("many")], None, "missing", ""),
        ([incoming(None)], None, "missing", ""),
        ([row("Time To Pick Up", "n/a")], None, "missing", ""),
        ([incoming("many")], "Value", "unexpected_type", ""),
        ([incoming(4)], "Total", "missing", ""),
        ([incoming(1, GroupLabel=...)], None, "missing", ""),
        ([incoming(1, EventLabel=...)], None, "missing", ""),
        ([row("Nachrichten", 3), row("Neue Nutzer", 1)], None, "unknown_enum", "a known event"),
        ([incoming(3, Previous=2)], None, "", r"\[0\]: 2 numbers \(Previous, Value\); set value_"),
        ([incoming(3, **{"call me on 555 0100": 1})], None, "", ""),
        ([incoming(3), row("Fallback Reply", ..., Total=3)], None, "", "another name"),
        ([incoming(1, "2026-02-03 10")], None, "", "in the future; check timezone"),
    ],
)
def test_an_answer_that_is_not_certain_is_refused_and_not_repeated(
    rows: list[dict[str, Any]], value_field: str | None, kind: str, words: str
) -> None:
    with pytest.raises(SchemaError, match=words or ":") as refused:
        read(*rows, value_field=value_field)

    assert refused.value.kind == (kind or "unexpected_type")
    assert "555" not in str(refused.value)


@pytest.mark.parametrize(
    ("event", "units", "family", "value"),
    [
        ("Conversation Length", {}, "xenioo_conversation_length", 1.5),
        ("Takeover Rate", {}, "xenioo_takeover_rate", 1.5),
        (
            "Conversation Length",
            {"conversation_length": "minutes"},
            "conversation_duration_average_seconds",
            90,
        ),
        ("Time To Pick Up", {"time_to_pick_up": "seconds"}, "time_to_pick_up_average_seconds", 1.5),
        (
            "Support Conversation Length",
            {"support_conversation_length": "hours"},
            "support_conversation_duration_average_seconds",
            5400,
        ),
        (
            "Time To First Message",
            {"time_to_first_message": "milliseconds"},
            "time_to_first_message_average_seconds",
            0.0015,
        ),
        ("Takeover Rate", {"takeover_rate": "percent"}, "takeover_ratio", 0.015),
        ("Takeover Rate", {"takeover_rate": "ratio"}, "takeover_ratio", 1.5),
    ],
)
def test_an_average_is_raw_until_its_unit_is_known(
    event: str, units: dict[str, str], family: str, value: float
) -> None:
    reading = read(row(event, 1.5), units=units)

    series = (f"chatbot_{family}", ("Shop bot", "", "Web", "hour"))
    assert [(one.series, one.value) for one in reading.buckets] == [(series, value)]


@pytest.mark.parametrize("event", ["Takeover Rate", "Active User"])
def test_what_cannot_be_merged_is_dropped_for_bots_with_one_name(event: str) -> None:
    reading = read(row(event, 3), row(event, 4), row(event, 5), row(event, 6, ChannelName="Chat"))

    assert [value.series[1][2] for value in reading.buckets] == ["Chat"]
    assert reading.drift == {"unexpected_type": 2}


def test_users_of_an_hour_are_gauges() -> None:
    reading = read(row("Active User", 5), row("Returning User", 2))

    hour = Window(NINE, NINE + HOUR_MS)
    labels = ("Shop bot", "", "Web", "hour")
    assert list(reading.buckets) == [
        GaugeRow(("chatbot_active_users", labels), hour, 5),
        GaugeRow(("chatbot_returning_users", labels), hour, 2),
    ]
    assert not reading.counts


def test_hours_before_what_surely_was_covered_are_left_out() -> None:
    reading = read(
        row("Incoming Message", 1, "2026-02-03 06"),
        row("Incoming Message", 2, "2026-02-03 07"),
        certain_ms=NINE,
    )

    assert reading.window == Window(NINE - 2 * HOUR_MS, WINDOW.end_ms)
    assert [(at_ms, value) for _, at_ms, value in reading.counts] == [(NINE - 2 * HOUR_MS, 2)]


def test_without_rows_only_what_surely_was_covered_is_zero() -> None:
    assert read(certain_ms=NINE - 1).window == Window(NINE, WINDOW.end_ms)


def test_a_day_speaks_of_users_and_averages_and_of_no_counts() -> None:
    rows = [
        row("Incoming Message", 90, "2026-02-03"),
        row("Active User", 5, "2026-02-03"),
        row("Active User", 4, "2026-02-02"),
        row("Takeover Rate", 40, "2026-02-03"),
    ]

    reading = day_to_reading(
        rows,
        row_format("day"),
        SPEC,
        day=DAY,
        now_ms=DAY.end_ms + HOUR_MS,
    )

    labels = ("Shop bot", "", "Web", "day")
    assert (reading.gauges_only, reading.daily, reading.window) == (True, True, DAY)
    assert not reading.counts
    assert list(reading.buckets) == [
        GaugeRow(("chatbot_active_users", labels), DAY, 5),
        GaugeRow(("chatbot_xenioo_takeover_rate", labels), DAY, 40),
    ]


def test_a_day_of_an_unfinished_answer_is_another_day() -> None:
    rows = [row("Active User", 5, "2026-02-03")]
    yesterday = Window(DAY.start_ms - DAY_MS, DAY.start_ms)

    reading = day_to_reading(rows, row_format("day"), SPEC, day=yesterday, now_ms=NOW)

    assert not reading.buckets


def test_the_registry_knows_every_family_that_is_fed() -> None:
    fed = {each.family for each in STATISTICS}
    fed |= {each.normalized for each in STATISTICS if each.normalized}

    assert {family.name for family in fed - {*PROVIDER.families}} == PROVIDER.feeds
    assert {*PROVIDER.families} <= fed


HOUR = Window(NINE, NINE + HOUR_MS)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "label",
    [
        "2026-02-03 09",
        " 2026-02-03 09 ",
        "2026-02-03T09",
        "2026-02-03T09:00:00",
        "2026-02-03 09:00:00.000",
        "2026-02-03T09:00:00Z",
        "2026-02-03T10:00:00+01:00",
        "2026020309",
        "202602030900",
        2026020309,
        "1770109200",
        1770109200,
        1770109200000,
    ],
)
def test_an_hour_is_read_in_every_usual_form(label: str | int) -> None:
    assert RowFormat("hour", "UTC").window(label, "here") == HOUR


@pytest.mark.parametrize("label", ["2026-02-03", "20260203", "2026-02-03T00:00:00", 1770076800])
def test_a_day_is_read_in_every_usual_form(label: str | int) -> None:
    assert RowFormat("day", "UTC").window(label, "here") == day_window(date(2026, 2, 3), "UTC")


@pytest.mark.parametrize(
    "label",
    [
        *("2026-02-03", "20260203", "2026-02", "2026", "02/03/2026 09:00", "9 AM", ""),
        *("2026-02-03 09:30", "2026-02-03T09:07:00Z", "2026-02-03T14:00:00+05:30"),
        *("9999-12-31T23:00:00-05:00", None, True, 3.5, ["2026"], "Ada Lovelace"),
    ],
)
def test_an_hour_that_is_not_certain_is_an_error_without_its_label(label: object) -> None:
    with pytest.raises(SchemaError, match="here: ") as refused:
        RowFormat("hour", "UTC").window(label, "here")

    assert "Ada" not in str(refused.value)


@pytest.mark.parametrize("label", ["2026-02-03 12", "9999-12-31"])
def test_a_day_that_begins_at_noon_or_has_no_end_is_an_error(label: str) -> None:
    with pytest.raises(SchemaError, match="whole day"):
        RowFormat("day", "UTC").window(label, "here")


def test_a_configured_form_is_tried_first() -> None:
    groups = RowFormat("hour", "UTC", "%d/%m/%Y %H:%M")

    assert groups.window("03/02/2026 09:00", "here") == HOUR
    assert groups.window("2026-02-03 09", "here") == HOUR


@pytest.mark.parametrize(
    ("zone", "label", "start", "end"),
    [
        ("Europe/Berlin", "2026-02-03 10", "2026-02-03T09", "2026-02-03T10"),
        ("Asia/Kolkata", "2026-02-03 15", "2026-02-03T09:30", "2026-02-03T10:30"),
        ("Europe/Berlin", "2026-03-29 01", "2026-03-29T00", "2026-03-29T01"),
        ("Europe/Berlin", "2026-03-29 03", "2026-03-29T01", "2026-03-29T02"),
        ("Europe/Berlin", "2026-10-25 01", "2026-10-24T23", "2026-10-25T00"),
        ("Europe/Berlin", "2026-10-25 02", "2026-10-25T00", "2026-10-25T02"),  # comes twice
        ("Europe/Berlin", "2026-10-25 03", "2026-10-25T02", "2026-10-25T03"),
    ],
)
def test_an_hour_is_the_zones_also_where_its_clock_changes(
    zone: str, label: str, start: str, end: str
) -> None:
    assert RowFormat("hour", zone).window(label, "") == Window(ms(start), ms(end))


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 7, 1), 24)]
)
def test_a_local_day_has_as_many_hours_as_it_has(day: date, hours: int) -> None:
    assert day_window(day, "Europe/Berlin").length_ms == hours * HOUR_MS


def test_the_newest_closed_day_is_the_zones() -> None:
    assert closed_day(ms("2026-02-03T22:59"), "Europe/Berlin") == date(2026, 2, 2)
    assert closed_day(ms("2026-02-03T23:00"), "Europe/Berlin") == date(2026, 2, 3)
