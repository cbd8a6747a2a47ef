"""Xenioo's rows become samples, whatever the vendor left undocumented."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from exporter.errors import SchemaError
from exporter.model.query import QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Reading, Window
from exporter.providers.xenioo.mapping import (
    STATISTICS,
    GroupLabels,
    GroupMode,
    RowFormat,
    closed_day,
    day_to_reading,
    day_window,
    hours_to_reading,
)
from exporter.providers.xenioo.provider import PROVIDER

NINE = 1_770_109_200_000  # 2026-02-03T09:00:00Z
NOW = NINE + HOUR_MS // 2
WINDOW = Window(NINE - 3 * HOUR_MS, NINE + HOUR_MS)
DAY = Window(NINE - 9 * HOUR_MS, NINE + 15 * HOUR_MS)
SPEC = QuerySpec("agency", "xenioo", "statistics", {})
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
    return RowFormat(GroupLabels(mode, "UTC"), **changes)


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
    ],
)
def test_each_additive_type_feeds_its_counter(event: str, family: str) -> None:
    reading = read(row(event, 3))

    assert [(series[0], value) for series, _, value in reading.counts] == [(family, 3)]


@pytest.mark.parametrize("event", ["incoming message", "INCOMINGMESSAGE", "13", 13])
def test_an_event_is_known_by_name_or_code(event: Any) -> None:
    assert read(row(event, 3)).counts[0][0][0] == RECEIVED


def test_an_unknown_event_is_drift_and_left_out() -> None:
    reading = read(row("Tag Hit", 3), row("Incoming Message", 1))

    assert [value for _, _, value in reading.counts] == [1]
    assert reading.drift == {"unknown_enum": 1}


def test_an_answer_of_unknown_events_alone_is_refused() -> None:
    with pytest.raises(SchemaError, match="no row has one that is known") as refused:
        read(row("Nachrichten", 3), row("Neue Nutzer", 1))

    assert refused.value.kind == "unknown_enum"


def test_known_members_are_found_whatever_their_case() -> None:
    lower = {key.lower(): cell for key, cell in row("Incoming Message", 3).items()}

    assert [value for _, _, value in read(lower).counts] == [3]


def test_the_number_is_the_only_one_whatever_its_name() -> None:
    reading = read(row("Incoming Message", ..., Total=3, Trend="up", Live=True))

    assert [value for _, _, value in reading.counts] == [3]


def test_a_text_is_the_number_of_a_row_that_has_no_other() -> None:
    reading = read(
        row("Incoming Message", "3"), row("Incoming Message", 4, "2026-02-03 08", BotId="7")
    )

    assert [value for _, _, value in reading.counts] == [3, 4]


def test_between_two_numbers_nothing_is_guessed() -> None:
    with pytest.raises(SchemaError, match=r"\[0\]: 2 numbers \(Previous, Value\); set value_field"):
        read(row("Incoming Message", 3, Previous=2))


def test_the_settings_choose_between_two_numbers() -> None:
    reading = read(row("Incoming Message", 3, Previous=2), value_field="value")

    assert [value for _, _, value in reading.counts] == [3]


def test_a_members_name_that_may_be_text_is_not_repeated() -> None:
    with pytest.raises(SchemaError) as refused:
        read(row("Incoming Message", 3, **{"call me on 555 0100": 1}))

    assert "555" not in str(refused.value)


@pytest.mark.parametrize(
    ("bad", "value_field", "kind"),
    [
        (row("Incoming Message", ...), None, "missing"),
        (row("Incoming Message", "many"), None, "missing"),
        (row("Incoming Message", None), None, "missing"),
        (row("Time To Pick Up", "n/a"), None, "missing"),
        (row("Incoming Message", "many"), "Value", "unexpected_type"),
        (row("Incoming Message", 4), "Total", "missing"),
        (row("Incoming Message", 1, GroupLabel=...), None, "missing"),
        (row("Incoming Message", 1, EventLabel=...), None, "missing"),
    ],
)
def test_a_row_that_is_not_certain_refuses_the_answer(
    bad: dict[str, Any], value_field: str | None, kind: str
) -> None:
    with pytest.raises(SchemaError) as refused:
        read(bad, value_field=value_field)

    assert refused.value.kind == kind


def test_the_number_keeps_its_name_in_all_rows() -> None:
    with pytest.raises(SchemaError, match="another name"):
        read(row("Incoming Message", 3), row("Fallback Reply", ..., Total=3))


def test_a_row_without_bot_or_channel_counts_without_and_is_drift() -> None:
    reading = read(row("Incoming Message", 3, BotName=None, ChannelName=...))

    assert reading.counts[0][0] == (RECEIVED, ("", "", ""))
    assert reading.drift == {"missing": 2}


def test_counts_of_bots_with_one_name_are_summed() -> None:
    reading = read(row("Incoming Message", 3), row("Incoming Message", 4))

    assert [value for _, _, value in reading.counts] == [7]
    assert reading.drift == {}


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


def test_averages_are_raw_until_a_unit_is_known() -> None:
    reading = read(row("Conversation Length", 2.5), row("Takeover Rate", 40))

    labels = ("Shop bot", "", "Web", "hour")
    assert [(one.series, one.value) for one in reading.buckets] == [
        (("chatbot_xenioo_conversation_length", labels), 2.5),
        (("chatbot_xenioo_takeover_rate", labels), 40),
    ]


@pytest.mark.parametrize("value_field", [None, "Value"])
def test_an_average_of_nothing_is_left_out_and_the_rest_counts(value_field: str | None) -> None:
    reading = read(
        row("Incoming Message", 3), row("Time To Pick Up", None), value_field=value_field
    )

    assert [value for _, _, value in reading.counts] == [3]
    assert not reading.buckets
    assert reading.drift == {"missing": 1}


@pytest.mark.parametrize(
    ("event", "statistic", "unit", "family", "value"),
    [
        ("Conversation Length", "conversation_length", "minutes", "conversation_duration", 90),
        ("Time To Pick Up", "time_to_pick_up", "seconds", "time_to_pick_up", 1.5),
        ("Support Conversation Length", "support_conversation_length", "hours",
            "support_conversation_duration", 5400),
        ("Time To First Message", "time_to_first_message", "milliseconds",
            "time_to_first_message", 0.0015),
    ],
)  # fmt: skip
def test_a_unit_replaces_the_raw_average(
    event: str, statistic: str, unit: str, family: str, value: float
) -> None:
    reading = read(row(event, 1.5), units={statistic: unit})

    found = [(one.series[0], one.value) for one in reading.buckets]
    assert found == [(f"chatbot_{family}_average_seconds", value)]


@pytest.mark.parametrize(("unit", "value"), [("percent", 0.073), ("ratio", 7.3)])
def test_a_rate_with_a_unit_is_a_ratio(unit: str, value: float) -> None:
    reading = read(row("Takeover Rate", 7.3), units={"takeover_rate": unit})

    assert [(one.series[0], one.value) for one in reading.buckets] == [
        ("chatbot_takeover_ratio", value)
    ]


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


def test_hours_outside_the_question_are_left_out() -> None:
    reading = read(row("Incoming Message", 1, "2026-02-03 05"), row("Incoming Message", 2))

    assert [value for _, _, value in reading.counts] == [2]


def test_something_that_happens_in_the_future_means_a_wrong_zone() -> None:
    with pytest.raises(SchemaError, match="in the future; check timezone"):
        read(row("Incoming Message", 1, "2026-02-03 10"))


def test_nothing_happens_in_the_future() -> None:
    reading = read(row("Incoming Message", 0, "2026-02-03 10"), row("Incoming Message", 1))

    assert [value for _, _, value in reading.counts] == [1]


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
    assert GroupLabels("hour", "UTC").window(label, "here") == HOUR


@pytest.mark.parametrize("label", ["2026-02-03", "20260203", "2026-02-03T00:00:00", 1770076800])
def test_a_day_is_read_in_every_usual_form(label: str | int) -> None:
    assert GroupLabels("day", "UTC").window(label, "here") == day_window(date(2026, 2, 3), "UTC")


@pytest.mark.parametrize(
    "label",
    [
        *("2026-02-03", "20260203", "2026-02", "2026", "02/03/2026 09:00", "9 AM", ""),
        *("2026-02-03 09:30", "2026-02-03T09:07:00Z", "2026-02-03T14:00:00+05:30"),
        *("9999-12-31T23:00:00-05:00", None, True, 3.5, ["2026"]),
    ],
)
def test_an_hour_that_is_not_certain_is_an_error(label: object) -> None:
    with pytest.raises(SchemaError, match="here: "):
        GroupLabels("hour", "UTC").window(label, "here")


@pytest.mark.parametrize("label", ["2026-02-03 12", "9999-12-31"])
def test_a_day_that_begins_at_noon_or_has_no_end_is_an_error(label: str) -> None:
    with pytest.raises(SchemaError, match="whole day"):
        GroupLabels("day", "UTC").window(label, "here")


def test_an_error_does_not_repeat_the_label() -> None:
    with pytest.raises(SchemaError) as refused:
        GroupLabels("hour", "UTC").window("Ada Lovelace", "here")

    assert "Ada" not in str(refused.value)


def test_a_configured_form_is_tried_first() -> None:
    groups = GroupLabels("hour", "UTC", "%d/%m/%Y %H:%M")

    assert groups.window("03/02/2026 09:00", "here") == HOUR
    assert groups.window("2026-02-03 09", "here") == HOUR


def test_hours_are_those_of_the_zone() -> None:
    assert GroupLabels("hour", "Europe/Berlin").window("2026-02-03 10", "here") == HOUR


def test_hours_of_a_zone_with_half_hours_begin_there() -> None:
    found = GroupLabels("hour", "Asia/Kolkata").window("2026-02-03 15", "here")

    assert found == Window(NINE + HOUR_MS // 2, NINE + HOUR_MS * 3 // 2)


def test_in_autumn_one_label_stands_for_two_hours() -> None:
    groups = GroupLabels("hour", "Europe/Berlin")

    assert groups.window("2026-10-25 01", "") == Window(ms("2026-10-24T23"), ms("2026-10-25T00"))
    assert groups.window("2026-10-25 02", "") == Window(ms("2026-10-25T00"), ms("2026-10-25T02"))
    assert groups.window("2026-10-25 03", "") == Window(ms("2026-10-25T02"), ms("2026-10-25T03"))


def test_in_spring_hours_follow_each_other() -> None:
    groups = GroupLabels("hour", "Europe/Berlin")

    before, after = groups.window("2026-03-29 01", ""), groups.window("2026-03-29 03", "")

    assert before.end_ms == after.start_ms == ms("2026-03-29T01")


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 7, 1), 24)]
)
def test_a_local_day_has_as_many_hours_as_it_has(day: date, hours: int) -> None:
    assert day_window(day, "Europe/Berlin").length_ms == hours * HOUR_MS


def test_the_newest_closed_day_is_the_zones() -> None:
    assert closed_day(ms("2026-02-03T22:59"), "Europe/Berlin") == date(2026, 2, 2)
    assert closed_day(ms("2026-02-03T23:00"), "Europe/Berlin") == date(2026, 2, 3)
