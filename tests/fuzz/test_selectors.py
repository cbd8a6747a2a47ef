"""Selectors: what PromQL accepts is accepted, anything else is an error, in bounded time."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.explain.selector import SelectorError, parse

EFFORT = settings(max_examples=150, deadline=None)
PIECES = st.sampled_from(
    ["a", "b", "{", "}", "=", "=~", "!=", "!~", '"', "'", "`", ",", "\\", "(", "|", ")", "[", "]",
     ".*", "+", "?", " ", "\n", "é", "\x00", "__name__", '"x"']
)  # fmt: skip
LITERAL = st.text("ab.|-", max_size=4)


@EFFORT
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join)))
def test_any_text_is_a_selector_or_an_error(text: str) -> None:
    try:
        message = str(parse(text).matches("a", {"b": "x"}))
    except SelectorError as error:
        message = str(error)

    assert message


def matches(pattern: str, text: str) -> bool:
    """Return whether a label value ``text`` is selected by the regular expression."""
    return parse(f"{{a=~`{pattern}`,b=`y`}}").matches("x", {"a": text, "b": "y"})


@st.composite
def patterns(draw: st.DrawFn) -> str:
    atom = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "[a-b]", "\\.", "\\d", "\\w"])
    grown = st.recursive(
        atom,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from("*+?")).map(lambda p: f"(?:{p[0]}){p[1]}"),
            st.lists(inner, min_size=1, max_size=3).map("".join),
            st.lists(inner, min_size=2, max_size=3).map(lambda p: f"({'|'.join(p)})"),
        ),
        max_leaves=6,
    )
    return draw(grown)


@EFFORT
@given(patterns(), st.text("ab.1\n", max_size=6))
def test_a_pattern_matches_what_the_usual_engine_matches(pattern: str, text: str) -> None:
    assert matches(pattern, text) == bool(re.fullmatch(pattern, text, re.DOTALL))


@EFFORT
@given(LITERAL, LITERAL)
def test_a_quoted_value_means_itself(value: str, other: str) -> None:
    selector = parse(f'{{a="{value}",b!="nothing"}}') if value else parse('{b!=""}')

    assert selector.matches("x", {"a": value, "b": "y"})
    assert selector.matches("x", {"a": other, "b": "y"}) is (not value or other == value)


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(.*)*x"])
def test_no_pattern_takes_long(pattern: str) -> None:
    assert not matches(pattern, "a" * 20_000 + "!")


@pytest.mark.parametrize("pattern", ["(", ")", "[", "*", "a{2000}", "\\p", "\\", "(?=a)", "(a)\\1"])
def test_what_re2_does_not_support_is_an_error_that_says_where(pattern: str) -> None:
    with pytest.raises(SelectorError, match=r"character \d+: invalid regular expression: "):
        matches(pattern, "a")


FOUND = ['up{a="x"}', "up{a='x',}", "up{a=~`x|y`}", '{__name__=~"u.",a!~"y"}', 'up{missing=""}']
NOT_FOUND = ['down{a="x"}', 'up{a=~"y"}', 'up{a!="x"}', 'up{b!=""}']


@pytest.mark.parametrize("selector", FOUND + NOT_FOUND)
def test_a_series_is_found_where_promql_finds_it(selector: str) -> None:
    assert parse(selector).matches("up", {"a": "x"}) is (selector in FOUND)


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ('up{a=~"\\."}', "double the backslash"),
        ('up{a=~"\udcff"}', "character 8: not valid Unicode"),
    ],
)
def test_a_selector_that_promql_does_not_accept_is_refused(selector: str, message: str) -> None:
    with pytest.raises(SelectorError, match=message):
        parse(selector)
