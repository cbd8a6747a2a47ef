"""Labels of groups are read in every usual form, and in none that is not certain."""

from datetime import UTC, date, datetime

import pytest

from exporter.errors import SchemaError
from exporter.model.samples import HOUR_MS, Window
from exporter.providers.xenioo.group_labels import GroupLabels, closed_day, day_window

NINE = 1_770_109_200_000  # 2026-02-03T09:00:00Z
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
