"""Which request a fault hits, and what it does to rows."""

from dataclasses import dataclass
from typing import Any

import pytest

from exporter.simulator.faults import TOO_BIG, Faults, spoil


@dataclass(frozen=True)
class Request:
    number: int = 1
    now_ms: int = 0
    path: str = "/"


def hits(faults: Faults, requests: list[Request]) -> list[int]:
    return [request.number for request in requests if faults.choose(request)]


REQUESTS = [Request(number, number * 10, "/a" if number % 2 else "/b") for number in range(1, 7)]


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"times": 2}, [1, 2]),
        ({"times": 2, "skip": 1}, [2, 3]),
        ({"numbers": frozenset({2, 5})}, [2, 5]),
        ({"start_ms": 20, "end_ms": 40}, [2, 3]),
        ({"when": lambda request: request.path == "/b", "times": 2}, [2, 4]),
    ],
)
def test_a_fault_hits_the_requests_it_is_scripted_for(
    selection: dict[str, Any], numbers: list[int]
) -> None:
    faults = Faults()
    faults.on("server_error", **selection)

    assert hits(faults, REQUESTS) == numbers


def test_a_fault_can_be_switched_off() -> None:
    faults = Faults(frozenset({"sparse"}))
    faults.on("hang")
    faults.on("sparse")

    faults.off("hang")

    assert faults.choose(Request()) == {"sparse": {}}


def test_options_reach_the_request() -> None:
    faults = Faults()
    faults.on("throttled", retry_after=9)

    assert faults.choose(Request()) == {"throttled": {"retry_after": 9}}


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError, match="sparse"):
        Faults().on("sparse")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("empty", []),
        ("duplicate_row", [{"a": "x", "n": 3}, {"n": 4}, {"a": "x", "n": 3}]),
        ("renamed_field", [{"a": "x", "n_renamed": 3}, {"n": 4}]),
        ("wrong_type", [{"a": "x", "n": ["many"]}, {"n": 4}]),
        ("negative", [{"a": "x", "n": -7}, {"n": 4}]),
        ("huge", [{"a": "x", "n": TOO_BIG}, {"n": 4}]),
    ],
)
def test_rows_are_spoilt(name: str, rows: list[dict[str, Any]]) -> None:
    given: list[dict[str, Any]] = [{"a": "x", "n": 3}, {"n": 4}]

    spoil(given, {name: {}})

    assert given == rows


def test_a_named_field_is_hit_instead_of_the_first_number() -> None:
    given: list[dict[str, Any]] = [{"a": "x", "n": 3}]

    spoil(given, {"renamed_field": {"field": "a"}})

    assert given == [{"n": 3, "a_renamed": "x"}]


def test_no_rows_are_left_alone() -> None:
    given: list[dict[str, Any]] = []

    spoil(given, {"negative": {}})

    assert given == []
