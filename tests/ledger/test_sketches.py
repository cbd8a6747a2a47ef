"""Distinct users and conversations over rolling windows, and the key that hides them."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.errors import LedgerError
from exporter.ledger.sketches import installation_key
from exporter.ledger.store import Ledger
from exporter.model.samples import DAY_MS, HOUR_MS, Event, Window
from tests.ledger.conftest import Start
from tests.support.builders import spec
from tests.support.driver import Killed, LedgerDriver
from tests.support.virtual import START_MS, VirtualClock

USERS, CONVERSATIONS = "chatbot_active_users", "chatbot_active_conversations"
STREAM: dict[str, Any] = {"provider": "chatlayer", "stream": True, "lookback_ms": 900_000}
SERIES = ("chatbot_events_total", ("care", "live", "web", "handover"))


@pytest.fixture
def driver(start: Start) -> LedgerDriver:
    opened = start(**STREAM)
    drain(opened)
    return opened


def drain(driver: LedgerDriver, *events: Event) -> None:
    """Apply one poll that has read up to now."""
    claim = driver.claim()
    now_ms = driver.clock.now_ms()
    start_ms = claim.watermark_ms or now_ms
    window = Window(start_ms, now_ms)
    driver.poll(claim=claim, window=window, events=events, watermark_ms=now_ms)


def event(number: int, at_ms: int, user: str, channel: str = "web") -> Event:
    place = ("care", "live", channel)
    return Event(number.to_bytes(16), at_ms, (SERIES,), 0, place, user, f"c-{user}")


def test_a_window_is_absent_until_it_was_covered_once(driver: LedgerDriver) -> None:
    driver.clock.step(HOUR_MS)
    drain(driver, event(1, driver.clock.now_ms() - 60_000, "ada"))
    driver.clock.step(20 * HOUR_MS)
    drain(driver)
    early = driver.shown(USERS)

    driver.clock.step(5 * HOUR_MS)
    drain(driver, event(2, driver.clock.now_ms() - 3 * HOUR_MS, "bob"))

    assert early == {}
    assert driver.shown(USERS)["care", "live", "", "rolling_1d"] == 1
    assert {labels[3] for labels in driver.shown(USERS)} == {"rolling_1d"}


def test_a_user_of_two_channels_is_one_user_in_total(driver: LedgerDriver) -> None:
    driver.clock.step(DAY_MS)
    soon = driver.clock.now_ms() - HOUR_MS
    drain(driver, event(1, soon, "ada"), event(2, soon, "ada", "sms"), event(3, soon, "bob"))
    driver.clock.step(2 * HOUR_MS)

    drain(driver)

    assert driver.shown(USERS) == {
        ("care", "live", "", "rolling_1d"): 2,
        ("care", "live", "web", "rolling_1d"): 2,
        ("care", "live", "sms", "rolling_1d"): 1,
    }
    assert driver.shown(CONVERSATIONS) == driver.shown(USERS)


def test_windows_forget_who_was_there_before_them(driver: LedgerDriver) -> None:
    for day in range(9):
        drain(driver, event(day, driver.clock.now_ms() - 1000, f"u-{day}"))
        driver.clock.step(DAY_MS)

    drain(driver)

    shown = {labels[3]: value for labels, value in driver.shown(USERS).items() if not labels[2]}
    assert shown == {"rolling_1d": 1, "rolling_7d": 7}


@pytest.mark.parametrize("days", [2, 40])
def test_a_clock_that_was_ahead_for_one_poll_leaves_no_rolling_window_wrong(
    driver: LedgerDriver, days: int
) -> None:
    for day in range(30):
        drain(driver, event(day, driver.clock.now_ms() - 1000, f"u-{day}"))
        driver.clock.step(DAY_MS)
    driver.clock.step(days * DAY_MS)
    drain(driver)
    driver.clock.step(-days * DAY_MS)
    assert driver.ledger.correct_clock()

    drain(driver)

    shown = {labels[3]: value for labels, value in driver.shown(USERS).items() if not labels[2]}
    assert shown == {"rolling_1d": 1, "rolling_7d": 7, "rolling_28d": 28}


def test_the_same_users_again_and_after_a_restart_change_nothing(driver: LedgerDriver) -> None:
    driver.clock.step(DAY_MS)
    soon = driver.clock.now_ms() - HOUR_MS
    drain(driver, *(event(n, soon, f"u-{n}") for n in range(100)))
    driver.reopen()
    drain(driver, *(event(n + 500, soon, f"u-{n}") for n in range(100)))
    driver.clock.step(2 * HOUR_MS)

    drain(driver)

    assert driver.shown(USERS)["care", "live", "", "rolling_1d"] == 100


def test_rolling_gauges_leave_when_the_stream_stands_still(driver: LedgerDriver) -> None:
    driver.clock.step(DAY_MS)
    drain(driver, event(1, driver.clock.now_ms() - HOUR_MS, "ada"))
    driver.clock.step(2 * HOUR_MS)
    drain(driver)
    shown = driver.shown(USERS)

    driver.clock.step(6 * HOUR_MS)

    assert shown
    assert driver.shown(USERS) == {}


def test_no_identifier_is_in_the_ledger_or_beside_it(driver: LedgerDriver, tmp_path: Path) -> None:
    driver.clock.step(DAY_MS)
    drain(driver, event(1, driver.clock.now_ms() - HOUR_MS, "canary-person-7f3a"))
    driver.clock.step(2 * HOUR_MS)
    drain(driver)
    assert driver.shown(USERS)

    for path in tmp_path.iterdir():
        assert b"canary-person" not in path.read_bytes(), path.name


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.key"

    key = installation_key(path)

    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert installation_key(path) == key


def test_a_crash_while_the_key_is_written_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db.key"

    def crash(_descriptor: int) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(os, "fsync", crash)
        with pytest.raises(Killed):
            installation_key(path)

    assert not path.exists()
    assert len(installation_key(path)) == 32


def test_a_link_that_leads_nowhere_is_no_reason_for_another_key(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.key"
    path.symlink_to(tmp_path / "volume" / "key")

    with pytest.raises(LedgerError, match="the key cannot be created or read"):
        installation_key(path)
    assert path.is_symlink()


def test_a_broken_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.key"
    path.write_bytes(b"short")

    with pytest.raises(LedgerError, match="not a key"):
        installation_key(path)


def test_a_ledger_without_a_stream_makes_no_key(start: Start, tmp_path: Path) -> None:
    start()

    assert not list(tmp_path.glob("*.key"))


def test_a_ledger_that_is_no_file_says_that_it_tells_no_users_apart() -> None:
    ledger = Ledger("sqlite://", clock=VirtualClock(START_MS), families={})

    with capture_logs() as said:
        ledger.sync_queries([spec(**STREAM)])
    ledger.close()

    (line,) = said
    assert line["log_level"] == "warning"
    assert "distinct users" in line["event"]
