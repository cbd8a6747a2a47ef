"""P7 and P5: whenever a process dies and whenever it polls, the truth it ends with is the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.model.samples import HOUR_MS, floor_to
from tests.support.builders import spec
from tests.support.driver import Killed, LedgerDriver, recorded, scratch
from tests.support.examples import examples
from tests.support.history import History, readings
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)
Emptied = Callable[[int], str]
Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["web", "sms"]), st.integers(0, 2), st.integers(-40, 60)),
    min_size=2,
    max_size=5,
)


def poll(ledger: LedgerDriver, history: History) -> None:
    claim = ledger.claim()
    (reading,) = readings(history, ledger.spec, ledger.window(claim), Random(0))  # noqa: S311
    ledger.apply_last(claim, reading)


def change(history: History, step: Step) -> None:
    channel, back, units = step
    history.change(channel, HOUR - back * HOUR_MS, units)


@contextmanager
def begun(url: str | None = None, **traits: Any) -> Iterator[tuple[LedgerDriver, History]]:
    """Yield a ledger and its vendor after a first poll, which found something."""
    history = History()
    with scratch() as folder, LedgerDriver(folder, spec(**traits), postgresql=url) as ledger:
        for channel in ("web", "sms"):
            history.change(channel, HOUR, 100)
        poll(ledger, history)
        yield ledger, history


def truths(ledger: LedgerDriver, history: History) -> dict[str, float]:
    """Return each channel's counter once growth has repaid whatever was taken back."""
    for channel in ("web", "sms"):
        history.change(channel, HOUR, 1_000)
    poll(ledger, history)
    return ledger.counters()


@examples(25)
@given(steps, st.integers(0, 400))
def test_a_kill_at_any_statement_changes_nothing_in_the_end(story: list[Step], at: int) -> None:
    kill_within(story, at)


@examples(3)
@given(steps, st.integers(0, 400))
def test_a_kill_on_postgresql_changes_nothing_in_the_end(
    emptied: Emptied, story: list[Step], at: int
) -> None:
    kill_within(story, at, emptied(0), emptied(1))


def kill_within(
    story: list[Step], at: int, one: str | None = None, other: str | None = None
) -> None:
    with begun(one) as calm, begun(other) as struck:
        with recorded() as done:
            for step in story:
                change(calm[1], step)
                poll(*calm)
        left = at % len(done)
        for step in story:
            change(struck[1], step)
            left = poll_through(*struck, left)

        assert truths(*struck) == truths(*calm)


def poll_through(ledger: LedgerDriver, history: History, left: int) -> int:
    """Poll; be killed after ``left`` statements, then go on; return what is left of them."""
    try:
        with recorded(kill_at=left if left >= 0 else None) as done:
            poll(ledger, history)
    except Killed:
        ledger.shown()
        ledger.kill()
        ledger.shown()
        poll(ledger, history)
        return -1
    ledger.shown()
    return left - len(done) if left >= 0 else left


@examples(25)
@given(steps, st.data())
def test_a_schedule_decides_when_but_not_what_is_counted(
    story: list[Step], data: st.DataObject
) -> None:
    poll_at_any_time(story, data)


@examples(3)
@given(steps, st.data())
def test_a_schedule_on_postgresql_decides_when_but_not_what_is_counted(
    emptied: Emptied, story: list[Step], data: st.DataObject
) -> None:
    poll_at_any_time(story, data, emptied(0), emptied(1))


def poll_at_any_time(
    story: list[Step], data: st.DataObject, one: str | None = None, other: str | None = None
) -> None:
    with begun(one) as aging, begun(other, write_off_after_ms=None) as patient:
        for step in story:
            for ledger, history in (aging, patient):
                change(history, step)
                if data.draw(st.booleans(), label="polls"):
                    ledger.clock.step(data.draw(st.integers(1, 40), label="minutes") * 60_000)
                    poll(ledger, history)

        assert truths(*aging) == truths(*patient)
