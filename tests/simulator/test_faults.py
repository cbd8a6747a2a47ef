"""Which request a fault hits, and what it does to rows."""

from typing import Any

import pytest

from exporter.simulator.faults import TOO_BIG, Faults, corrupt


@pytest.mark.parametrize(
    ("selection", "hit"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"times": 2}, [0, 1]),
        ({"times": 2, "skip": 1}, [1, 2]),
        ({"when": lambda path: path == "/b", "times": 2}, [1, 3]),
    ],
)
def test_a_fault_hits_the_requests_it_is_scripted_for(
    selection: dict[str, Any], hit: list[int]
) -> None:
    faults = Faults()
    faults.on("server_error", **selection)

    paths = ["/a", "/b"] * 3

    assert [at for at, path in enumerate(paths) if faults.choose(path)] == hit


def test_a_fault_has_options_and_can_be_switched_off() -> None:
    faults = Faults(frozenset({"sparse"}))
    faults.on("throttled", retry_after=9)
    faults.on("sparse")
    before = faults.choose("/")

    faults.off("throttled")

    assert before == {"throttled": {"retry_after": 9}, "sparse": {}}
    assert faults.choose("/") == {"sparse": {}}


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError, match="sparse"):
        Faults().on("sparse")


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("empty", {}, []),
        ("duplicate_row", {}, [{"a": "x", "n": 3}, {"n": 4}, {"a": "x", "n": 3}]),
        ("renamed_field", {}, [{"a": "x", "n_renamed": 3}, {"n": 4}]),
        ("renamed_field", {"field": "a"}, [{"n": 3, "a_renamed": "x"}, {"n": 4}]),
        ("wrong_type", {}, [{"a": "x", "n": ["many"]}, {"n": 4}]),
        ("negative", {}, [{"a": "x", "n": -7}, {"n": 4}]),
        ("huge", {}, [{"a": "x", "n": TOO_BIG}, {"n": 4}]),
    ],
)
def test_rows_are_corrupted(name: str, options: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    given: list[dict[str, Any]] = [{"a": "x", "n": 3}, {"n": 4}]
    none: list[dict[str, Any]] = []

    corrupt(given, {name: options})
    corrupt(none, {name: options})

    assert (given, none) == (rows, [])
