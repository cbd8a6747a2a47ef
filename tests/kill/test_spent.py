"""Xenioo's one call an hour, in processes that are killed where it is spent: never two calls."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from exporter.simulator.conversations import Kind
from exporter.simulator.server import LoggedRequest
from tests.kill.scene import Exporter
from tests.support.driver import scratch
from tests.support.served import ServedVendors, document


@pytest.fixture
def vendors() -> Iterator[ServedVendors]:
    with ServedVendors(("xenioo",)) as running:
        yield running


def settings(folder: Path, vendors: ServedVendors, *names: str) -> dict[str, object]:
    """Return settings in which all targets are on one account."""
    return document(folder, *(vendors.target("xenioo") | {"name": name} for name in names))


def calls(vendors: ServedVendors) -> list[LoggedRequest]:
    """Return the calls that Xenioo counts."""
    log = vendors.services["xenioo"].requests
    return [seen for seen in log if seen.path.startswith("/analytics/statistics")]


def skipped(seen: dict[str, float]) -> bool:
    return seen.get("chatbot_exporter_polls_skipped_total", 0) > 0


def read(seen: dict[str, float]) -> bool:
    return "chatbot_messages_received_total" in seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "moment", "made", "then"),
    [("spend", "before", 0, read), ("spend", "after", 0, skipped), ("apply", "before", 1, skipped)],
)
def test_a_call_that_was_spent_stays_spent_for_every_target_of_the_account(
    method: str,
    moment: str,
    made: int,
    then: Callable[[dict[str, float]], bool],
    vendors: ServedVendors,
) -> None:
    vendors.ask(partial(vendors.traffic.add, Kind.MESSAGE_RECEIVED, vendors.clock.now_ms()))
    with scratch() as folder:
        with closing(Exporter(folder, settings(folder, vendors, "agency"))) as first:
            assert first.run(method, moment, 0) == -signal.SIGKILL
        assert len(calls(vendors)) == made

        # A target that was never polled is due at once; the one that died waits for its slot.
        with closing(Exporter(folder, settings(folder, vendors, "agency", "again"))) as second:
            second.until(then)

    assert len(calls(vendors)) == (1 if then is read else made)
