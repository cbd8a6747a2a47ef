"""``make demo-prometheus`` as a user runs it: a minute later the boards have data."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from dashboards.source.files import FOLDER
from exporter.providers import BUILT_IN
from tests.dashboards.lint import panels
from tests.dashboards.live import GRAFANA, asked, is_ready, substituted
from tests.dashboards.promtool import DEADLINE_S, needed
from tests.e2e.processes import CLOCK, ROOT, free_port, pause, wait_for

WITHIN_S = 60
"""After the start of Prometheus."""
EVERY_S = 5
LEAST, LEAST_OF_A_BOARD = 0.95, 0.9
RARE = "the demo's conversations have it now and then, and a minute may have none"
ONLY_ONE = "a target has `units` for it or not, and the demo's has not"
UNTRACKED = "the demo's flows track no event of it"
EMPTY = {
    "chatbot-overview": {"Alert history": "an alert has to last for longer than a minute"},
    "chatbot-voiceflow": {},
    "chatbot-inkeep": {},
    "chatbot-flowxo": {},
    "chatbot-xenioo": {
        "Conversation duration": ONLY_ONE,
        "Time to pick up": ONLY_ONE,
        "Taken over by people": ONLY_ONE,
        "Conversation duration with people": ONLY_ONE,
        "Time to first message": ONLY_ONE,
    },
    "chatbot-chatlayer": {
        "Active conversations": "it takes a day of events",
        "Feedback": RARE,
        "Messages by people": RARE,
        "New users": UNTRACKED,
        "Outbound API errors": UNTRACKED,
        "Function errors": UNTRACKED,
        "Integration errors": UNTRACKED,
        "Language model tokens": "an event counts as one, and not as many tokens",
    },
    "chatbot-exporter": {
        "Label sets in overflow or dropped per hour": "the demo drops no label set",
        "Written off per day": "nothing is written off in the first six hours",
        "Ledger reachable": "the ledger is a file, and not on PostgreSQL",
        "Superseded queries": "the ledger is a file, and not on PostgreSQL",
    },
}
"""Panels without data on the demo, by board, and the reason."""
CANNOT = {ONLY_ONE, UNTRACKED, "the ledger is a file, and not on PostgreSQL"}
"""Reasons why the demo cannot feed a panel at all, however long it runs."""


def queries(uid: str) -> list[tuple[str, str]]:
    """Return the title and the query of every panel; not those that say why there is no data."""
    board = json.loads((FOLDER / f"{uid}.json").read_text("utf-8"))
    return [
        (panel["title"], substituted(target["expr"], GRAFANA))
        for panel in panels(board)
        for target in panel.get("targets", ())
        if '"state"' not in target["expr"]
    ]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """Run the script; yield a client of its Prometheus once that is up."""
    for program in ("prometheus", "promtool"):
        needed(program)
    port = free_port()
    environment = {
        "PYTHON": sys.executable,
        "PROMETHEUS": f"127.0.0.1:{port}",
        "EXPORTER": f"127.0.0.1:{free_port()}",
        "STEP": "1h",  # a quarter of the samples, and of the time
    }
    with (
        subprocess.Popen(
            ["/bin/sh", "scripts/demo-prometheus"], cwd=ROOT, env=os.environ | environment
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as found,
    ):
        try:
            wait_for(lambda: process.poll() is not None or is_ready(found), DEADLINE_S)
            assert process.poll() is None
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)


def empty(client: httpx.Client) -> dict[str, set[str]]:
    """Return the panels without data now, by board."""
    now_s = CLOCK.now_ms() // 1000
    return {
        uid: {title for title, expr in queries(uid) if not asked(client, expr, now_s)}
        for uid in EMPTY
    }


@pytest.mark.slow
@pytest.mark.skipif("DEMO" not in os.environ, reason="three minutes: `make test-demo` runs it")
def test_within_a_minute_of_the_start_every_board_of_the_demo_is_filled(
    client: httpx.Client,
) -> None:
    end_s = CLOCK.monotonic() + WITHIN_S

    while unlisted(found := empty(client)) and CLOCK.monotonic() < end_s:
        pause(EVERY_S)

    waited_s = CLOCK.monotonic() - end_s + WITHIN_S
    numbers = [filled_of_feedable(uid, titles) for uid, titles in found.items()]
    shares = {uid: f"{filled}/{of}" for uid, (filled, of) in zip(found, numbers, strict=True)}
    print(f"panels with data {waited_s:.0f} s after the start:", shares, found)  # noqa: T201
    assert unlisted(found) == set()
    assert min(filled / feedable for filled, feedable in numbers) >= LEAST_OF_A_BOARD
    assert sum(filled for filled, _ in numbers) >= LEAST * sum(feedable for _, feedable in numbers)


def unlisted(found: dict[str, set[str]]) -> set[str]:
    """Return panels without data for which no reason is given, and those that cannot have any but do."""
    return {
        f"{uid}: {title}"
        for uid, reasons in EMPTY.items()
        for title in found[uid] ^ reasons.keys()
        if reasons.get(title) in {None, *CANNOT}
    }


def filled_of_feedable(uid: str, without: set[str]) -> tuple[int, int]:
    """Return how many panels of a board have data, and how many the demo can feed."""
    feedable = [title for title, _ in queries(uid) if EMPTY[uid].get(title) not in CANNOT]
    return sum(title not in without for title in feedable), len(feedable)


def test_every_board_of_the_demo_is_listed_and_so_is_no_panel_that_it_has_not() -> None:
    boards = {"chatbot-overview", "chatbot-exporter", *(f"chatbot-{name}" for name in BUILT_IN)}

    assert boards == EMPTY.keys()
    for uid, reasons in EMPTY.items():
        assert reasons.keys() <= {title for title, _ in queries(uid)}
