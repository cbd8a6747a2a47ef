"""The row language terminates, reads the fields it names and nothing else, and says where it errs."""

import base64
import copy
import re
from contextlib import suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import ValidationError

from exporter.errors import ProviderError, SettingsError
from exporter.providers.manifest import loader
from exporter.providers.manifest.expressions import (
    CONVERSIONS,
    Expression,
    ExpressionError,
    parse,
    parse_level,
)
from exporter.providers.manifest.loader import LoadedManifest
from exporter.providers.manifest.templates import Substitutes, fill, fill_path, parts
from tests.config.test_fuzz import paths, replaced
from tests.providers.manifest.files import (
    COST,
    QUERY,
    SENT,
    THREE,
    Api,
    counts,
    loaded,
    problems,
    readings,
)
from tests.support.examples import examples

CANARY = "C4n4ry"
NAME = st.sampled_from(["a", "Tokens_2", "x-y", "_id", "row", "iso"])
STEP = st.one_of(
    NAME.map(".{}".format),
    NAME.map('."{}"'.format),
    st.just("[]"),
    st.just("{}"),
    st.tuples(NAME, NAME).map("[{0[0]}={0[1]}]".format),
)
PATHS = st.lists(STEP, max_size=6).map(lambda steps: "row" + "".join(steps))
GOOD = st.tuples(
    st.lists(PATHS, min_size=1, max_size=4).map(" + ".join),
    st.sampled_from(["", "|epoch_s", "|iso", "|scale:0.01", "|number", "|strptime:%Y-%m-%d %H"]),
).map("".join)
SHIPPED = Path(loader.SHIPPED)
FILES = sorted(Path(__file__).parent.glob("manifests/*.yaml")) + sorted(SHIPPED.glob("*.yaml"))


@examples(60)
@given(GOOD)
def test_a_good_expression_is_taken(text: str) -> None:
    found = parse(text, ("row",))

    assert {path.root for path in found.terms} == {"row"}
    assert all(each.name in CONVERSIONS for each in found.conversions)


@examples(100)
@given(
    st.one_of(st.text(max_size=40), GOOD), st.integers(0, 60), st.text('|+.[]{}"= @a:9', max_size=6)
)
def test_any_text_is_an_expression_or_an_error_with_its_place(
    text: str, at: int, inserted: str
) -> None:
    text = text[:at] + inserted + text[at:]
    for check in (lambda: parse(text, ("row",)), lambda: parse_level(text), lambda: parts(text)):
        try:
            found = check()
        except ExpressionError as error:
            place = re.search(r"^character (\d+): ", str(error))
            assert place is None or 1 <= int(place[1]) <= len(text) + 1
        else:
            assert isinstance(found, Expression | tuple)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("row.a + rwo.b", 9),
        ("row.a..b", 7),
        ("row.a b", 6),
        ("row.a|scal:2", 7),
        ("row.a | epoch_s:1", 8),
        ("row.a|scale:zero", 7),
        ("row.", 5),
        ('row."a\\b"', 5),
        ('row."a\tb"', 5),
        ("", 1),
    ],
)
def test_an_error_names_the_character(text: str, place: int) -> None:
    with pytest.raises(ExpressionError, match=f"^character {place}: "):
        parse(text, ("row",))


def test_the_error_of_an_expression_has_the_position_of_its_value() -> None:
    wrong = problems({"count": {SENT: {"value": "row.sent + rwo.x"}}})

    line = next(n for n, text in enumerate(wrong.splitlines(), 1) if "character 12" in text)
    assert line == 1
    assert re.match(r"manifest\.yaml:\d+:16: queries\.stats\.count\.\w+\.value: ", wrong)


@pytest.mark.parametrize("row", ["data as row", "data[].x[] as row"])
def test_a_wrong_list_is_one_problem_and_not_one_more_for_each_path_in_it(row: str) -> None:
    assert len(problems({"rows": [row]}).splitlines()) == 1


VALUE = st.recursive(
    st.sampled_from([None, True, 1, 2.5, CANARY, "12"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["data", "time", "sent", CANARY, "x"]), inner, max_size=4),
    ),
    max_leaves=12,
)


@examples(40)
@given(st.dictionaries(st.sampled_from(["x", "name", "text", CANARY, "time2"]), VALUE, max_size=5))
def test_only_the_declared_fields_are_decoded(more: dict[str, Any]) -> None:
    manifest = loaded()
    answer = {"data": [each | more for each in THREE["data"]], **more}
    program = manifest.queries["stats"].program

    decoded = program.answer.decode(msgspec.json.encode(answer))

    assert program.declared == ("data[].time", "data[].sent")
    assert msgspec.to_builtins(decoded) == THREE
    assert counts(readings(manifest, Api(answer))) == {-3: 1, -2: 2, -1: 4}


ANSWERS: dict[str, Any] = {
    "whole": VALUE,
    "row": VALUE.map(lambda value: {"data": [*THREE["data"], value]}),
    "field": VALUE.map(lambda value: {"data": [THREE["data"][0] | {"sent": value}]}),
    "time": VALUE.map(lambda value: {"data": [THREE["data"][0] | {"time": value}]}),
}


