"""Random histories of an event list: P8, P9 and P13 of the counting rules."""

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator.conversations import Kind
from tests.providers.chatlayer.care import HOUR, MINUTE, Care
from tests.support.examples import examples

pytestmark = pytest.mark.slow

History: TypeAlias = list[tuple[Any, ...]]

OVERLAP = 15 * MINUTE
MODES = ("short_pages", "repeated_rows", "empty_page", "unfiltered_time", "varied_fractions")
HISTORIES = settings(examples(10), deadline=None)

happenings = st.tuples(
    st.just("happen"), st.integers(1, 40), st.integers(0, 20 * MINUTE), st.floats(0, 0.99)
)
others = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, 50 * MINUTE)),
    st.tuples(st.just("poll")),
    st.tuples(st.just("lose"), st.integers(0, 5), st.sampled_from(["reset", "html_502"])),
    st.tuples(st.just("kill"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("token"), st.integers(1, 4)),
)
steps = st.lists(st.one_of(happenings, others), min_size=4, max_size=14)


def live(history: History, care: Care, latest_ms: int) -> None:
    """Let ``history`` happen; events show at most ``latest_ms`` after they happened."""
    for number, step in enumerate(history):
        match step:
            case ("happen", count, ago, lateness):
                late = round(latest_ms * lateness)
                care.happen(count=count, ago=min(ago, latest_ms), late=late, user=f"u-{number}")
            case ("wait", milliseconds):
                care.wait(milliseconds)
            case ("poll",):
                care.poll()
            case ("lose", skip, fault):
                care.service.faults.on(fault, skip=skip, times=4)
                care.poll()
                care.service.faults.off(fault)
            case ("kill", commits, after):
                care.poll_or_die(commits=commits, after=after)
            case ("token", times):
                has_token = lambda call: "page_token" in call.params  # noqa: E731
                care.service.faults.on("expired_token", times=times, when=has_token)
                care.poll()
                care.service.faults.off("expired_token")
            case _:
                raise AssertionError(step)


def truth(care: Care) -> int:
    """Return how many events happened from the epoch to the watermark, as they show now."""
    claim = care.claimed()
    assert claim.epoch_ms is not None
    assert claim.watermark_ms is not None
    span = (claim.epoch_ms, claim.watermark_ms)
    return care.traffic.truth(Kind.HANDOVER, span, care.clock.now_ms())


def settle(care: Care) -> None:
    """Let all that is late arrive, and poll until it has been read."""
    for _ in range(3):
        care.wait(12 * MINUTE)
        assert care.poll().outcome == "ok"


def instant(text: str) -> int:
    """Return UTC milliseconds of what a request said."""
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def missing(asked: list[tuple[int, int]], start_ms: int, end_ms: int) -> int:
    """Return how many milliseconds between the two nobody asked for."""
    at_ms, lost = start_ms, 0
    for begin_ms, finish_ms in sorted(asked):
        lost += max(0, min(begin_ms, end_ms) - at_ms)
        at_ms = max(at_ms, finish_ms)
    return lost + max(0, end_ms - at_ms)


def most_pages(modes: set[str], wanted: int) -> int:
    """Return how many pages a slice may have, so that no history takes minutes to read.

    No slice is small enough where time is not heeded, and few where each begins with empty pages.
    """
    if "unfiltered_time" in modes:
        return 1000
    return max(wanted, 5) if "empty_page" in modes else wanted


@HISTORIES
@given(steps, st.sets(st.sampled_from(MODES), max_size=3), st.sampled_from([2, 3, 100]))
def test_lateness_below_the_overlap_is_exact_whatever_happens(
    history: History, modes: set[str], max_pages: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pages = most_pages(modes, max_pages)
        care = Care(Path(folder), stream={"max_pages": pages, "sweep_interval": "30d"})
        for mode in modes:
            care.service.faults.on(mode)
        assert care.poll().outcome == "ok"

        live(history, care, OVERLAP)
        settle(care)

        assert care.events() == truth(care)
        assert sum(care.shown("chatbot_handovers_total").values()) == care.events()
        care.driver.close()


@HISTORIES
@given(steps, st.booleans())
def test_lateness_above_the_overlap_is_found_by_a_sweep_and_never_counts_too_much(
    history: History,
    sweeps: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        care = Care(Path(folder), stream={} if sweeps else {"sweep_interval": "30d"})
        assert care.poll().outcome == "ok"

        live(history, care, 6 * HOUR)
        care.wait(7 * HOUR)
        settle(care)

        assert care.events() <= truth(care)
        assert not sweeps or care.events() == truth(care)
        care.driver.close()


@HISTORIES
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("wait"), st.integers(0, 5 * HOUR)),
            st.tuples(st.just("poll")),
            st.tuples(st.just("lose"), st.integers(0, 3), st.just("reset")),
            st.tuples(st.just("kill"), st.integers(0, 3), st.booleans()),
        ),
        max_size=12,
    )
)
def test_no_instant_is_lost_without_a_gap(history: History) -> None:
    with tempfile.TemporaryDirectory() as folder:
        care = Care(Path(folder), stream={"max_age": "2h", "sweep": "1h"})
        assert care.poll().outcome == "ok"
        begun = care.claimed()

        live(history, care, OVERLAP)
        settle(care)

        claim = care.claimed()
        assert begun.epoch_ms is not None
        assert claim.watermark_ms is not None
        asked = [
            (instant(seen.params["start_time"]), instant(seen.params["end_time"]))
            for seen in care.service.requests
            if seen.status == 200
        ]
        unread = missing(asked, begun.epoch_ms, claim.watermark_ms)
        assert unread <= 1000 * care.counted("coverage_gap_seconds_total") + 1000
        care.driver.close()
