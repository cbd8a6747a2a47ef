"""The traps of analytics APIs: each is expressed, or refused with a clear reason."""

import re
from typing import Any

import httpx
import pytest

from exporter.errors import SchemaError, SettingsError, Truncated, Unauthorized
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from exporter.providers.base.times import iso, parse_instant
from exporter.providers.manifest import loader
from tests.providers.manifest.files import (
    COST,
    HOURS,
    NOON_MS,
    QUERY,
    SENT,
    THREE,
    Api,
    counts,
    loaded,
    problems,
    readings,
    row,
    target,
    written,
)

DAY = Window(NOON_MS - DAY_MS // 2 - DAY_MS, NOON_MS - DAY_MS // 2)
NEXT = {"kind": "cursor", "from": "next", "send": "page"}
CURSOR = {"kind": "cursor", "from": "next", "send": "page", "more": "more"}
RECORDS: dict[str, Any] = {"shape": "records", "mutable": True, "id": "row.id", "missing": None}
STREAM: dict[str, Any] = RECORDS | {"mutable": None, "count": {SENT: {}}}
"""A query of records that never change, and in ``GOING_ON`` a poll that is not its first."""

GOING_ON: dict[str, Any] = {"first": False, "epoch_ms": 0, "watermark_ms": HOURS.start_ms}
TOKENS = "chatbot_llm_tokens_total"
RECEIVED = "chatbot_messages_received_total"
FILTERS = ("only", "except", "expect")
TRAILING = {"value": "row.users", "class": "level", "window": "trailing_7d"}


NESTED: dict[str, Any] = {"rows": ["data[] as hour", "results[] as row"], "at": "hour.time|epoch_s"}
BETWEEN = {"at": "row.time|epoch_s", "until": "row.end|epoch_s"}
RANGE: dict[str, Any] = {"shape": "range", "missing": None, "at": None, "window": None}
DISTINCT = {"value": "row.users", "class": "distinct"}
PARTS = {"parts": {"row.input": ["row.cached", "row.uncached"]}}
CACHED = {"value": "row.cached", "labels": {"token_type": "cached"}}


def counting(value: str, **more: Any) -> dict[str, Any]:
    return {"count": {SENT: {"value": value, **more}}}


def posting(body: Any, send: str) -> dict[str, Any]:
    request = QUERY["request"] | {"method": "POST", "body": body}
    return {"request": request, "pages": NEXT | {"send": send, "size": 9}}


def showing(**rule: Any) -> dict[str, Any]:
    return {"gauge": {"chatbot_active_users": DISTINCT | rule}, "count": None}


def looping(loop: Any, **more: Any) -> dict[str, Any]:
    request = {**QUERY["request"], "path": "/{each.metric}"}
    return {"for_each": {"metric": loop}, "request": request, **more}


def within(zone: str, bucket: str = "1h") -> dict[str, Any]:
    return {"window": {"bucket": bucket, "timezone": zone, "end": "exclusive"}}


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        (NESTED | counting("hour.sent"), "each row would count it again"),
        (NESTED | counting("answer.sent"), "each row would count it again"),
        (NESTED | counting("row.sent + hour.sent"), "each row would count it again"),
        (NESTED | {"rows": NESTED["rows"][:1]} | counting("hour.sent"), ""),
        (NESTED | showing(value="hour.users") | {"labels": {"project": "row.bot"}}, "show it"),
        (showing(value="answer.users"), "rows end with answer"),
        ({"at": "answer.start|epoch_s"}, "several buckets are requested; use shape: range"),
        ({"at": "answer.start|epoch_s", "window": {"max_span": "1h", "end": "exclusive"}}, ""),
        ({"at": "answer.start|epoch_s", "pages": NEXT | {"size": 9}}, "buckets are requested"),
        (RANGE, "a range must state whether its end is included"),
        (RANGE | {"window": {"end": "inclusive"}}, ""),
        (RANGE | BETWEEN, ""),  # its rows prove it
        ({"shape": "range", "missing": None}, "a range counts all its rows, whatever their time"),
        (RANGE | NESTED | {"until": "row.end|iso"}, "at and until are read from different lists"),
        (
            PARTS | {"count": {TOKENS: [{"value": "row.input"}, CACHED]}},
            "row.input contains what is added to it",
        ),
        (PARTS | {"count": {TOKENS: [{"value": "row.uncached"}, CACHED]}}, ""),
        (counting("row.sent + row.sent"), "a field is added twice"),
        (counting("row.sent") | {"count": {SENT: [{"value": "row.sent"}] * 2}}, "count twice"),
        (
            {"count": {SENT: [{"value": "row.sent", "only": {"row.bot": [b]}} for b in "ab"]}},
            "",
        ),
        ({"labels": {"project": "row.time"}}, "each would be a series"),
        ({"only": {"row.bot": []}}, "the list of values is empty"),
        ({"only": {"row.bot": ["a"]}, "except": {"row.bot": ["a", "b"]}}, "excludes everything"),
        ({"request": QUERY["request"] | {"headers": {"X-A": "a\r\nb"}}}, "no header can carry"),
        ({"request": QUERY["request"] | {"headers": {"X-A": "s\xe9"}}}, "no header can carry"),
        (
            {"window": {"lookback": "400d", "end": "exclusive"}},
            "longer than the ledger keeps hours",
        ),
        (RECORDS | NESTED | {"id": "hour.id"}, "it does not identify rows of row"),
        (RECORDS | {"mutable": None}, "a stream of records counts only records"),
        (STREAM | {"count": {SENT: {"value": 2}}}, "counts only records"),
        (RECORDS | {"id": "row.id|scale:2"}, "conversion"),
        ({"only": {"row.sent|scale:2": [4]}}, "conversion"),
        ({"at": "row.minute|scale:60|epoch_s"}, "conversion"),
        ({"at": "row.time|epoch_s|iso"}, "conversion"),
        (counting("row.total", **{"class": "cumulative"}), "would count every unit again"),
        (counting("row.users", **{"class": "distinct"}), "a distinct count does not add up"),
        (counting("row.users") | {"distinct": ["row.users"]}, "a distinct count does not add up"),
        ({"pages": NEXT | {"more": "answer.more"}}, "begins at the top of the answer; write more"),
        ({"complete": {"total": "answer.n"}}, "begins at the top of the answer; write n"),
        ({"pages": NEXT | {"more": "meta.@key"}}, "expected one field"),
        ({"complete": {"total": "meta.@key"}}, "expected one field"),
        (counting(""), "a path is missing"),
        (showing(value=""), "a path is missing"),
        (showing(**TRAILING), ""),
        (showing(**TRAILING | {"class": "distinct"}), "use class: level for trailing values"),
        (showing(**TRAILING | {"class": "average"}), "use class: level for trailing values"),
        (showing(**TRAILING | {"window": "7 days"}), "gauge.chatbot_active_users.window: "),
        (showing(**TRAILING, labels={"window": "day"}), "this label is set by window"),
        ({"window": {"bucket": "7d"}}, "window.bucket: expected 1h or 1d; for numbers of trailing"),
        ({"request": {"path": "/q", "params": {"last": "24h"}}}, "counts need fixed bounds"),
        ({"count": None}, "nothing is counted"),
        (NESTED | {"rows": ["data[] as hour", "a[] as hour"]}, "the name hour is taken"),
        ({"count": {COST: {}}}, "expected an amount"),
        (showing(value="row.a + row.b"), "expected one field: such values do not add up"),
        ({"count": {"chatbot_messages_snt_total": {}}}, f'did you mean "{SENT}"'),
        ({"count": {"chatbot_known_users": {}}}, "chatbot_known_users is a gauge"),
        ({"at": "row.day + row.hour|iso"}, "expected one field"),
        ({"at": f"row.{'x' * 300}|iso"}, "longer than 300 characters"),
        ({"at": f"row{'.a' * 13}|iso"}, "more than 12 steps"),
        ({"labels": {"channel": "row.@key"}}, "only the entries of a map have @key"),
        ({"null_labels": {"row.x": ""}}, "no label shows this field"),
        ({"only": {"row.sent.x": [1]}}, "read in two ways: value, list, map or object"),
        ({"parts": {"row.input": []}}, "expected a field and those it contains"),
        ({"pages": {"kind": "cursor"}}, "pages.send: missing; cursor needs it"),
        (posting(["all"], "page"), "pages.send: it would replace a list or value of the body"),
        (posting("variables.team", "page"), "pages.send: it would replace"),
        (posting({"page": {"of": 1}}, "page.of.after"), "pages.send: it would replace"),
        (posting({"page": {"of": 1}}, "page.of"), ""),
        (posting({"page": None}, "page.after"), ""),
        (posting(["all"], "page") | {"pages": None}, ""),
        ({"rows": ["data as row"]}, "a level ends in [] or {}"),
        ({"rows": ["a[].b[] as row"]}, "a list within a list"),
        ({"request": QUERY["request"] | {"body": {}}}, "a GET has no body"),
        ({"for_each": {"metric": ["a"]}}, "the request does not use it"),
        (within("Europe/Berlin", "1d"), "window.timezone: days must be UTC days; read hours"),
        (within("Asia/Kolkata"), "its hours do not begin with UTC hours"),
        (within("Australia/Lord_Howe"), "its hours do not begin with UTC hours"),
        (within("Europe/Berlin"), ""),
        (looping([]), "expected distinct values"),
        (looping(["a", "a"]), "expected distinct values"),
        (looping([""]), "expected distinct values"),
        (looping(["a", ".."]), "expected distinct values"),
        (looping({"a": SENT}), "nothing feeds these families"),
        (
            looping(["a", "b"]),
            f"its values would feed one series of {SENT}; write labels: each.metric",
        ),
        (looping({"a": SENT, "b": SENT}, count={"each": {}}), "would feed one series"),
        (looping({"a": SENT, "b": RECEIVED}, count={"each": {}}), ""),
        (looping(["a"]), ""),
        (looping(["a", "b"], labels={"channel": "each.metric"}), ""),
        (looping(["a", "b"], labels={"channel": "row.channel"}), ""),
        *(({key: {"row.team": ["variables", "a.b", "{}"]}}, "") for key in FILTERS),
        *(
            ({key: {"row.team": ["x", value]}}, "expected a fixed value")
            for key in FILTERS
            for value in ("variables.team", "{variables.team}", "each.metric")
        ),
    ],
)
def test_a_query_that_would_count_wrongly_is_refused(query: dict[str, Any], problem: str) -> None:
    found = problems(query, variables={"team": {}})

    assert problem in found
    assert bool(found) == bool(problem)


