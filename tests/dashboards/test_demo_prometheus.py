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
CANNOT: dict[str, set[str]] = {
    "chatbot-xenioo": {  # a target has the setting for it or not, and the demo's has not
        "Messages sent",
        *("Conversation duration", "Conversation duration with people"),
        *("Time to pick up", "Time to first message", "Taken over by people"),
    },
    # The demo's flows track no event of it.
    "chatbot-chatlayer": {
        *("New users", "Outbound API errors", "Function errors", "Integration errors"),
    },
    # The ledger is a file, and not on PostgreSQL.
    "chatbot-exporter": {"Ledger reachable", "Superseded queries"},
}
"""Panels that the demo cannot feed at all, however long it runs, by board."""
RARE: dict[str, set[str]] = {
    "chatbot-overview": {"Alert history"},  # an alert has to last for longer than a minute
    "chatbot-chatlayer": {
        "Active conversations",  # it takes a day of events
        *("Feedback", "Messages by people"),  # a minute of conversations may have none
        "Language model tokens",  # an event counts as one, and not as many tokens
    },
    "chatbot-exporter": {
        "Label sets in overflow or dropped per hour",  # the demo drops no label set
        "Written off per day",  # nothing is written off in the first six hours
    },
}
"""Panels that may have no data a minute after the start."""
BOARDS = ("chatbot-overview", "chatbot-exporter", *(f"chatbot-{name}" for name in BUILT_IN))


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
        for uid in BOARDS
    }


def unlisted(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return panels that are empty and may not be, and those that cannot have data but do."""
    wrong = {
        uid: (titles - RARE.get(uid, set())) ^ CANNOT.get(uid, set())
        for uid, titles in found.items()
    }
    return {uid: titles for uid, titles in wrong.items() if titles}


@pytest.mark.skipif("DEMO" not in os.environ, reason="three minutes: `make test-demo` runs it")
def test_within_a_minute_of_the_start_every_board_of_the_demo_is_filled(
    client: httpx.Client,
) -> None:
    end_s = CLOCK.monotonic() + WITHIN_S

    while unlisted(found := empty(client)) and CLOCK.monotonic() < end_s:
        pause(EVERY_S)

    waited_s = CLOCK.monotonic() - end_s + WITHIN_S
    feedable = {
        uid: [title for title, _ in queries(uid) if title not in CANNOT.get(uid, ())]
        for uid in BOARDS
    }
    filled = {uid: sum(title not in found[uid] for title in all_) for uid, all_ in feedable.items()}
    shares = {uid: filled[uid] / len(all_) for uid, all_ in feedable.items()}
    print(f"panels with data {waited_s:.0f} s after the start:", shares, found)  # noqa: T201
    assert unlisted(found) == {}
    assert min(shares.values()) >= LEAST_OF_A_BOARD
    assert sum(filled.values()) >= LEAST * sum(map(len, feedable.values()))


def test_a_wrong_step_is_named() -> None:
    given = {"PYTHON": sys.executable, "EXPORTER": "127.0.0.1:0", "STEP": "often"}
    done = subprocess.run(
        ["/bin/sh", "scripts/demo-prometheus"],
        cwd=ROOT,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )

    assert (done.returncode, "expected a duration, such as 4m" in done.stdout) == (2, True), done


def test_no_panel_is_listed_that_the_demo_has_not() -> None:
    for uid, titles in (*CANNOT.items(), *RARE.items()):
        assert uid in BOARDS
        assert titles <= {title for title, _ in queries(uid)}
