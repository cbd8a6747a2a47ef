"""An exporter killed with SIGKILL at every commit of an event drain counts each event once."""

import random
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.providers.base.times import parse_instant
from exporter.simulator.conversations import Kind
from tests.kill.scene import Exporter
from tests.support.driver import scratch
from tests.support.served import ServedVendors, document

FAMILIES = {
    "chatbot_events_total": (Kind.HANDOVER, Kind.GOAL, Kind.FEEDBACK),
    "chatbot_handovers_total": (Kind.HANDOVER,),
}
KILLED = (
    ("claim", 0), ("apply", 0), ("apply", 1), ("apply", 4), ("succeed", 0),
    ("confirm_zero_scraped", 0), ("renew", 0), ("fail", 0),
)  # fmt: skip
"""At which transactions of its drains the exporter is killed."""

AT_FIRST, EACH_TIME = 1500, 90
OLDEST_MS = 60_000


class Care:
    """The bot's events as they are scripted, around the instant from which they count."""

    def __init__(self, folder: Path, vendors: ServedVendors) -> None:
        self._file = folder / "ledger.db"
        self._vendors = vendors
        self._rng = random.Random(11)  # noqa: S311 - the same events each time
        self.epoch_ms = 0

    def begin(self) -> None:
        """Take note of the epoch that the exporter has committed."""
        with closing(sqlite3.connect(self._file)) as ledger:
            ((self.epoch_ms,),) = ledger.execute("SELECT epoch_ms FROM query").fetchall()

    def happen(self, count: int, *, channel: str = "web", early: int = 0) -> None:
        """Let events show up now that happened since the epoch, and ``early`` before it."""
        now_ms = self._vendors.clock.now_ms()
        since = [self._rng.randrange(self.epoch_ms, now_ms) for _ in range(count)]
        before = [self.epoch_ms - 1 - self._rng.randrange(OLDEST_MS) for _ in range(early)]
        same_second = [self.epoch_ms - 1 for _ in range(early)]
        self._vendors.ask(partial(self._add, [*since, *before, *same_second], now_ms, channel))

    def _add(self, instants: list[int], now_ms: int, channel: str) -> None:
        for at_ms in instants:
            kind = self._rng.choice(FAMILIES["chatbot_events_total"])
            context = {"user": "u-1", "conversation": "c-1", "channel": channel}
            self._vendors.traffic.add(kind, at_ms, visible_ms=now_ms, **context)  # type: ignore[arg-type]

    def truth(self) -> dict[str, int]:
        """Return how often everything has happened since the epoch."""
        now_ms = self._vendors.clock.now_ms()
        window = (self.epoch_ms, now_ms + 1)
        count = self._vendors.traffic.truth
        return {
            family: sum(self._vendors.ask(partial(count, kind, window, now_ms)) for kind in kinds)
            for family, kinds in FAMILIES.items()
        }

    def sent(self) -> list[dict[str, Any]]:
        """Return every event that the vendor has sent, each as often as it was sent."""
        requests = self._vendors.services["chatlayer"].requests
        return [row for seen in list(requests) if seen.status == 200 for row in seen.rows]


def settings(folder: Path, vendors: ServedVendors) -> dict[str, Any]:
    own = vendors.target("chatlayer")
    (bot,) = own["bots"]
    narrow = {
        "bots": [bot | {"versions": ["LIVE"]}],
        "collectors": ["events"],
        "interval": "1s",
        "requests_per_second": 0,
        "stream": {"safety_lag": "1s", "max_pages": 3},
    }
    return document(folder, own | narrow, zero_hold="1s")


@pytest.fixture
def vendors() -> Iterator[ServedVendors]:
    with ServedVendors(("chatlayer",)) as running:
        yield running


@pytest.mark.slow
def test_recorded_every_commit_of_a_drain_it_counts_every_event_once(
    vendors: ServedVendors,
) -> None:
    with scratch() as folder:
        exporter, care = Exporter(folder, settings(folder, vendors)), Care(folder, vendors)
        assert exporter.run("apply", "before", 0) == -signal.SIGKILL  # before there is an epoch
        assert exporter.run("apply", "after", 0) == -signal.SIGKILL
        care.begin()
        vendors.ask(partial(vendors.services["chatlayer"].faults.on, "repeated_rows"))
        care.happen(AT_FIRST, early=20)
        for method, number in KILLED:
            for moment in ("before", "after"):
                provoke(vendors, care, method, moment)
                care.happen(EACH_TIME, early=2)
                assert exporter.run(method, moment, number) == -signal.SIGKILL, (method, moment)

        vendors.ask(partial(vendors.services["chatlayer"].faults.off, "truncated"))
        truth = care.truth()
        exporter.until(lambda seen: {name: seen.get(name) for name in FAMILIES} == truth)
        asked = len(vendors.services["chatlayer"].requests) + 30
        seen = exporter.until(lambda _seen: len(vendors.services["chatlayer"].requests) > asked)
        exporter.close()

    sent = care.sent()
    distinct = {row["id"] for row in sent if parse_instant(row["timestamp"]) >= care.epoch_ms}
    assert {name: seen[name] for name in FAMILIES} == truth
    assert len(distinct) == truth["chatbot_events_total"] > 2500
    assert len(sent) > 2 * len(distinct)
    assert seen["chatbot_exporter_late_events_total"] > 200


def provoke(vendors: ServedVendors, care: Care, method: str, moment: str) -> None:
    """Let the vendor do what makes the exporter come to ``method``."""
    faults = vendors.services["chatlayer"].faults
    if method == "confirm_zero_scraped":  # a series that was not there before
        care.happen(5, channel=f"{moment}-{method}")
    if method == "renew":
        vendors.ask(partial(faults.on, "slow", times=1, seconds=2))
    if method == "fail":  # in the middle of a drain
        vendors.ask(partial(faults.on, "truncated", times=6, skip=5))