def test_2_a_map_is_keyed_by_time() -> None:
    count = {SENT: {"value": "hour.sent"}}
    query = {"rows": ["{} as hour"], "at": "hour.@key|epoch_s", "count": count}
    answer = {str((NOON_MS + hour * HOUR_MS) // 1000): {"sent": 5} for hour in (-3, -2, -1)}

    assert counts(readings(loaded(query), Api(answer))) == {-3: 5, -2: 5, -1: 5}


PARTS_OF = [{"name": "a", "n": 1}, {"name": "b", "n": 2}]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("row.of[name=b].n + row.of[name=a].n", PARTS_OF),
        ("row.of[].n", PARTS_OF),
        ("row.of{}.n", {"x": {"n": 1}, "y": {"n": 2}}),
        ("row.of{}", {"x": 1, "y": 2}),
    ],
)
def test_3_elements_are_chosen_by_name_or_added_up(value: str, field: Any) -> None:
    manifest = loaded({"count": {SENT: {"value": value}}})
    answer = {"data": [row(hour, of=field) for hour in (-3, -2, -1)]}

    assert counts(readings(manifest, Api(answer))) == {-3: 3, -2: 3, -1: 3}
    if "=" in value:
        with pytest.raises(SchemaError, match=r"\[name=b\]: more than one item"):
            readings(manifest, Api({"data": [row(-1, of=PARTS_OF * 2)]}))


@pytest.mark.parametrize("proof", [{"rows_below": 3}, {"total": "total"}])
def test_5_rows_are_cut_off_silently(proof: dict[str, Any]) -> None:
    query = {"complete": proof}

    def answer(request: httpx.Request) -> httpx.Response:
        since, until = (int(request.url.params[name]) * 1000 for name in ("from", "to"))
        hours = [h for h in (-3, -2, -1) if since <= NOON_MS + h * HOUR_MS < until]
        rows = [row(hour, sent=1) for hour in hours for _ in range(one_has)]
        return httpx.Response(200, json={"data": rows[:3], "total": len(rows)})

    query |= {"count": {SENT: {"value": "row.sent", "labels": {"project": "row.bot"}}}}
    one_has = 2
    manifest = loaded(query)

    assert counts(readings(manifest, Api_of(answer))) == {-3: 2, -2: 2, -1: 2}
    one_has = 4
    with pytest.raises(Truncated, match="one bucket has more rows"):
        readings(manifest, Api_of(answer))


