"""The exporter killed with SIGKILL before and after every kind of commit loses and repeats nothing."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator.conversations import Kind
from tests.kill.scene import Exporter
from tests.support.driver import scratch
from tests.support.served import ServedVendors, document

HOUR_MS = 3_600_000
COUNTED = {
    "chatbot_messages_received_total": Kind.MESSAGE_RECEIVED,
    "chatbot_messages_sent_total": Kind.MESSAGE_SENT,
    "chatbot_interactions_total": Kind.INTERACTION,
}
FIRST = ("migrate", "sync_queries", "self_counts", "claim", "apply")
"""What is killed before and during the first polls, while the account stands still."""

LATER = (
    ("sync_queries", 0), ("views", 2), ("claim", 2), ("next_due_ms", 0), ("apply", 0), ("apply", 2),
    ("apply", 3), ("confirm_zero_scraped", 0), ("maintain", 0), ("sizes", 0), ("_retire", 0),
    ("_prune", 0), ("_delete_removed", 0), ("renew", 0), ("fail", 0), ("end_poll", 0), ("close", 0),
)  # fmt: skip
"""What is killed while it counts, and at which of its transactions."""


def happen(vendors: ServedVendors, count: int, *, hours_ago: int = 0) -> None:
    """Let ``count`` of everything happen."""
    at_ms = vendors.clock.now_ms() - hours_ago * HOUR_MS
    for number, kind in enumerate(COUNTED.values()):
        detail: dict[str, Any] = {"interaction_type": "live"} if kind is Kind.INTERACTION else {}
        vendors.ask(partial(vendors.traffic.add, kind, at_ms, count=count + number, **detail))


def truth(vendors: ServedVendors) -> dict[str, int]:
    """Return how often everything has happened."""
    now_ms = vendors.clock.now_ms()
    window = (now_ms - 40 * HOUR_MS, now_ms + 1)
    return {
        family: vendors.ask(partial(vendors.traffic.truth, kind, window, now_ms))
        for family, kind in COUNTED.items()
    }


def first_answers(vendors: ServedVendors) -> dict[str, int]:
    """Return what the first polls were answered, from the vendors' own logs."""
    flowxo = next(s for s in vendors.services["flowxo"].requests if s.status == 200)
    voiceflow = next(s for s in vendors.services["voiceflow"].requests if s.status == 200)
    return {
        "chatbot_messages_received_total": sum(r["received_messages"] for r in flowxo.rows),
        "chatbot_messages_sent_total": sum(r["sent_messages"] for r in flowxo.rows),
        "chatbot_interactions_total": sum(r["count"] for r in voiceflow.rows),
    }


def settings(folder: Path, vendors: ServedVendors) -> dict[str, Any]:
    quick = {"interval": "1s", "requests_per_second": 0}
    flowxo, voiceflow = vendors.target("flowxo") | quick, vendors.target("voiceflow") | quick
    flowxo.pop("top_flows")
    return document(folder, flowxo, voiceflow | {"queries": ["interactions"]}, zero_hold="1s")


@pytest.fixture
def vendors() -> Iterator[ServedVendors]:
    with ServedVendors(("flowxo", "voiceflow")) as running:
        yield running


@pytest.fixture
def exporter(vendors: ServedVendors) -> Iterator[Exporter]:
    with scratch() as folder:
        made = Exporter(folder, settings(folder, vendors))
        yield made
        made.close()


@pytest.mark.slow
def test_recorded_every_commit_it_counts_every_unit_once(
    vendors: ServedVendors, exporter: Exporter
) -> None:
    happen(vendors, 50, hours_ago=3)
    for method in FIRST:
        for moment in ("before", "after"):
            assert exporter.run(method, moment, 0) == -signal.SIGKILL, (method, moment)
    exporter.until(lambda seen: seen.keys() >= COUNTED.keys())
    assert first_answers(vendors) == truth(vendors)

    for method, number in LATER:
        for moment in ("before", "after"):
            provoke(vendors, method, moment)
            happen(vendors, 3, hours_ago=number)
            code = exporter.run(method, moment, number, ends=method == "close")
            assert code == -signal.SIGKILL, (method, moment, code)

    happen(vendors, 7)
    first, total = first_answers(vendors), truth(vendors)
    grown = {family: total[family] - first[family] for family in COUNTED}
    exporter.until(lambda seen: {family: seen.get(family) for family in COUNTED} == grown)
    polls = len(vendors.services["flowxo"].requests) + 2
    seen = exporter.until(lambda _seen: len(vendors.services["flowxo"].requests) >= polls)
    assert {family: seen[family] for family in COUNTED} == grown


def provoke(vendors: ServedVendors, method: str, moment: str) -> None:
    """Let the vendors do what makes the exporter come to ``method``."""
    faults = {"fail": "unauthorized", "end_poll": "empty", "renew": "slow"}
    options: dict[str, Any] = {"seconds": 2} if method == "renew" else {}
    for service in vendors.services.values():
        if method in faults:
            vendors.ask(partial(service.faults.on, faults[method], times=1, **options))
    if method == "confirm_zero_scraped":  # a series that was not there before
        add = partial(vendors.traffic.add, Kind.INTERACTION, interaction_type=f"{moment}-{method}")
        vendors.ask(partial(add, vendors.clock.now_ms()))
