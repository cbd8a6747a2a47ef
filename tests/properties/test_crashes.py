"""P7 and P5: whenever a process dies and whenever it polls, the truth it ends with is the same."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exporter.model.samples import HOUR_MS, floor_to
from tests.support.builders import spec
from tests.support.effort import examples
from tests.support.past import Past
from tests.support.till import Killed, Till, killed_at, scratch
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)
Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["web", "sms"]), st.integers(0, 2), st.integers(-40, 60)),
    min_size=2,
    max_size=5,
)


def poll(till: Till, past: Past) -> None:
    claim = till.claim()
    (reading,) = till.readings(past, till.asks(claim), Random(0))  # noqa: S311
    held = till.apply(claim, reading)
    till.end(claim, held=held)


def change(past: Past, step: Step) -> None:
    channel, back, units = step
    past.change(channel, HOUR - back * HOUR_MS, units)


def truths(till: Till, past: Past) -> dict[str, float]:
    """Return each channel's counter once growth has repaid whatever was taken back."""
    for channel in ("web", "sms"):
        past.change(channel, HOUR, 1_000)
    poll(till, past)
    return till.counters()


@examples(25)
@given(steps, st.integers(0, 400))
def test_a_kill_at_any_statement_changes_nothing_in_the_end(story: list[Step], at: int) -> None:
    with (
        scratch() as whole,
        scratch() as broken,
        Till(whole, spec()) as calm,
        Till(broken, spec()) as struck,
    ):
        pasts = Past(), Past()
        for till, past in zip((calm, struck), pasts, strict=True):
            past.change("web", HOUR, 100)
            past.change("sms", HOUR, 100)
            poll(till, past)
        with killed_at(None) as done:
            for step in story:
                change(pasts[0], step)
                poll(calm, pasts[0])
        left = at % len(done)
        for step in story:
            change(pasts[1], step)
            left = poll_through(struck, pasts[1], left)

        assert truths(struck, pasts[1]) == truths(calm, pasts[0])


def poll_through(till: Till, past: Past, left: int) -> int:
    """Poll; be killed after ``left`` statements, then go on; return what is left of them."""
    try:
        with killed_at(left if left >= 0 else None) as done:
            poll(till, past)
    except Killed:
        till.shown()
        till.kill()
        till.shown()
        poll(till, past)
        return -1
    till.shown()
    return left - len(done) if left >= 0 else left


@examples(25)
@given(steps, st.data())
def test_a_schedule_decides_when_but_not_what_is_counted(
    story: list[Step], data: st.DataObject
) -> None:
    with (
        scratch() as one,
        scratch() as two,
        Till(one, spec()) as aging,
        Till(two, spec(write_off_after_ms=None)) as patient,
    ):
        tills, pasts = (aging, patient), (Past(), Past())
        for till, past in zip(tills, pasts, strict=True):
            past.change("web", HOUR, 100)
            past.change("sms", HOUR, 100)
            poll(till, past)
        for step in story:
            for till, past in zip(tills, pasts, strict=True):
                change(past, step)
                if data.draw(st.booleans(), label="polls"):
                    till.clock.step(data.draw(st.integers(1, 40), label="minutes") * 60_000)
                    poll(till, past)

        assert truths(aging, pasts[0]) == truths(patient, pasts[1])