def test_5_a_limit_may_count_outer_lists_of_which_some_are_empty() -> None:
    query = {"rows": ["data[] as hour", "bots[] as row"], "at": "hour.time|epoch_s"}
    full = [row(-3, bots=[]), row(-2, bots=[]), row(-1, bots=[{"sent": 4}])]

    def answer(request: httpx.Request) -> httpx.Response:
        since, until = (int(request.url.params[name]) for name in ("from", "to"))
        asked = [each for each in full if since <= each["time"] < until]
        return httpx.Response(200, json={"data": asked[:2]})

    found = readings(
        loaded(query | {"missing": "zero", "complete": {"rows_below": 2}}), Api_of(answer)
    )

    assert counts(found) == {-1: 4}


class Api_of(httpx.MockTransport):  # noqa: N801 - reads as a function
    """An API that is a function."""


@pytest.mark.parametrize(
    ("end", "asked"),
    [
        ("exclusive", ("09:00:00.000", "12:00:00.000")),
        ("inclusive", ("09:00:00.000", "11:59:59.999")),
        ("unstated", ("08:00:00.000", "13:00:00.000")),
    ],
)
def test_6_the_end_is_included_or_not_or_not_stated(end: str, asked: tuple[str, str]) -> None:
    params = {"from": "window.start|iso", "to": "window.end|iso"}
    query = {"request": {"path": "/q", "params": params}, "window": {"end": end}}
    more = {"data": [row(-4, sent=8), *THREE["data"], row(0, sent=8)]}
    api = Api(more)

    found = readings(loaded(query), api)

    assert counts(found) == {-3: 1, -2: 2, -1: 4}
    assert found[0].drift == {}
    assert tuple(api.sent[0][name][11:-1] for name in params) == asked
    assert ("end" in str(loaded(query).warnings)) is (end == "unstated")