READERS = [
    loaded(),
    loaded({"missing": "zero", "pages": {"kind": "cursor", "from": "x", "send": "c"}}),
    loaded({"count": {COST: {"value": "row.sent"}}, "missing": "keep"}),
]


def error_of(manifest: LoadedManifest, answer: Any) -> str:
    """Return why the answer is refused; empty if it is read. Any other error is raised."""
    try:
        return "" if readings(manifest, Api(answer)) else "nothing"
    except ProviderError as error:
        return str(error)


@examples(80)
@given(st.one_of(*ANSWERS.values()))
def test_any_answer_is_read_or_a_named_error(answer: Any) -> None:
    errors = [error_of(manifest, answer) for manifest in READERS]

    assert "nothing" not in errors
    assert not [error for error in errors if CANARY in error]


@pytest.mark.parametrize(
    "body", [b"", b"[", b"\xff", b"null", b"1e400", b'{"data":[{"time":1e400}]}']
)
def test_a_broken_answer_is_a_named_error(body: bytes) -> None:
    with pytest.raises(ProviderError):
        readings(loaded(), Api(body))


ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**30, "", "row", "row.x|iso", "{secrets.key}", "{window.start}"),
    *([], {}, ["[] as row"], {"a": 1}, CANARY, "a + b|scale:1e999999", "../..", "x" * 400),
]
PLACES = {path.stem: (path, paths(yaml.safe_load(path.read_text("utf-8")))) for path in FILES}


def alike() -> dict[Any, list[Any]]:
    """Return every value of the manifests by its key, so that one may take the place of another."""
    found: dict[Any, list[Any]] = {}
    for path, places in PLACES.values():
        document = yaml.safe_load(path.read_text("utf-8"))
        for place in filter(None, places):
            found.setdefault(place[-1], []).append(reduce(getitem, place, document))
    return found


ALIKE = alike()


def taken(document: Any) -> tuple[LoadedManifest | None, list[tuple[int, int]]]:
    """Return a manifest, or where it is wrong; any other error is raised."""
    try:
        return loader.loads(yaml.safe_dump(document).encode()), []
    except SettingsError as error:
        return None, [(each.line, each.column) for each in error.problems]


@examples(100)
@given(data=st.data())
def test_any_value_in_any_place_of_a_manifest_is_taken_or_named(data: st.DataObject) -> None:
    path, places = PLACES[data.draw(st.sampled_from(sorted(PLACES)))]
    document = yaml.safe_load(path.read_text("utf-8"))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(places))
        values = data.draw(st.sampled_from([ODD, ALIKE.get(place[-1] if place else "", ODD)]))
        with suppress(KeyError, IndexError, TypeError, AttributeError):  # gone since the first
            document = replaced(copy.deepcopy(document), place, data.draw(st.sampled_from(values)))

    manifest, wrong = taken(document)

    event("refused" if manifest is None else "taken")
    assert all(min(position) >= 1 for position in wrong)
    if manifest is not None:
        with suppress(ValidationError):  # its variables may be where these values cannot be
            assert CANARY not in error_of(manifest, data.draw(st.one_of(*ANSWERS.values())))


SAFE = st.text(min_size=1, max_size=12)


@examples(60)
@given(SAFE)
def test_a_value_stays_in_its_place(value: str) -> None:
    given_ = Substitutes({"v": value})
    try:
        made = fill_path("/a/{variables.v}/b-{variables.v}", given_)
    except ExpressionError:
        assert value in (".", "..")
        return

    assert made.count("/") == 3
    assert not set(made) & set("?#\\ \n")
    assert fill({"x": ["variables.v", "{variables.v}!"]}, given_) == {"x": [value, f"{value}!"]}


def test_a_value_that_is_one_empty_variable_is_not_sent() -> None:
    params = {
        **QUERY["request"]["params"],
        "a": "variables.v",
        "b": {"json": "variables.v"},
        "c": {"json": {"d": "variables.v"}},
        "e": [1, "variables.v"],
    }
    request = {"path": "/q", "method": "POST", "params": params, "body": "variables.v"}
    auth = {"kind": "basic", "username": "variables.v", "password": "secrets.key"}
    manifest = loaded({"request": request}, auth=auth, variables={"v": {"default": ""}})
    api = Api(THREE)

    readings(manifest, api)

    (sent,) = api.requests
    assert sent.content == b""
    assert {**sent.url.params} == api.sent[0]
    assert {k: v for k, v in api.sent[0].items() if len(k) == 1} == {"c": "{}", "e": "1"}
    assert sent.headers["authorization"] == "Basic " + base64.b64encode(b":the-key").decode()


@pytest.mark.parametrize(
    "path",
    [
        "v1/x",
        "//evil.example/x",
        "/a/../b",
        "/a//b",
        "/a?b=1",
        "/a#b",
        "/a b",
        "/%2fx",
        "https://x",
        "/{secrets.key}",
    ],
)
def test_a_path_cannot_lead_elsewhere(path: str) -> None:
    params = {"from": "window.start|iso", "to": "window.end|iso"}

    assert "queries.stats.request.path" in problems({"request": {"path": path, "params": params}})


@pytest.mark.parametrize("at", ["row.time", "row.time|scale:2", "row.time|iso|date"])
def test_a_time_without_its_one_conversion_is_one_problem(at: str) -> None:
    assert len(problems({"at": at}).splitlines()) == 1
