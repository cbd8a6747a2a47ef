"""P2 to P6 on the pure rules, over generated accounts that grow late, shrink and are read oddly."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.rules import Bucket, CounterState, Frame, Key, advance, merge
from exporter.model.samples import HOUR_MS
from tests.support.examples import examples

SERIES, HOURS = 3, 6
NEVER = None
SIX_HOURS = 6 * HOUR_MS

Move = tuple[int, int, int]
moves = st.lists(
    st.tuples(st.integers(0, SERIES - 1), st.integers(0, HOURS - 1), st.integers(-30, 60)),
    max_size=6,
)
growth = st.lists(
    st.tuples(st.integers(0, SERIES - 1), st.integers(0, HOURS - 1), st.integers(0, 60)),
    max_size=6,
)


def stories(step: st.SearchStrategy[list[Move]]) -> st.SearchStrategy[list[list[Move]]]:
    """Return what happens to an account between one read and the next."""
    return st.lists(step, min_size=2, max_size=12)


def figures(story: Iterable[list[Move]]) -> dict[Key, float]:
    """Return what the vendor says after all that; a figure is never negative."""
    sums: dict[Key, float] = {}
    for series, hour, units in (move for step in story for move in step):
        key = (series, hour * HOUR_MS)
        sums[key] = max(0.0, sums.get(key, 0.0) + units)
    return {key: value for key, value in sums.items() if value}


@dataclass
class Counted:
    """Runs the rules as a poll does."""

    write_off_after_ms: int | None = NEVER
    known: dict[Key, Bucket] = field(default_factory=dict)
    tallies: dict[int, CounterState] = field(default_factory=dict)
    now_ms: int = 0
    begun: bool = False

    def read(self, rows: Mapping[Key, float], after_ms: int = HOUR_MS) -> None:
        self.now_ms += after_ms
        frame = Frame(HOUR_MS, HOUR_MS, not self.begun, self.now_ms - after_ms)
        merged = merge(self.known, rows, frame)
        self.known |= merged.buckets
        for series in range(SERIES):
            before = self.tallies.get(series, CounterState())
            after = advance(
                before, merged.growth.get(series, 0.0), self.now_ms, self.write_off_after_ms
            )
            self._compare(before, after)
            self.tallies[series] = after
        self.begun = True

    def read_all(self, story: Sequence[list[Move]]) -> None:
        for upto in range(1, len(story) + 1):
            self.read(figures(story[:upto]))

    def _compare(self, before: CounterState, after: CounterState) -> None:
        assert after.c >= before.c
        assert after.overhang >= 0
        assert after.written_off >= before.written_off
        assert after.c - before.c <= max(0.0, after.truth - before.truth)
        if before.since_ms is not None and after.overhang and self.write_off_after_ms is not None:
            assert self.now_ms - before.since_ms < self.write_off_after_ms


def total(rows: Mapping[Key, float], series: int) -> float:
    return sum(value for (owner, _), value in rows.items() if owner == series)


@examples(500)
@given(stories(growth))
def test_without_retractions_a_counter_is_what_was_added_since_the_first_read(
    story: list[list[Move]],
) -> None:
    counted = Counted()

    for upto in range(1, len(story) + 1):
        counted.read(figures(story[:upto]))
        for series in range(SERIES):
            added = sum(n for step in story[1:upto] for owner, _, n in step if owner == series)
            assert counted.tallies[series] == CounterState(c=added)


@examples(500)
@given(stories(moves), st.sampled_from([NEVER, SIX_HOURS]), st.lists(st.integers(0, 5), max_size=9))
def test_truth_is_the_vendors_figures_less_those_of_the_first_read(
    story: list[list[Move]], write_off_after_ms: int | None, waits: list[int]
) -> None:
    counted = Counted(write_off_after_ms)

    for upto in range(1, len(story) + 1):
        counted.read(figures(story[:upto]), (waits[upto % len(waits)] if waits else 1) * HOUR_MS)

    for series in range(SERIES):
        added = total(figures(story), series) - total(figures(story[:1]), series)
        assert counted.tallies[series].truth == added


@examples(350)
@given(stories(moves))
def test_growth_beyond_what_was_retracted_repays_it(story: list[list[Move]]) -> None:
    counted = Counted(NEVER)
    counted.read_all(story)

    regrown = [(series, 0, round(counted.tallies[series].overhang) + 5) for series in range(SERIES)]
    counted.read(figures([*story, regrown]))

    for series in range(SERIES):
        added = total(figures([*story, regrown]), series) - total(figures(story[:1]), series)
        assert counted.tallies[series].c == added


@examples(350)
@given(stories(moves), st.data())
def test_two_schedules_with_one_last_read_come_to_the_same_truth(
    story: list[list[Move]], data: st.DataObject
) -> None:
    often, seldom = Counted(NEVER), Counted(SIX_HOURS)
    kept = data.draw(st.sets(st.integers(2, len(story) - 1)) if len(story) > 2 else st.just(set()))

    for upto in range(1, len(story) + 1):
        often.read(figures(story[:upto]))
        if upto in {1, len(story)} | kept:
            seldom.read(figures(story[:upto]))

    truths = [[one.tallies[series].truth for series in range(SERIES)] for one in (often, seldom)]
    assert truths[0] == truths[1]


@examples(280)
@given(stories(moves), st.integers())
def test_a_read_in_any_order_and_repeated_changes_nothing_more(
    story: list[list[Move]], seed: int
) -> None:
    plain, shuffled = Counted(), Counted()
    for upto in range(1, len(story) + 1):
        rows = list(figures(story[:upto]).items())
        plain.read(dict(rows))
        Random(seed).shuffle(rows)  # noqa: S311
        shuffled.read(dict(rows))
        settled = (dict(shuffled.known), dict(shuffled.tallies))
        shuffled.read(dict(reversed(rows)), after_ms=0)
        assert (shuffled.known, shuffled.tallies) == settled

    assert plain.known == shuffled.known
    assert [replace(t, since_ms=None) for t in plain.tallies.values()] == [
        replace(t, since_ms=None) for t in shuffled.tallies.values()
    ]
