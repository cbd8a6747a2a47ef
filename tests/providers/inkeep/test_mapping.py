"""Inkeep's rows as samples."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Reading, Window
from exporter.providers.inkeep import mapping
from exporter.providers.inkeep.mapping import HourGroup, ReadGroup, parse_bucket
from exporter.providers.inkeep.provider import BUILT_IN
from tests.providers.vendor import collected

NINE = 1_772_528_400_000  # 2026-03-03T09:00:00Z
WINDOW = Window(NINE, NINE + 2 * HOUR_MS)
EVENTS = mapping.events(BUILT_IN)
KEYS = ("integrationId", "countDistinct_userProperties.id", "other")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
DAY = Window(NINE - DAY_MS, NINE)


def rows(*entries: dict[str, Any], bucket: str = "2026-03-03 09:00:00") -> list[HourGroup]:
    full = [{"createdAt_hour": bucket, "count_id": 2, **entry} for entry in entries]
    return msgspec.convert(full, list[HourGroup])


def reading(found: list[HourGroup], read: ReadGroup = EVENTS) -> Reading:
    return collected(partial(mapping.collect_hours, project="docs", read=read), found, WINDOW)


collect_users = partial(
    mapping.collect_distinct, family=families.ACTIVE_USERS, project="docs", window=DAY
)


def users(*groups: dict[str, Any]) -> list[GaugeRow]:
    return list(collected(partial(collect_users, groups), (), WINDOW).lists)


def all_users(*groups: dict[str, Any]) -> list[GaugeRow]:
    return list(collected(partial(collect_users, ()), groups, WINDOW).lists)


def names(found: Reading) -> list[str]:
    return [values[3] for (name, values), *_ in found.counts if name == "chatbot_events_total"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-03 09:00:00",
        "2026-03-03 09:00:00.000000",
        "2026-03-03 09:00:00+00",
        "2026-03-03 10:00:00+01:00",
        "2026-03-03 14:30:00+0530",
        "2026-03-03T09:00:00",
        "2026-03-03T09:00:00Z",
        "2026-03-03T09:00:00.000Z",
        "2026-03-03T04:00:00.123456789-05:00",
    ],
)
def test_a_bucket_may_be_spelt_in_many_ways(text: str) -> None:
    assert parse_bucket(text) // HOUR_MS * HOUR_MS == NINE
    assert parse_bucket("2026-03-03") == NINE - 9 * HOUR_MS


@pytest.mark.parametrize(
    "text",
    ["", "09:00", "2026-03-03 09:00", "2026-02-30 09:00:00", "1772528400", "2026-03-03 09:00:00 x"],
)
def test_what_is_no_bucket_is_a_fault_that_does_not_repeat_it(text: str) -> None:
    with pytest.raises(SchemaError) as caught:
        parse_bucket(text)

    assert str(caught.value) == "result[]: expected a bucket such as 2026-03-01 09:00:00"


def test_a_row_without_a_bucket_is_a_fault() -> None:
    with pytest.raises(SchemaError, match=r"result\[0\]: the bucket is missing"):
        reading([HourGroup(ids=3)])


@pytest.mark.parametrize(
    ("event_type", "type_", "name", "drift"),
    [
        ("conversation", "user_message_submitted", "user_message_submitted", {}),
        ("user_message_submitted", "conversation", "user_message_submitted", {}),
        ("thing", "thing", "thing", {}),
        (None, "thing", "thing", {}),
        ("one", "two", "two", {"unknown_enum": 1}),
        ("conversation", "search", "search", {"unknown_enum": 1}),
        ("search", None, "search", {"unknown_enum": 1}),
        (None, None, "", {"missing": 1}),
    ],
)
def test_the_name_is_what_is_no_entity_and_drift_where_it_cannot_be_told(
    event_type: str | None, type_: str | None, name: str, drift: dict[str, int]
) -> None:
    found = reading(rows({"eventType": event_type, "type": type_}))

    assert (names(found), found.drift) == ([name], drift)


@pytest.mark.parametrize(
    ("time", "counted"), [("11:00", []), ("08:00", []), ("09:30", [NINE])], ids=str
)
def test_a_time_outside_the_window_or_inside_an_hour_is_drift(
    time: str, counted: list[int]
) -> None:
    found = reading(rows({"type": "x"}, bucket=f"2026-03-03 {time}:00"))

    assert [at_ms for _, at_ms, _ in found.counts] == counted
    assert found.drift == {"unexpected_type": 1}


@pytest.mark.parametrize(
    ("sums", "kept"), [({"sum_userMessageCount": None}, False), ({}, True)], ids=["null", "absent"]
)
def test_a_sum_of_nothing_is_left_out_and_an_absent_one_changes_no_count(
    sums: dict[str, Any],
    kept: bool,
) -> None:
    found = reading(rows({"sum_userMessageCount": 4}, sums), mapping.conversations)

    messages = "chatbot_inkeep_conversation_user_messages_total"
    counted = {name: number for (name, _), _, number in found.counts}
    assert counted == {"chatbot_conversations_started_total": 4} | ({} if kept else {messages: 4})
    assert found.kept == ({messages} if kept else set())
    assert found.drift == {"missing": 1}


@pytest.mark.parametrize(
    ("read", "entry"), [(mapping.escalations, {}), (mapping.feedback, {"type": None})]
)
def test_a_missing_kind_or_rating_is_empty_and_drift(
    read: ReadGroup, entry: dict[str, Any]
) -> None:
    found = reading(rows(entry), read)

    assert found.counts[0][0][1] == ("docs", "", "", "")
    assert found.drift == {"missing": 1}


@pytest.mark.parametrize("kind", [7, True, {"a": 1}, ["b"]])
def test_a_kind_that_is_no_text_is_counted_as_any_other(kind: Any) -> None:
    of_kind = rows({"properties.escalationType": kind})

    counts = reading(of_kind, mapping.escalations).counts

    assert sorted(family for (family, _), _, _ in counts) == [
        "chatbot_handovers_total",
        "chatbot_inkeep_escalations_total",
    ]


def test_an_escalation_of_no_kind_is_no_drift() -> None:
    assert reading(rows({"properties.escalationType": None}), mapping.escalations).drift == {}


def test_users_without_an_integration_are_not_the_total() -> None:
    found = users(
        {"integrationId": None, "countDistinct_userProperties.id": 9},
        {"integrationId": "int_a", "countDistinct_userProperties.id": "4"},
        {"integrationId": "int_b", "countDistinct_userProperties.id": None},
    )

    assert [(row.series[1], row.value) for row in found] == [
        (("docs", "", "int_a", "trailing_1d"), 4)
    ]


@pytest.mark.parametrize(
    ("of", "groups", "words"),
    [
        (users, [{"integrationId": "a", "countDistinct_x": 4}] * 2, "duplicate integration"),
        (users, [{"integrationId": 5, "countDistinct_x": 1}], "expected text"),
        (users, [{"integrationId": ["a"], "countDistinct_x": 1}], "expected text"),
        (all_users, [{}], "the distinct count is missing"),
        (
            all_users,
            [{"countDistinct_a": 1, "countDistinct_b": 2}],
            "the distinct count is missing",
        ),
        (all_users, [{"countDistinct_x": 1}] * 2, "expected one row"),
    ],
)
def test_distinct_counts_that_are_not_certain_are_a_fault(
    of: Callable[..., Any], groups: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(SchemaError, match=words):
        of(*groups)


@given(text=st.text(alphabet="0123456789-:. TZ+", max_size=32))
def test_any_text_is_a_bucket_or_a_fault(text: str) -> None:
    with contextlib.suppress(SchemaError):
        assert parse_bucket(text) % 1000 == 0 or "." in text


@given(rows=st.lists(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3), max_size=3))
def test_any_distinct_rows_are_read_or_a_fault(rows: list[dict[str, Any]]) -> None:
    with contextlib.suppress(SchemaError):
        found = users(*rows)
        assert all(row.value >= 0 for row in found)