def test_7_a_limit_counts_buckets() -> None:
    query = {"window": {"max_span": "2h", "end": "exclusive"}, "missing": "zero"}
    api = Api(THREE)

    found = readings(loaded(query), api)

    assert [reading.window.length_ms // HOUR_MS for reading in found] == [2, 1]
    assert [reading.more for reading in found] == [True, False]
    assert counts(found) == {-3: 1, -2: 2, -1: 4}
    assert "not a whole number" in problems({"window": {"max_span": "90m"}})


@pytest.mark.parametrize("family", [SENT, COST])
def test_null_is_no_row_that_is_itself_the_number(family: str) -> None:
    rule = {"count": {family: {"value": "c", "missing": "zero"}}, "at": "hour.time|epoch_s"}
    query = rule | {"rows": ["data[] as hour", "costs{} as c"]}
    data = [row(hour, costs={"a": 1, "b": None}) for hour in (-3, -2, -1)]

    with pytest.raises(SchemaError, match="c: the list contains null"):
        readings(loaded(query), Api({"data": data}))


@pytest.mark.parametrize(
    "amount",
    [
        *(b'"1_0"', '"\uff11"'.encode(), '"\u0663"'.encode(), b'" 1 "', b'"+1"', b'"1."', b'".5"'),
        *(
            b'""',
            *(b'"NaN"', b'"sNaN"', b'"Infinity"'),
            b'"1e31"',
            b"1e99999999999999999999",
            b'"0e-99999999999999999999"',
            b'"1e1000000"',
            b"true",
            b"[]",
            b'{"a":1}',
            b'"\xff"',
            b'"' + b"1" * 500 + b'"',
        ),
    ],
)
def test_what_is_no_number_in_json_is_no_amount(amount: bytes) -> None:
    query = {"count": {COST: {"value": "row.cost"}}, "missing": "zero", "rows": ["[] as row"]}
    time = str(NOON_MS // 1000 - 3600).encode()

    with pytest.raises(SchemaError, match=r"amount .*- at `\$\[0\]\.cost`"):
        readings(loaded(query), Api(b'[{"time":%b,"cost":%b}]' % (time, amount)))


@pytest.mark.parametrize(
    ("value", "amounts", "millionths"),
    [
        ("row.cost", b"0.1,0.2", 300_000),
        ("row.cost|scale:0.01", b'"123.78912","0.00001"', 1_237_891),
        ("row.cost", b"0.0000005,0", 0),  # half to even
        ("row.cost", b"0.0000015,0", 2),
        ("row.cost", b'"9007199254.740992",0', 2**53),
        ("row.cost + row.tax", b'"1","2"', 4_000_000),
        ("row.cost", b'"0E-6176",0.5', 500_000),  # the zero of a Decimal128
        ("row.cost", b'"1.5E\\u002B0",0e99999', 1_500_000),
        ("row.cost", b"-0.0,0." + 450 * b"0" + b",0", 0),
        ("row.cost", b"0.1000000000000000055511151231257827021181583404541015625,0", 100_000),
    ],
)
def test_8_numbers_are_text_cents_or_floats(value: str, amounts: bytes, millionths: int) -> None:
    query = {"count": {COST: {"value": value}}, "missing": "zero", "rows": ["[] as row"]}
    query |= {"labels": {"project": "row.bot"}, "null_labels": {"row.bot": ""}}
    time = str(NOON_MS // 1000 - 3600).encode()
    rows = [b'{"time":%b,"cost":%b,"tax":0.5}' % (time, each) for each in amounts.split(b",")]

    found = readings(loaded(query), Api(b"[" + b",".join(rows) + b"]"))

    assert counts(found, COST) == ({-1: millionths} if millionths else {-1: 0})


@pytest.mark.parametrize("value", ["row.mood", "row.mood|scale:0.5"])
@pytest.mark.parametrize("of", ["average", "ratio", "level", "distinct"])
def test_8_only_what_is_no_number_of_things_is_negative(of: str, value: str) -> None:
    name = "chatbot_custom_acme_mood"
    shown = {name: {"value": value, "class": of}}
    query = {"gauge": shown, "missing": "zero"}
    own = loaded(query, families={name: {"type": "gauge", "help": "Mood."}})
    api = Api({"data": [row(-1, sent=1, mood=-0.5)]})

    if of in ("level", "distinct"):
        with pytest.raises(SchemaError, match="negative"):
            readings(own, api)
    else:
        (found,) = readings(own, api)
        assert [each.value for each in found.buckets] == [-0.5 if value == "row.mood" else -0.25]


def test_8_amounts_are_rounded_after_label_rules_made_them_one() -> None:
    name = "chatbot_custom_acme_credits_total"
    family = {"type": "counter", "unit": "credits", "help": "Credits.", "labels": ["model"]}
    count = {name: {"value": "row.tenths|scale:0.1", "labels": {"model": "row.model"}}}
    query = {"count": count, "missing": "zero", "label_rules": {"model": {"allow": ["a"]}}}
    data = [row(-1, tenths=4, model=f"m{number}") for number in range(10)]

    found = readings(loaded(query, families={name: family}), Api({"data": data}))

    assert counts(found, name) == {-1: 4}  # each alone would be 0


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ('variables."team"', ""),
        ("variables.team ", ""),
        ("{variables.team}", "a label takes no braces"),
        ("variables.team}", "expected variables.NAME"),
    ],
)
def test_a_label_is_a_variable_or_refused(label: str, problem: str) -> None:
    query = {"labels": {"project": label}}
    top: dict[str, Any] = {"variables": {"team": {}}}

    assert problem in problems(query, **top)
    assert bool(problems(query, **top)) == bool(problem)
    if not problem:
        (found,) = readings(loaded(query, **top), Api(THREE))
        assert {series[1][0] for series, _, _ in found.counts} == {"x"}


@pytest.mark.parametrize("mutable", [True, None])
def test_records_that_are_not_as_expected_are_refused(mutable: bool | None) -> None:
    count: dict[str, Any] = {SENT: {}}
    sent = {"path": "/calls", "params": {"from": "window.start|iso", "to": "window.end|iso"}}
    query = RECORDS | {"mutable": mutable, "expect": {"row.state": ["done"]}, "count": count}
    query |= {"request": sent}
    records = [row(-3, id=1, state="done"), row(-3, id=2, state="spam")]

    with pytest.raises(SchemaError, match=r"row\.state: unexpected value"):
        readings(loaded(query), Api({"data": records}), **({} if mutable else GOING_ON))


@pytest.mark.parametrize("last", [{"ok": False, "data": []}, {"data": []}])
@pytest.mark.parametrize("first", [False, True])
def test_an_answer_without_rows_is_as_expected_or_refused(
    last: dict[str, Any],
    first: bool,
) -> None:
    pages = {"pages": NEXT | {"size": 50}, "missing": "zero", "expect": {"answer.ok": [True]}}
    good = {"ok": True, "data": [row(-1, sent=4)], "next": "b"}

    with pytest.raises(SchemaError, match=r"answer\.ok: unexpected value"):
        readings(loaded(pages), Api(*([] if first else [good]), last))
    assert counts(readings(loaded(pages), Api(good, good | {"data": [], "next": None}))) == {-1: 4}


def test_10_null_is_a_label_that_means_something() -> None:
    labels = {"project": "row.workspace", "channel": "row.channel"}
    query = {"labels": labels, "null_labels": {"row.workspace": "default"}}
    answer = {"data": [row(-3, sent=1, workspace=None), row(-2, sent=1), row(-1, sent=1)]}

    (found,) = readings(loaded(query), Api(answer))

    assert {series[1] for series, _, _ in found.counts} == {("default", "", "")}
    assert found.drift == {"missing": 3}  # the channel's null has no meaning


def test_11_records_change_for_days() -> None:
    query = RECORDS | {"count": {SENT: {"only": {"row.state": ["done", None]}}}}
    first = [row(-3, id=1, state="open"), row(-3, id=2, state="done"), row(-1, id=3)]
    shifted = [row(-1, id=3), row(-1, id=4, state="done")]
    api = Api({"data": first, "next": "b"}, {"data": shifted, "next": None})
    paged = loaded(query | {"pages": {"kind": "cursor", "from": "next", "send": "after"}})

    assert counts(readings(paged, api)) == {-3: 1, -1: 2}
    done = {"data": [row(-3, id=1, state="done")]}
    assert counts(readings(loaded(query), Api(done))) == {-3: 1}


def test_11_a_record_counts_as_it_was_read_last() -> None:
    query = RECORDS | {"count": {SENT: {"only": {"row.state": ["done"]}}}, "pages": NEXT}
    first = {"data": [row(-3, id=1, state="open"), row(-3, id=2, state="done")], "next": 2}
    last = {"data": [row(-3, id=1, state="done"), row(-3, id=2, state="spam")], "next": None}

    assert counts(readings(loaded(query), Api(first, last))) == {-3: 1}
    (found,) = readings(loaded(query), Api(first, last))
    assert found.drift == {}


def test_5_a_record_given_twice_proves_no_second_one() -> None:
    query = RECORDS | {"count": {SENT: {}}, "pages": NEXT, "complete": {"total": "total"}}
    first = {"data": [row(-3, id=1), row(-3, id=2)], "next": 2, "total": 3}
    shifted = {"data": [row(-3, id=2)], "next": None, "total": 3}
    whole = {"data": [row(-3, id=2), row(-3, id=3)], "next": None, "total": 3}
    short = loaded(query | {"window": {"bucket": "1h", "end": "exclusive"}})

    assert counts(readings(short, Api(first, whole))) == {-3: 3}
    with pytest.raises(Truncated, match="one bucket has more rows"):
        readings(short, Api(first, shifted, first, shifted, first, shifted, first, shifted))


CHOSEN: dict[str, Any] = {"count": {SENT: {"value": "row.sent", "only": {"row.stat": ["done"]}}}}


@pytest.mark.parametrize(
    ("query", "absent"),
    [
        ({"only": {"row.stat": ["done"]}}, True),
        ({"except": {"row.stat": ["spam"]}}, True),
        (CHOSEN, True),
        ({"except": {"row.sent": [9]}}, False),
        ({"only": {"row.stat": ["done", None]}}, False),
        ({"except": {"row.stat": ["spam"]}, "optional": ["row.stat"]}, False),
        (CHOSEN | {"optional": ["row.stat"]}, False),
    ],
)
def test_a_field_that_chooses_rows_and_is_in_none_of_them_is_drift(
    query: dict[str, Any],
    absent: bool,
) -> None:
    (found,) = readings(loaded(query), Api(THREE))

    assert found.drift == ({"missing": 3} if absent else {})
    assert found.unfit.startswith("no row has row.stat, which a filter reads; c") is absent


def test_a_field_that_chooses_rows_may_be_in_some_of_them() -> None:
    data = [*THREE["data"][:2], row(-1, sent=4, deleted=True)]

    (found,) = readings(loaded({"except": {"row.deleted": [True]}}), Api({"data": data}))

    assert (counts([found]), found.drift, found.unfit) == ({-3: 1, -2: 2}, {}, "")
    assert "no filter reads this field" in problems({"optional": ["row.sent"]})


def test_11_records_that_do_not_change_are_a_stream() -> None:
    params = {"from": "window.start|iso", "to": "window.end|iso"}
    manifest = loaded(STREAM | {"request": {"path": "/calls", "params": params}})
    api = Api({"data": [row(-1, id=7), row(-1, id=7), row(-3, id="8"), row(-9, id=9)]})

    (first,) = readings(manifest, api)
    (found,) = readings(manifest, api, **GOING_ON)

    assert (first.events, first.watermark_ms) == ((), NOON_MS)
    assert sorted((e.at_ms - NOON_MS) // HOUR_MS for e in found.events) == [-3, -1]
    assert found.watermark_ms == NOON_MS


def test_11_a_stream_with_nothing_to_read_still_asks() -> None:
    manifest, none = loaded(STREAM), Window(NOON_MS, NOON_MS)
    api = Api({"data": [row(-1, id=7)]})

    (found,) = readings(manifest, api, none, **GOING_ON)

    assert len(api.requests) == 1
    assert (found.window, found.events, found.watermark_ms) == (none, (), NOON_MS)
    with pytest.raises(Unauthorized):
        readings(manifest, Api(httpx.Response(401)), none, **GOING_ON)


@pytest.mark.parametrize("mutable", [True, None])
def test_11_records_that_share_an_id_in_one_answer_are_drift(mutable: bool | None) -> None:
    rows = {"rows": ["data[] as talk", "turns[] as turn"], "at": "talk.time|epoch_s"}
    query = RECORDS | rows | {"id": "turn.number", "mutable": mutable, "count": {SENT: {}}}
    turns = [{"number": 1}, {"number": 2}]
    data = [row(-3, turns=turns), row(-3, turns=turns)]

    (found,) = readings(loaded(query), Api({"data": data}), **({} if mutable else GOING_ON))
    pages = query | {"pages": NEXT | {"size": 1}}
    answers = [{"data": data[:1], "next": 2}, {"data": data[1:], "next": None}]
    (shifted,) = readings(loaded(pages), Api(*answers), **({} if mutable else GOING_ON))

    assert found.drift == {"unexpected_type": 2}
    assert found.notes == [
        "2 rows of one answer have the id of another and replace it: does id identify a row?"
    ]
    assert shifted.drift == {}


def test_11_a_label_that_a_stream_cuts_is_counted() -> None:
    query = STREAM | {"labels": {"channel": "row.channel"}}

    (found,) = readings(
        loaded(query), Api({"data": [row(-1, id=1, channel="x" * 200)]}), **GOING_ON
    )

    assert found.dropped == {(SENT, "label_length"): 1}


def test_11_records_of_another_time_are_drift_in_a_stream() -> None:
    query = STREAM | {"at": "row.time|epoch_ms"}

    (found,) = readings(loaded(query), Api({"data": [row(-1, id=1)]}), **GOING_ON)

    assert found.drift == {"unexpected_type": 1}
    assert found.notes[0].startswith("rows of 1 instants lie outside the window")


@pytest.mark.parametrize("end", ["exclusive", "inclusive", "unstated"])
@pytest.mark.parametrize(("form", "bucket"), [("date", "1d"), ("strptime:%Y-%m-%dT%H", "1h")])
def test_11_a_stream_whose_bounds_are_coarse_loses_no_record(
    end: str, form: str, bucket: str
) -> None:
    params = {"from": f"window.start|{form}", "to": f"window.end|{form}"}
    window = {"bucket": bucket, "end": end, "lookback": "10m", "settle": "10m"}
    query = STREAM | {"request": {"path": "/q", "params": params}, "window": window}
    manifest = loaded(query)
    begin_ms, poll_ms = NOON_MS - DAY_MS, HOUR_MS
    records = [begin_ms + number * HOUR_MS // 3 + 1_500 for number in range(125)]

    def answer(request: httpx.Request) -> httpx.Response:
        since, until = (request.url.params[name] for name in ("from", "to"))
        asked = [at for at in records if at < now_ms and _within(iso(at), since, until, end)]
        return httpx.Response(200, json={"data": [{"time": at / 1000, "id": at} for at in asked]})

    spec, seen, read_ms = target(manifest).queries[0].spec, set[int](), begin_ms
    for now_ms in range(begin_ms + poll_ms, records[-1], poll_ms):
        part = Window(read_ms - spec.lookback_ms, now_ms)
        poll = GOING_ON | {"watermark_ms": read_ms}
        (found,) = readings(manifest, Api_of(answer), part, now_ms, **poll)
        seen |= {each.at_ms for each in found.events}
        read_ms = now_ms

    complete_ms = now_ms - now_ms % (DAY_MS if bucket == "1d" else HOUR_MS)
    assert seen >= {at for at in records if at < complete_ms}


def _within(at: str, since: str, until: str, end: str) -> bool:
    """Say whether an API that compares texts finds ``at``; ``until`` itself is included or not."""
    known = at[: len(until)]
    return since <= at and (known <= until if end == "inclusive" else known < until)


def test_12_a_distinct_count_is_its_buckets_and_a_trailing_one_is_a_level() -> None:
    api = Api({"data": [row(hour, users=5) for hour in (-3, -2, -1)]})

    (of_hours,), (trailing,) = (
        readings(loaded(query), api) for query in (showing(), showing(**TRAILING))
    )

    assert {each.series[1][-1] for each in of_hours.buckets} == {"hour"}
    assert {each.series[1][-1] for each in trailing.levels} == {"trailing_7d"}


@pytest.mark.parametrize(
    ("bound", "window", "problem"),
    [
        ("date", {}, "a date has no hour"),
        ("strptime:%Y-%m-%d", {}, "does not distinguish one bucket from the next"),
        ("strptime:%Y-%m", {"bucket": "1d"}, "does not distinguish one bucket"),
        ("date", {"bucket": "1d"}, ""),
        ("strptime:%Y-%m-%d %H %Z", {}, "the name of a zone is not its offset"),
        ("strptime:%Y-%m-%d %H %Y", {}, "not a format that can be read back"),
        ("strptime:%Y-%m-%dT%H", {}, ""),
        ("strptime:%Y-%m-%dT%H:00Z", {}, ""),
        ("strptime:%Y-%m-%dT%H:00Z", {"timezone": "Europe/Berlin"}, "Z means UTC"),
        ("strptime:%Y-%m-%dT%H:00%z", {"timezone": "Europe/Berlin"}, ""),
    ],
)
@pytest.mark.parametrize("place", ["from", "to", "body", "at"])
def test_6_bounds_and_times_are_as_fine_as_buckets_and_name_their_zone(
    bound: str, window: dict[str, Any], problem: str, place: str
) -> None:
    params = {"from": "window.start|epoch_s", "to": "window.end|epoch_s"}
    request: dict[str, Any] = {"path": "/q", "params": params}
    query: dict[str, Any] = {"request": request, "window": {"end": "exclusive"} | window}
    if place == "at":
        query["at"] = f"row.time|{bound}"
    elif place == "body":
        request |= {"method": "POST", "body": {"range": [f"since {{window.start|{bound}}}"]}}
    else:
        params[place] = f"window.{'start' if place == 'from' else 'end'}|{bound}"

    wrong = problems(query)

    assert problem in wrong
    assert bool(wrong) == bool(problem)


@pytest.mark.parametrize(("scalar", "read"), [("1.10", "1.1"), ("no", "false"), ("012", "10")])
@pytest.mark.parametrize(
    "place", [("only", "row.version", 0), ("labels", "channel"), ("request", "params", "v")]
)
def test_a_value_that_yaml_reads_otherwise_is_refused(
    scalar: str, read: str, place: tuple[str | int, ...]
) -> None:
    query: dict[str, Any] = {
        "only": {"row.version": ["x", "y"]},
        "labels": {"channel": "web"},
        "request": {**QUERY["request"], "params": {**QUERY["request"]["params"], "v": "z"}},
    }
    text = written(query).decode()
    mark = {"only": "x", "labels": "web", "request": "z"}[str(place[0])]
    plain = re.sub(rf"(?<=[ :-] ){mark}$", scalar, text, flags=re.MULTILINE)
    assert plain != text

    with pytest.raises(SettingsError, match=f"YAML reads this as {read}; write {read}, or put"):
        loader.loads(plain.encode())
    quoted = re.sub(rf"(?<=[ :-] ){mark}$", f'"{scalar}"', text, flags=re.MULTILINE)
    assert loader.loads(quoted.encode()).settings.name == "acme"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("team-{variable.team}", 'no value has this name; did you mean "variables"'),
        ("{{variables.team}}", "a value takes one pair of braces"),
        ({"json": {"a": 1}, "filter": 2}, "keys beside json are not sent"),
        (["a", {"b": 1}], "a list may hold only single values"),
        ([["a"]], "a list may hold only single values"),
        ("query {usage {sent}}", ""),
        ("{row.team}", ""),
        ({"filter": 2}, ""),
        ("team-{variables.team}", ""),
    ],
)
def test_a_parameter_that_would_be_sent_otherwise_is_refused(value: Any, problem: str) -> None:
    params = {**QUERY["request"]["params"], "q": value}

    found = problems({"request": {"path": "/q", "params": params}}, variables={"team": {}})

    assert problem in found
    assert bool(found) == bool(problem)


USERS = {"chatbot_known_users": {"value": "row.users", "class": "level"}}


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        ({}, {}, f"count.{SENT}"),
        ({"labels": {"channel": "web"}}, {"labels": {"channel": "web"}}, f"count.{SENT}"),
        ({"labels": {"channel": "variables.v"}}, {"labels": {"channel": "variables.v"}}, "count"),
        ({"gauge": USERS, "count": {}}, {"gauge": USERS, "count": {}}, "gauge.chatbot_known_users"),
        (
            {"labels": {"channel": "www"}, "label_rules": {"channel": {"map": {"www": "web"}}}},
            {"labels": {"channel": "web"}},
            "count",
        ),
        (
            {"for_each": {"metric": {"a": SENT, "b": TOKENS}}, "count": {"each": {}}},
            {},
            f"count.{SENT}",
        ),
        ({}, {"for_each": {"metric": {"a": TOKENS, "b": SENT}}, "count": {"each": {}}}, "count"),
        ({"labels": {"channel": "web"}}, {"labels": {"channel": "chat"}}, ""),
        ({"labels": {"channel": "row.channel"}}, {}, ""),
    ],
)
def test_two_queries_never_feed_one_series(
    first: dict[str, Any], second: dict[str, Any], place: str
) -> None:
    request = {**QUERY["request"], "path": "/{each.metric}"}
    made = [
        {**QUERY, **({"request": request} if "for_each" in given else {}), **given}
        for given in (first, second)
    ]

    found = problems(variables={"v": {}}, queries=dict(zip(("one", "two"), made, strict=True)))

    assert ("the query one also feeds one series of" in found) == bool(place)
    assert (f": queries.two.{place}" in found) == bool(place)
    assert len(found.splitlines()) == bool(place)


