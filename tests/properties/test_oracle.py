"""The properties notice a ledger that counts wrongly: each mutation of its rules makes them fail."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from exporter.errors import LedgerError
from exporter.ledger import rules
from exporter.model.samples import HOUR_MS
from tests.properties.test_ledger import Account

Rule = Callable[..., Any]
EFFORT = settings(
    max_examples=300, stateful_step_count=25, phases=[Phase.generate], derandomize=True,
    database=None, print_blob=False,
)  # fmt: skip


def counter_falls(advance: Rule) -> Rule:
    def fall(*arguments: Any, **named: Any) -> Any:
        after = advance(*arguments, **named)
        return replace(after, c=after.c - after.overhang, overhang=0.0, since_ms=None)

    return fall


def growth_counted_twice(merge: Rule) -> Rule:
    def twice(*arguments: Any) -> Any:
        merged = merge(*arguments)
        return replace(merged, growth={key: 2 * value for key, value in merged.growth.items()})

    return twice


def shifted(rows: Mapping[Any, Any]) -> dict[Any, Any]:
    return {(series, at_ms + HOUR_MS): value for (series, at_ms), value in rows.items()}


def mentioned(known: Mapping[Any, Any], rows: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: bucket for key, bucket in known.items() if key in rows}


def forgiving(advance: Rule, *, forgive: bool) -> Rule:
    return lambda *arguments, **named: advance(*arguments, **named | {"forgive": forgive})


def written_off(advance: Rule, after: Callable[[Any], Any]) -> Rule:
    return lambda state, grown, now_ms, after_ms, **named: advance(
        state, grown, now_ms, after(after_ms), **named
    )


MUTATIONS: Mapping[str, Callable[[Rule], Rule]] = {
    "advance: wrong sign": lambda rule: lambda state, n, *more, **by: rule(state, -n, *more, **by),
    "advance: retractions ignored": lambda rule: (
        lambda state, n, *more, **by: rule(state, max(0, n), *more, **by)
    ),
    "advance: counter falls": counter_falls,
    "advance: written off at once": lambda rule: forgiving(rule, forgive=True),
    "advance: reset not written off": lambda rule: forgiving(rule, forgive=False),
    "advance: never written off": lambda rule: written_off(rule, lambda _after_ms: None),
    "advance: written off late": lambda rule: written_off(rule, lambda ms: ms and 2 * ms),
    "merge: baseline counted": lambda rule: (
        lambda known, rows, frame: rule(known, rows, replace(frame, baseline=False))
    ),
    "merge: new labels counted": lambda rule: (
        lambda known, rows, frame: rule(known, rows, replace(frame, rebased=frozenset()))
    ),
    "merge: one bucket late": lambda rule: (
        lambda known, rows, frame: rule(known, shifted(rows), frame)
    ),
    "merge: absent rows kept": lambda rule: (
        lambda known, rows, frame: rule(mentioned(known, rows), rows, frame)
    ),
    "merge: growth counted twice": growth_counted_twice,
    "looks_collapsed: applied at once": lambda _rule: lambda *_known, **_by: False,
    "looks_collapsed: every loss held back": lambda _rule: (
        lambda known, rows, **_by: known != {key: rows.get(key, {}) for key in known}
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_rule_makes_the_properties_fail(
    mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = mutation.partition(":")[0]
    monkeypatch.setattr(rules, name, MUTATIONS[mutation](getattr(rules, name)))

    with pytest.raises((AssertionError, LedgerError, ExceptionGroup)):
        run_state_machine_as_test(Account, settings=EFFORT)
