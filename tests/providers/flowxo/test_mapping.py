"""Flow XO's answers, as its documentation shows them, become samples."""

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import SchemaError
from exporter.model.query import LabelRule
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Reading, Window
from exporter.providers.flowxo.mapping import (
    FlowName,
    Insights,
    TopEntry,
    collect_flows,
    collect_hours,
    collect_messages,
    cut,
    normalize,
    presentable,
)
from tests.providers.vendor import collected

NINE = 1_770_109_200_000  # 2026-02-03T09:00:00Z
TEN = NINE + HOUR_MS
WINDOW = Window(NINE, TEN + HOUR_MS)
DAY = Window(TEN - DAY_MS, TEN)

NUMBERS = (
    *("active_users", "total_users", "new_users", "triggers"),
    *("received_messages", "sent_messages"),
)


def numbers(*values: int) -> dict[str, int]:
    return dict(zip(NUMBERS, values, strict=True))


# The vendor's sample, its two months taken for two hours.
SAMPLE: dict[str, Any] = {
    "stats": [{"_id": None, **numbers(23, 55, 10, 104, 106, 146)}],
    "metrics": [
        {"_id": "2026-02-03T09", "_timestamp": "2026-02-03T09:00:00.000Z"}
        | numbers(22, 54, 9, 100, 99, 141),
        {"_id": "2026-02-03T10", "_timestamp": "2026-02-03T10:00:00.000Z"}
        | numbers(23, 55, 1, 4, 7, 5),
    ],
}
FLOWS = [
    {"_id": {"id": "65c0aa11", "name": "Untitled Flow"}, "count": 41},
    {"_id": {"id": "65c0aa12", "name": "Untitled Flow"}, "count": 9},
]
MESSAGES = [
    {"_id": "text me", "count": 18},
    {"_id": "Hi", "count": 4},
    {"_id": "hi ", "count": 2},
    {"_id": "/start", "count": 1},
]


def first(**changes: Any) -> dict[str, Any]:
    """The sample with its first bucket changed; ``...`` takes a field away."""
    bucket = SAMPLE["metrics"][0] | changes
    kept = {key: value for key, value in bucket.items() if value is not ...}
    return SAMPLE | {"metrics": [kept, SAMPLE["metrics"][1]]}


def read(answer: dict[str, Any], window: Window = WINDOW) -> Reading:
    typed = msgspec.json.decode(msgspec.json.encode(answer), type=Insights)
    return collected(partial(collect_hours, project="promo"), [typed], window)


def counted(reading: Reading) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for (name, _), at_ms, value in reading.counts:
        found.setdefault(name, []).append((at_ms, value))
    return found


def test_what_adds_up_is_counted_by_hour() -> None:
    reading = read(SAMPLE)

    assert counted(reading) == {
        "chatbot_messages_received_total": [(NINE, 99), (TEN, 7)],
        "chatbot_messages_sent_total": [(NINE, 141), (TEN, 5)],
        "chatbot_flow_triggers_total": [(NINE, 100), (TEN, 4)],
        "chatbot_new_users_total": [(NINE, 9), (TEN, 1)],
    }
    assert {series[1] for series, _, _ in reading.counts} == {
        ("promo", "", ""),
        ("promo", ""),
    }
    assert reading.drift == {}


def test_users_are_levels_of_the_buckets_end() -> None:
    active = ("chatbot_active_users", ("promo", "", "", "trailing_30d"))
    known = ("chatbot_known_users", ("promo", ""))
    nine, ten = Window(NINE, TEN), Window(TEN, TEN + HOUR_MS)

    assert list(read(SAMPLE).levels) == [
        GaugeRow(active, nine, 22),
        GaugeRow(active, ten, 23),
        GaugeRow(known, nine, 54),
        GaugeRow(known, ten, 55),
    ]


def test_a_bucket_outside_the_window_is_left_out_and_not_checked_against_the_sums() -> None:
    reading = read(SAMPLE, Window(NINE, TEN))

    assert counted(reading)["chatbot_messages_received_total"] == [(NINE, 99)]
    assert [level.window.start_ms for level in reading.levels] == [NINE, NINE]
    assert reading.drift == {}


@pytest.mark.parametrize(
    ("answer", "received", "drift"),
    [
        (SAMPLE | {"stats": []}, [99, 7], {}),
        (SAMPLE | {"stats": [{"_id": None}]}, [99, 7], {}),
        (SAMPLE | {"stats": None}, [99, 7], {}),
        (first(_id={"anything": "goes"}), [99, 7], {}),
        (first(received_messages=98, sent_messages=0), [98, 7], {"unexpected_type": 2}),
        ({"stats": [], "metrics": []}, [], {}),
    ],
)
def test_sums_may_be_missing_and_are_drift_where_they_differ(
    answer: dict[str, Any], received: list[int], drift: dict[str, int]
) -> None:
    reading = read(answer)

    found = counted(reading).get("chatbot_messages_received_total", [])
    assert [value for _, value in found] == received
    assert (reading.window, reading.drift) == (WINDOW, drift)


@pytest.mark.parametrize("value", [..., None])
def test_a_missing_field_is_skipped_and_drift(value: Any) -> None:
    reading = read(first(triggers=value, total_users=value) | {"stats": []})

    assert "chatbot_flow_triggers_total" not in counted(reading)
    assert reading.kept == {"chatbot_flow_triggers_total"}
    assert [row.value for row in reading.levels if "known" in row.series[0]] == [55]
    assert counted(reading)["chatbot_new_users_total"] == [(NINE, 9), (TEN, 1)]
    assert reading.drift == {"missing": 2}


