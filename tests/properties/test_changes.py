"""What operators change under a running counter never makes it jump (specification: counting.md)."""

from collections.abc import Iterator

import pytest

from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import HOUR_MS, GaugeRow, Reading, Window, floor_to
from tests.support.builders import RECEIVED, spec
from tests.support.driver import LedgerDriver, scratch
from tests.support.virtual import START_MS

NOW = floor_to(START_MS, HOUR_MS)


@pytest.fixture
def driver() -> Iterator[LedgerDriver]:
    with scratch() as folder, LedgerDriver(folder) as opened:
        yield opened


def renamed(**aliases: str) -> QuerySpec:
    return spec(label_rules={"channel": LabelRule(aliases)})


def test_a_new_name_for_every_channel_is_no_collapse(driver: LedgerDriver) -> None:
    driver.poll({("web", NOW): 500.0})
    driver.poll({("web", NOW): 900.0})
    driver.reopen(renamed(web="site"))

    applied = driver.poll({("site", NOW): 950.0})
    driver.poll({("site", NOW): 957.0})

    assert not applied.held
    assert driver.counter("site") == 7
    assert driver.counted("provider_resets_total") == 0
    assert driver.counted("retracted_total") == 0


def test_a_channel_that_first_appears_after_a_renaming_of_another_counts(
    driver: LedgerDriver,
) -> None:
    driver.poll({("web", NOW): 5.0})
    driver.reopen(renamed(web="site"))

    driver.poll({("site", NOW): 5.0, ("sms", NOW): 3.0})

    assert driver.counter("sms") == 3


def test_history_is_counted_once_when_the_meaning_changes(driver: LedgerDriver) -> None:
    driver.reopen(spec(history=True))
    driver.poll({NOW: 40.0})
    driver.reopen(spec(history=True, meaning={"v": 2}))

    driver.poll({NOW: 41.0})
    driver.poll({NOW: 44.0})

    assert driver.counter() == 43


def test_history_may_be_asked_for_until_counting_has_begun(driver: LedgerDriver) -> None:
    driver.reopen(spec(history=True))
    driver.poll({NOW: 40.0})

    driver.reopen()
    driver.poll({NOW: 41.0})

    assert driver.counter() == 41


def test_a_collapse_in_the_second_part_of_a_poll_is_confirmed_like_any_other(
    driver: LedgerDriver,
) -> None:
    early, late = NOW - HOUR_MS, NOW
    rows = {early: 10.0, late: 400.0}
    assert not any(_in_parts(driver, rows))
    outcomes = [any(_in_parts(driver, {early: 10.0, late: 1.0})) for _ in range(4)]

    assert outcomes == [True, True, False, False]


def test_gauges_follow_a_renamed_target(driver: LedgerDriver) -> None:
    level = ("chatbot_known_users", ("shop", ""))
    hour = Window(NOW - HOUR_MS, NOW)
    driver.poll({NOW: 1.0}, levels=[GaugeRow(level, hour, 7.0)])
    driver.sync(spec(target="store"), shop="store")

    assert {shown.labels[1] for shown in driver.view().shown} == {"store"}


def _in_parts(driver: LedgerDriver, rows: dict[int, float]) -> list[bool]:
    claim = driver.claim()
    window = driver.window(claim)
    held = []
    for part, more in (
        (Window(window.start_ms, NOW), True),
        (Window(NOW, window.end_ms), False),
    ):
        counts = [((RECEIVED, ("shop", "", "")), at, n) for at, n in rows.items() if part.holds(at)]
        reading = Reading(part, counts=counts, more=more)
        held.append(driver.apply(claim, reading).held)
        if held[-1]:
            break
    driver.end(claim, held=held[-1])
    return held
