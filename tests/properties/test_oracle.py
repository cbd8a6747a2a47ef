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


def wrong_sign(advance: Rule) -> Rule:
    return lambda before, growth, *more, **named: advance(before, -growth, *more, **named)


def counter_falls(advance: Rule) -> Rule:
    def fall(*arguments: Any, **named: Any) -> Any:
        after = advance(*arguments, **named)
        return replace(after, c=after.c - after.overhang, overhang=0.0, since_ms=None)

    return fall


def retractions_ignored(advance: Rule) -> Rule:
    return lambda before, growth, *more, **named: advance(before, max(0, growth), *more, **named)


def written_off_at_once(advance: Rule) -> Rule:
    return lambda *arguments, **named: advance(*arguments, **named | {"forgive": True})


def never_written_off(advance: Rule) -> Rule:
    return lambda before, growth, now_ms, _after, **named: advance(
        before, growth, now_ms, None, **named
    )


def written_off_late(advance: Rule) -> Rule:
    return lambda before, growth, now_ms, after_ms, **named: advance(
        before, growth, now_ms, after_ms and 2 * after_ms, **named
    )


def reset_not_written_off(advance: Rule) -> Rule:
    return lambda *arguments, **named: advance(*arguments, **named | {"forgive": False})


def baseline_counted(merge: Rule) -> Rule:
    return lambda known, rows, frame: merge(known, rows, replace(frame, baseline=False))


def one_bucket_late(merge: Rule) -> Rule:
    def shifted(rows: Mapping[Any, Any]) -> dict[Any, Any]:
        return {(series, at_ms + HOUR_MS): value for (series, at_ms), value in rows.items()}

    return lambda known, rows, frame: merge(known, shifted(rows), frame)


def absent_rows_kept(merge: Rule) -> Rule:
    return lambda known, rows, frame: merge(
        {key: bucket for key, bucket in known.items() if key in rows}, rows, frame
    )


def growth_counted_twice(merge: Rule) -> Rule:
    def twice(*arguments: Any) -> Any:
        merged = merge(*arguments)
        return replace(merged, growth={key: 2 * value for key, value in merged.growth.items()})

    return twice


def new_labels_counted(merge: Rule) -> Rule:
    return lambda known, rows, frame: merge(known, rows, replace(frame, rebased=frozenset()))


def collapse_applied_at_once(_collapsed: Rule) -> Rule:
    return lambda *_arguments, **_named: False


def every_loss_held_back(_collapsed: Rule) -> Rule:
    return lambda known, rows, **_named: known != {key: rows.get(key, {}) for key in known}


MUTATIONS: Mapping[str, list[Callable[[Rule], Rule]]] = {
    "advance": [wrong_sign, counter_falls, retractions_ignored, written_off_at_once,
                never_written_off, written_off_late, reset_not_written_off],
    "merge": [baseline_counted, one_bucket_late, absent_rows_kept, growth_counted_twice,
              new_labels_counted],
    "looks_collapsed": [collapse_applied_at_once, every_loss_held_back],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "mutate"),
    [(name, each) for name, mutations in MUTATIONS.items() for each in mutations],
)
def test_a_wrong_rule_makes_the_properties_fail(
    name: str, mutate: Callable[[Rule], Rule], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, name, mutate(getattr(rules, name)))

    with pytest.raises((AssertionError, LedgerError, ExceptionGroup)):
        run_state_machine_as_test(Account, settings=EFFORT)
