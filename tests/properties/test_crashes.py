"""P7 and P5: whenever a process dies and whenever it polls, the truth it ends with is the same."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exporter.model.samples import HOUR_MS, floor_to
from tests.support.builders import spec
from tests.support.driver import Killed, LedgerDriver, recorded, scratch
from tests.support.effort import examples
from tests.support.history import History, readings
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)
Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["web", "sms"]), st.integers(0, 2), st.integers(-40, 60)),
    min_size=2,
    max_size=5,
)


def poll(ledger: LedgerDriver, history: History) -> None:
    claim = ledger.claim()
    (reading,) = readings(history, ledger.spec, ledger.window(claim), Random(0))  # noqa: S311
    ledger.end(claim, held=ledger.apply(claim, reading).held)


def change(history: History, step: Step) -> None:
    channel, back, units = step
    history.change(channel, HOUR - back * HOUR_MS, units)


def truths(ledger: LedgerDriver, history: History) -> dict[str, float]:
    """Return each channel's counter once growth has repaid whatever was taken back."""
    for channel in ("web", "sms"):
        history.change(channel, HOUR, 1_000)
    poll(ledger, history)
    return ledger.counters()


@examples(25)
@given(steps, st.integers(0, 400))
def test_a_kill_at_any_statement_changes_nothing_in_the_end(story: list[Step], at: int) -> None:
    with (
        scratch() as whole,
        scratch() as broken,
        LedgerDriver(whole, spec()) as calm,
        LedgerDriver(broken, spec()) as struck,
    ):
        histories = History(), History()
        for ledger, history in zip((calm, struck), histories, strict=True):
            history.change("web", HOUR, 100)
            history.change("sms", HOUR, 100)
            poll(ledger, history)
        with recorded() as done:
            for step in story:
                change(histories[0], step)
                poll(calm, histories[0])
        left = at % len(done)
        for step in story:
            change(histories[1], step)
            left = poll_through(struck, histories[1], left)

        assert truths(struck, histories[1]) == truths(calm, histories[0])


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
    with (
        scratch() as one,
        scratch() as two,
        LedgerDriver(one, spec()) as aging,
        LedgerDriver(two, spec(write_off_after_ms=None)) as patient,
    ):
        ledgers, histories = (aging, patient), (History(), History())
        for ledger, history in zip(ledgers, histories, strict=True):
            history.change("web", HOUR, 100)
            history.change("sms", HOUR, 100)
            poll(ledger, history)
        for step in story:
            for ledger, history in zip(ledgers, histories, strict=True):
                change(history, step)
                if data.draw(st.booleans(), label="polls"):
                    ledger.clock.step(data.draw(st.integers(1, 40), label="minutes") * 60_000)
                    poll(ledger, history)

        assert truths(aging, histories[0]) == truths(patient, histories[1])
