"""The exporter killed with SIGKILL at every commit of a history read loses and repeats nothing."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator.conversations import Kind
from tests.kill.scene import Exporter
from tests.support.driver import scratch
from tests.support.served import ServedVendors, document

FAMILY = "chatbot_messages_received_total"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
KILLED = (
    ("apply", 0), ("claim_slice", 0), ("apply", 1), ("end_slice", 0), ("claim_slice", 1),
    ("apply", 2), ("end_slice", 1), ("due_targets", 0), ("give_way", 0),
)  # fmt: skip
"""At which transactions of the history read the exporter is killed."""


@pytest.fixture
def vendors() -> Iterator[ServedVendors]:
    with ServedVendors(("chatlayer",)) as running:
        yield running


def happen(vendors: ServedVendors, count: int, days_ago: float = 0) -> None:
    at_ms = vendors.clock.now_ms() - round(days_ago * DAY_MS)
    vendors.ask(partial(vendors.traffic.add, Kind.MESSAGE_RECEIVED, at_ms, count=count))


def truth(vendors: ServedVendors, days: float) -> int:
    """Return what the vendor reports of the last days."""
    now_ms = vendors.clock.now_ms()
    window = (now_ms - round(days * DAY_MS), now_ms + 1)
    count = partial(vendors.traffic.truth, Kind.MESSAGE_RECEIVED, window, now_ms)
    return int(vendors.ask(count))


def first_answer(vendors: ServedVendors) -> int:
    """Return what the first poll that was committed was answered: the second one."""
    return sum(row["sum"] for row in vendors.services["chatlayer"].requests[1].rows)


def ledger(folder: Path, sql: str) -> Any:
    with closing(sqlite3.connect(folder / "ledger.db")) as file:
        return file.execute(sql).fetchone()


def settings(folder: Path, vendors: ServedVendors) -> dict[str, Any]:
    own = vendors.target("chatlayer")
    (bot,) = own["bots"]
    own |= {"bots": [bot | {"versions": ["LIVE"]}], "collectors": ["messages"]}
    return document(folder, own | {"interval": "1s", "requests_per_second": 0}, zero_hold="1s")


@pytest.mark.slow
def test_recorded_every_commit_of_the_history_read_it_counts_what_happened_since_once(
    vendors: ServedVendors,
) -> None:
    for day in range(1, 36):
        happen(vendors, 40 + day, days_ago=day - 0.5)
    with scratch() as folder:
        exporter = Exporter(folder, settings(folder, vendors))
        for method, number in KILLED:
            for moment in ("before", "after"):
                if method in {"due_targets", "give_way"}:
                    slow = vendors.services["chatlayer"].faults
                    vendors.ask(partial(slow.on, "slow", times=9, seconds=0.7))
                code = exporter.run(method, moment, number)
                assert code == -signal.SIGKILL, (method, moment, code)
                happen(vendors, 3)
        vendors.ask(partial(vendors.services["chatlayer"].faults.off, "slow"))
        assert ledger(folder, "SELECT mode FROM slice") == ("baseline",)

        exporter.until(lambda _seen: ledger(folder, "SELECT mode FROM slice") == ("audit",))
        happen(vendors, 7)
        grown = truth(vendors, 2) - first_answer(vendors)
        exporter.until(lambda seen: seen.get(FAMILY) == grown)
        polls = len(vendors.services["chatlayer"].requests) + 2
        seen = exporter.until(lambda _s: len(vendors.services["chatlayer"].requests) > polls)
        exporter.close()
        (stored,) = ledger(
            folder,
            "SELECT sum(obs) FROM bucket JOIN series ON id = series_id "  # noqa: S608
            f"WHERE family = '{FAMILY}'",
        )

    assert seen[FAMILY] == grown == 17 * 3 + 7
    assert stored == truth(vendors, 36)