def test_days_that_begin_elsewhere_are_drift() -> None:
    rows = [{"at": f"2026-03-0{day}T00:00:00+01:00", "sent": day} for day in (1, 2)]
    query = {"at": "row.at|iso", "window": {"bucket": "1d", "end": "exclusive"}, "missing": "zero"}

    (found,) = readings(loaded(query), Api({"data": rows}), DAY)

    assert found.drift == {"unexpected_type": 1}


def test_the_hour_that_a_clock_change_repeats_counts_in_the_first_of_both() -> None:
    end_ms = parse_instant("2026-10-25T03:00:00Z")
    rows = [{"at": f"2026-10-25 0{hour}", "sent": 1, "bot": "a"} for hour in (2, 2, 3)]
    query = {
        "at": "row.at|strptime:%Y-%m-%d %H",
        "missing": "zero",
        "window": {"timezone": "Europe/Berlin", "end": "exclusive"},
    }
    labels, window = {"labels": {"project": "row.bot"}}, Window(end_ms - 3 * HOUR_MS, end_ms)

    (found,) = readings(loaded(query | labels), Api({"data": rows}), window, end_ms)

    assert [(at_ms - end_ms) // HOUR_MS for _, at_ms, _ in found.counts] == [-3, -1]
    assert [value for _, _, value in found.counts] == [2, 1]
    for missing in ("zero", "error"):
        alone = loaded(query | {"missing": missing})
        (found,) = readings(alone, Api({"data": rows}), window, end_ms)
        assert [value for _, _, value in found.counts] == [2, 1]
        for again in (rows[0], rows[2]):  # a third row, and an hour that is not repeated
            with pytest.raises(SchemaError, match="duplicate bucket"):
                readings(alone, Api({"data": [*rows, again]}), window, end_ms)
    users = loaded(query | {"gauge": {"chatbot_active_users": DISTINCT}})
    (found,) = readings(
        users, Api({"data": [each | {"users": 5} for each in rows]}), window, end_ms
    )
    assert [each.window.start_ms - end_ms for each in found.buckets] == [-HOUR_MS]
    offset = [{"at": f"2026-10-25 02+0{hours}00", "sent": 1} for hours in (2, 2, 1)]
    known = loaded(query | {"at": "row.at|strptime:%Y-%m-%d %H%z"})
    with pytest.raises(SchemaError, match="duplicate bucket"):
        readings(known, Api({"data": offset}), window, end_ms)


LOCAL = "strptime:%Y-%m-%d %H:%M"


@pytest.mark.parametrize("end", ["exclusive", "inclusive", "unstated"])
@pytest.mark.parametrize("span", ["1h", "2h", "3h", "4h"])
def test_no_hour_is_lost_where_a_bound_lies_in_the_repeated_one(end: str, span: str) -> None:
    end_ms = parse_instant("2026-10-25T03:00:00Z")
    hours = [f"2026-10-25 {hour}:00" for hour in ("01", "02", "02", "03")]
    params = {"from": f"window.start|{LOCAL}", "to": f"window.end|{LOCAL}"}
    query = {
        "request": {"path": "/q", "params": params},
        "at": f"row.at|{LOCAL}",
        "missing": "zero",
        "labels": {"project": "row.bot"},
        "window": {"timezone": "Europe/Berlin", "end": end, "max_span": span},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        since, until = (request.url.params[name] for name in ("from", "to"))
        asked = [at for at in hours if since <= at < until or (end == "inclusive" and at == until)]
        return httpx.Response(
            200, json={"data": [{"at": at, "sent": 1, "bot": "a"} for at in asked]}
        )

    found = readings(loaded(query), Api_of(answer), Window(end_ms - 4 * HOUR_MS, end_ms), end_ms)

    every = [(at_ms - end_ms) // HOUR_MS for each in found for _, at_ms, _ in each.counts]
    assert every == [-4, -3, -1]
    assert sum(counts(found).values()) == 4


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Africa/Casablanca"])
def test_a_range_of_local_times_warns_of_the_repeated_hour(zone: str) -> None:
    query: dict[str, Any] = {"shape": "range", "missing": None, "at": None}
    query |= {"window": {"end": "inclusive", "timezone": zone}}

    def warned(form: str) -> bool:
        params = {"from": f"window.start|{form}", "to": f"window.end|{form}"}
        manifest = loaded(query | {"request": {"path": "/q", "params": params}})
        return "read twice" in str(manifest.warnings)

    assert [warned(form) for form in (LOCAL, f"{LOCAL}%z", "epoch_s", "iso")] == [True] + [
        False
    ] * 3


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (
            {"data": [row(-1, sent=4)], "more": True, "next": None},
            "pages.from .next. leads nowhere",
        ),
        ({"data": [row(-1, sent=4)], "more": True}, "pages.from .next. leads nowhere"),
        ({"data": [row(-1, sent=4)], "more": True, "next": "a"}, "was repeated"),
        *(
            ({"data": [row(-1, sent=4)], "more": more, "next": "b"}, "pages.more: expected true or")
            for more in ("yes", "true", 1, 0)
        ),
    ],
)
def test_14_a_cursor_repeats_or_is_missing(second: dict[str, Any], reason: str) -> None:
    first = {"data": THREE["data"][:2], "more": True, "next": "a"}

    with pytest.raises((Truncated, SchemaError), match=reason):
        readings(loaded({"pages": CURSOR}), Api(first, second))


@pytest.mark.parametrize("nested", [False, True])
def test_14_pages_without_end_are_given_up_before_they_fill_the_memory(*, nested: bool) -> None:
    many = [row(-1)] * 200_000
    data = [{"time": NOON_MS // 1000 - 3600, "results": many}] if nested else many
    pages = [{"data": data, "more": True, "next": name} for name in "abcdef"]

    with pytest.raises(Truncated, match="more than 1,000,000 items for one reading"):
        readings(loaded({"pages": CURSOR} | (NESTED if nested else {})), Api(*pages))


ALIKE = [row(-1, sent=5, bot="x", agent=agent) for agent in ("a", "b", "c")]


@pytest.mark.parametrize(
    ("pages", "nexts"), [(NEXT, ("2", "3", None)), ({"kind": "page", "send": "p"}, ("", "", ""))]
)
def test_pages_that_differ_in_what_is_not_read_all_count(
    pages: dict[str, Any], nexts: tuple[Any, ...]
) -> None:
    answers = [{"data": [each], "next": n} for each, n in zip(ALIKE, nexts, strict=True)]

    query = {"pages": pages, "missing": "zero", "labels": {"project": "row.bot"}}

    (found,) = readings(loaded(query), Api(*answers, {"data": [], "next": None}))

    assert counts([found]) == {-1: 15}
    assert not found.drift


@pytest.mark.parametrize("kind", ["cursor", "next_url"])
def test_an_empty_page_with_a_cursor_is_not_the_end(kind: str) -> None:
    pages = NEXT if kind == "cursor" else {"kind": kind, "from": "next"}
    page = {"data": [row(-1, sent=5)], "next": "?c=3"}
    api = Api({"data": [], "next": "?c=1"}, page, {"data": [], "next": "?c=3"})

    assert counts(readings(loaded({"pages": pages, "missing": "zero"}), api)) == {-1: 5}
    assert len(api.requests) == 3  # the last one leads to itself


@pytest.mark.parametrize(
    ("parameters", "follows"),
    [
        ('rel="next"', True),
        ("rel=next", True),
        ("REL = 'Next'", True),
        ('rel="last next"', True),
        ('title="a, b"; rel="next"', True),
        ('rel="next-archive"', False),
        ('rel="prev"; title="next"', False),
    ],
)
@pytest.mark.parametrize("before", ["", f'<?c={"x" * 9_000}>; rel="prev", '])
def test_a_link_header_leads_to_the_next_page(
    parameters: str,
    follows: bool,
    before: str,
) -> None:
    links = [("link", f"{before}<?c=2>; {parameters}"), ("link", '<?c=9>; rel="last"')]
    first = httpx.Response(200, headers=links, json={"data": [row(-2, sent=1)]})
    last = httpx.Response(200, json={"data": [row(-1, sent=4)]})
    query = {"pages": {"kind": "link_header"}, "missing": "zero"}

    found = counts(readings(loaded(query), Api(first, last)))

    assert found == ({-2: 1, -1: 4} if follows else {-2: 1})


DEEP = {"kind": "cursor", "from": "meta.next", "send": "page"}
DEEPER = DEEP | {"from": "meta.paging.next", "size": 3}
LINKS = {"kind": "link_header"}


def limited(limit: Any) -> dict[str, Any]:
    """Return a request that asks for ``limit`` items."""
    return {"request": QUERY["request"] | {"params": QUERY["request"]["params"] | {"n": limit}}}


@pytest.mark.parametrize(
    ("pages", "answer", "more", "missing"),
    [
        (NEXT | {"size": 3}, {"nextpage": 2}, {}, 1),
        (NEXT | {"size": 3}, {"next": None}, {}, 0),
        (NEXT | {"size": 4}, {"nextpage": 2}, limited(3), 0),
        (NEXT, {"nextpage": 2}, limited(3), 1),
        (NEXT, {"nextpage": 2}, limited("3"), 1),
        (NEXT, {"nextpage": 2}, limited(4), 0),
        (NEXT, {"data": [], "nextpage": 2}, limited(0) | {"missing": "zero"}, 0),
        (NEXT | {"more": "more"}, {"nextpage": 2}, {}, 1),
        (LINKS, {}, limited(3), 1),
        (LINKS, {}, {}, 0),
        (DEEP, {"data2": {"next": 2}}, {}, 1),
        (DEEP | {"size": 4}, {"data2": {"next": 2}}, {}, 0),
        (DEEP, {"meta": {}}, {}, 0),
        (DEEP, {"meta": None}, {}, 0),
        (DEEP | {"size": 3}, {"meta": None}, {}, 1),
        (DEEP | {"size": 4}, {"meta": None}, {}, 0),
        (DEEP | {"more": "meta.more"}, {"meta": None}, {}, 1),
        (DEEPER, {"meta": None}, {}, 1),
        (DEEPER, {"meta": {}}, {}, 1),
        (DEEPER, {"meta": {"paging": None}}, {}, 1),
        (DEEPER, {"meta": {"paging": {}}}, {}, 1),
        (DEEPER, {"meta": {"paging": {"next": None}}}, {}, 0),
        (DEEPER, {"meta": {"paging": None}, "n": 3}, {"complete": {"total": "n"}}, 0),
        (NEXT | {"more": "more"}, {"next": None, "more": None}, {}, 0),
    ],
)
def test_a_first_page_that_looks_full_or_has_no_place_for_its_cursor_is_drift(
    pages: dict[str, Any], answer: dict[str, Any], more: dict[str, Any], missing: int
) -> None:
    (found,) = readings(loaded({"pages": pages} | more), Api(THREE | answer))

    assert found.drift == ({"missing": missing} if missing else {})
    assert bool(found.notes) >= bool(missing)
    assert found.unfit.endswith("check the path, or give pages.more or pages.size") == missing


@pytest.mark.parametrize("more", [{}, {"mores": None}])
def test_a_wrong_path_of_more_is_drift_while_the_cursor_leads_on(more: dict[str, Any]) -> None:
    pages = {"pages": NEXT | {"more": "mores"}}
    last: dict[str, Any] = {"data": [], "next": None}

    (found,) = readings(loaded(pages), Api(THREE | {"next": 2} | more, last))

    assert found.drift == {"missing": 1}
    assert found.unfit.startswith("pages.more (mores) is missing from an answer that should have")


def test_filters_that_leave_no_row_are_noted() -> None:
    (found,) = readings(loaded({"only": {"row.sent": [9]}}), Api(THREE))

    assert found.notes == ["only and except admit none of 3 rows"]


@pytest.mark.parametrize("parent", ["text", 3, []])
def test_a_cursor_whose_parent_is_no_object_is_a_changed_answer(parent: Any) -> None:
    with pytest.raises(SchemaError, match="meta"):
        readings(loaded({"pages": DEEP}), Api(THREE | {"meta": parent}))


@pytest.mark.parametrize("kind", [{}, STREAM])
def test_a_first_read_needs_the_fields_that_its_series_have(kind: dict[str, Any]) -> None:
    labels = {"channel": "row.chan"}
    data = [row(-3, sent=1, bot=None), row(-2, sent=2, bot="b"), row(-1, bot="b")]
    three = {"data": [each | {"id": each["time"]} for each in THREE["data"]]}

    (label,) = readings(loaded(kind | {"labels": labels}), Api(three))
    (null,) = readings(loaded({"labels": {"project": "row.bot"}}), Api({"data": data}))
    (meant,) = readings(
        loaded(kind | {"labels": labels, "null_labels": {"row.chan": ""}}), Api(three)
    )

    assert label.unfit.startswith(
        "labels.channel: row.chan is absent in all 3 rows; check the path"
    )
    assert null.unfit.startswith(
        f"row.sent is absent in 1 of 3 rows, so {SENT} cannot begin; check"
    )
    assert null.notes == [
        "labels.project: row.bot is null in 1 of 3 rows",
        "row.sent is absent in 1 of 3 rows",
    ]
    assert not meant.unfit


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("0.1250", "row.sent: expected a whole number: fractions need a family of your own"),
        ("twelve", r"row.sent: expected a number up to 2\^53, found text"),
    ],
)
def test_a_refused_number_says_what_to_do(sent: str, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        readings(loaded({"missing": "zero"}), Api({"data": [row(-1, sent=sent)]}))
    with pytest.raises(SchemaError, match=r"row: data\[\] is not in the answer"):
        readings(loaded(), Api({}))


def test_answers_of_another_time_are_named() -> None:
    far = {"data": [row(-30, sent=1), row(-29, sent=1), row(-1, sent=1)]}

    (found,) = readings(loaded({"missing": "zero"}), Api(far))

    window = "outside the window 2026-03-03 09:00 to 2026-03-03 12:00 UTC; give --at"
    assert [f"rows of 2 instants lie {window}, the time of the answers"] == found.notes
    assert found.drift == {"unexpected_type": 2}


@pytest.mark.parametrize(
    "key", ["export", "file", "subscription", "sigv4", "session", "relative", "csv", "last"]
)
def test_what_cannot_be_expressed_is_refused_with_its_reason(key: str) -> None:
    for place in ({"request": QUERY["request"] | {key: "x"}}, {key: "x"}):
        assert "not supported" in problems(place)


@pytest.mark.parametrize(
    ("query", "warning"),
    [
        ({}, ""),
        ({"missing": "zero"}, "nothing shows that an answer is complete"),
        ({"window": {"end": "unstated"}}, "whether the end of the window is included"),
        ({"window": {"end": "exclusive", "lookback": "1h", "settle": "2h"}}, "shorter than settle"),
        ({"missing": "zero", "pages": NEXT}, "nothing would show that pages.from is wrong"),
        ({"missing": "zero", "pages": NEXT} | limited(50), ""),
        ({"missing": "zero", "pages": NEXT} | limited("9" * 4301), "that pages.from is wrong"),
        ({"missing": "zero", "pages": NEXT | {"size": 50}}, ""),
        ({"missing": "zero", "pages": NEXT | {"more": "more"}}, ""),
        ({"missing": "zero", "pages": NEXT, "complete": {"total": "n"}}, ""),
    ],
)
def test_what_is_valid_but_risky_is_a_warning(query: dict[str, Any], warning: str) -> None:
    assert [warning in str(each) for each in loaded(query).warnings] == [True] * bool(warning)