@pytest.mark.parametrize(
    ("changes", "words", "kind"),
    [
        ({"_timestamp": ...}, r"metrics\[0\]._timestamp: missing", "missing"),
        ({"_timestamp": "2026-02-03"}, "whole hour", "unexpected_type"),
        ({"_timestamp": "2026-02-03T09:30:00.000Z"}, "whole hour", "unexpected_type"),
        ({"_timestamp": "2026-02-30T09:00:00.000Z"}, "whole hour", "unexpected_type"),
        ({"_timestamp": "2026-02-03T09:00:00.000+01:00"}, "whole hour", "unexpected_type"),
        ({"triggers": -1}, r"metrics\[\].triggers: negative", "negative"),
        (
            {"_timestamp": "2026-02-03T10:00:00.000Z"},
            r"metrics\[1\]._timestamp: duplicate hour",
            "unexpected_type",
        ),
    ],
)
def test_an_impossible_bucket_is_a_fault_that_names_its_field(
    changes: dict[str, Any], words: str, kind: str
) -> None:
    with pytest.raises(SchemaError, match=words) as caught:
        read(first(**changes))

    assert caught.value.kind == kind


def flows(rows: list[dict[str, Any]], limit: int = 3) -> Reading:
    typed = msgspec.convert(rows, list[TopEntry[FlowName]])
    return collected(partial(collect_flows, limit=limit), typed, DAY)


def shown(reading: Reading) -> dict[tuple[str, ...], float]:
    return {row.series[1]: row.value for row in reading.lists}


def test_a_flow_is_its_id_since_names_repeat() -> None:
    reading = flows(FLOWS)

    assert shown(reading) == {
        ("65c0aa11", "Untitled Flow", "trailing_1d"): 41,
        ("65c0aa12", "Untitled Flow", "trailing_1d"): 9,
    }
    assert reading.lists_of == {"chatbot_flowxo_top_flow_triggers"}
    assert {name[0] for name in shown(flows(FLOWS[::-1], limit=1))} == {"65c0aa11"}
    named = [{"_id": {"id": "f", "name": "two\nlines\x00 " + "x" * 99}, "count": 1}]
    assert list(shown(flows(named))) == [("f", "two lines " + "x" * 54, "trailing_1d")]


def messages(
    rows: list[dict[str, Any]], *, raw: bool = False, allow: tuple[str, ...] = ()
) -> Reading:
    label_rules = (
        {} if raw else {"message": LabelRule({"hi": "Hi"} if allow else {}, frozenset(allow))}
    )
    typed = msgspec.convert(rows, list[TopEntry[str]])
    collect = partial(collect_messages, limit=3, mode="raw" if raw else "allowlist")
    return collected(collect, typed, DAY, label_rules=label_rules)


def test_only_listed_messages_are_shown_and_spellings_are_one() -> None:
    reading = messages(MESSAGES, allow=("Hi",))

    assert shown(reading) == {("other", "trailing_1d"): 18, ("Hi", "trailing_1d"): 6}
    assert reading.dropped == {("chatbot_flowxo_top_message_uses", "not_allowlisted"): 1}
    assert shown(messages(MESSAGES)) == {("other", "trailing_1d"): 24}


def test_raw_messages_are_shown_with_personal_data_redacted() -> None:
    reading = messages([{"_id": "I am ann@example.com", "count": 9}, *MESSAGES[:2]], raw=True)

    assert shown(reading) == {
        ("redacted", "trailing_1d"): 9,
        ("text me", "trailing_1d"): 18,
        ("Hi", "trailing_1d"): 4,
    }
    assert reading.dropped == {("chatbot_flowxo_top_message_uses", "pii"): 1}
    assert "ann" not in repr(reading)


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        "write to ann.o-neil+x@mail.example.co.uk please",
        "ａnn＠example.com",  # noqa: RUF001 - full width, as some keyboards type it
        "@ann_on_social",
        "+49 171 1234567",
        "(555) 123-4567",
        "call 5 5 5 1 2 3 4",
        "١٢٣٤٥٦٧",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "5500\u200b0000\u200b0000\u200b0004",
        "DE89 3704 0044 0532 0130 00",
        "gb29nwbk60161331926819",
        "my code is 492817",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "VF.DM.0123456789abcdef01234567.AbCdEfGh12345678",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "https://example.com/reset/confirm?for=somebody",
        "x" * 60 + " 4111 1111 1111 1111",
    ],
)
def test_what_looks_personal_is_redacted(text: str) -> None:
    assert presentable(text) == "redacted"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hi", "hi"),
        ("/start", "/start"),
        ("convert a timestamp", "convert a timestamp"),
        ("order 1234", "order 1234"),
        ("größe ändern 😀", "größe ändern 😀"),
        ('say "no"', 'say "no"'),
        (" two\r\nlines\x1b[0m\u202e ", "two lines[0m"),
        ("\x00", ""),
    ],
)
def test_plain_words_are_shown_without_control_characters(text: str, shown: str) -> None:
    assert presentable(text) == shown


@given(st.text(max_size=300))
def test_what_is_shown_is_short_and_on_one_line(text: str) -> None:
    assert len(presentable(text)) <= 64
    assert cut(text).isprintable()


def test_a_huge_message_is_examined_quickly() -> None:
    assert presentable("a1 " * 1_000_000).startswith("a1 a1")


def test_spellings_of_one_text_compare_equal() -> None:
    assert normalize(" STRASSE\u00a0") == normalize("straße") == normalize("ｓtraße")  # noqa: RUF001
