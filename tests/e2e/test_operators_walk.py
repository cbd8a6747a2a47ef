"""What an operator sees of a key, an account or a project that is wrong: page, log and metric.

All five vendors, in virtual time. For each trouble the status page says what is wrong, where and
what to do; one line of the log says the same; and a metric lets an alert say it.
"""

import html
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter import app
from exporter.config.model import Settings
from exporter.polling import poller
from exporter.simulator.traffic import Traffic
from exporter.status import QueryStatus, State
from exporter.web.page import render
from tests.faults.bench import Bench
from tests.support.served import document
from tests.support.vendors import read
from tests.support.virtual import VirtualClock

MINUTE_S = 60
HOUR_S = 3_600
KEYS = {
    "voiceflow": "api_key",
    "inkeep": "api_key",
    "flowxo": "api_key",
    "xenioo": "account_key",
    "chatlayer": "token",
}
NAMES = sorted(KEYS)
KEY = "check that the key is complete, not revoked, and belongs to this account and project"
WRONG = "sk-C4n4ry:wrong"
FEWER = {
    "voiceflow": {"queries": ["interactions", "top_intents"]},
    "chatlayer": {"collectors": ["events", "messages", "team_conversations"]},
}
ENDPOINTS = {
    "voiceflow": "POST /v2/query/usage: ",
    "inkeep": "POST /query/",
    "flowxo": "GET /insights",
    "xenioo": "GET /analytics/statistics/account/…/",
    "chatlayer": "GET /v1/",
}


@dataclass
class Walk(Bench):
    """An exporter on all vendors, whose keys are in files, and what it says."""

    logged: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.keys = {
            name: service.target("")[KEYS[name]] for name, service in self.services.items()
        }
        for name, key in self.keys.items():
            self.give(name, key)

    def give(self, name: str, key: str) -> None:
        """Write a key into the file of a target."""
        (self.folder / name).write_text(f"{key}\n", "utf-8")

    def _read_settings(self) -> Settings:
        targets = [
            {"name": name, "initial_lookback": 0}
            | service.target(f"http://127.0.0.1:{self.ports[name]}")
            | FEWER.get(name, {})
            | {KEYS[name]: {"file": str(self.folder / name)}}
            | {"interval": "1h" if name == "xenioo" else "15m"}
            for name, service in self.services.items()
        ]
        return read(document(self.folder, *targets))

    def trouble(self, fault: str, **options: Any) -> None:
        """Let every vendor answer like that; Xenioo only where it is asked for statistics."""
        for service in self.services.values():
            service.faults.on(fault, when=lambda call: "/auth" not in call.path, **options)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with capture_logs() as self.logged:
            async with super().running():
                yield

    def queries_of(self, name: str) -> tuple[QueryStatus, ...]:
        (found,) = [target for target in self.app.status().targets if target.name == name]
        return found.queries

    def states(self, name: str) -> set[State]:
        return {query.state for query in self.queries_of(name)}

    def lines(self, name: str, event: str) -> list[Mapping[str, Any]]:
        return [
            line
            for line in self.logged
            if line["event"] == event and name in (line.get("target"), *line.get("targets", ()))
        ]

    def reported(self, name: str, reason: str, *messages: str) -> None:
        """Assert that page, log and metric show ``reason``, the first two ``messages``."""
        found = self.queries_of(name)
        page = render(self.app.status(), target=name) or ""
        page = page.partition("<main>")[2].partition("<script>")[0]
        words = " ".join(html.unescape(re.sub("<[^>]+>", " ", page)).split())
        lines = self.lines(name, "poll failed")
        assert {query.last_error and query.last_error.reason for query in found} == {reason}
        assert {(line["reason"], line["log_level"]) for line in lines} == {(reason, "warning")}
        for each in messages:
            assert words.count(each) >= len(found), each
            assert all(each in line["error"] for line in lines), each
        assert self.own("target_up", target=name) == 0
        assert self.own("poll_failures_total", target=name, reason=reason) >= len(found)

    def recovered(self, name: str) -> None:
        number = len(self.queries_of(name))
        assert self.states(name) == {State.OK}
        assert len(self.lines(name, "recovered")) == number
        assert self.own("target_up", target=name) == number


@pytest.fixture
def walk(tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Walk:
    monkeypatch.setattr(app, "TICK_S", 5)  # hours pass, in which half seconds make no difference
    monkeypatch.setattr(poller, "IDLE_S", 15)
    return Walk(tmp_path, NAMES, traffic=Traffic(1, per_hour=6), scrape_s=300, clock=clock)


async def test_a_wrong_key_is_reported_and_a_right_one_in_its_file_is_taken_at_once(
    walk: Walk,
) -> None:
    for name in NAMES:
        walk.give(name, WRONG)

    async with walk.running():
        await walk.wait(30)
        for name in NAMES:
            walk.reported(name, "auth", "the ", "key", KEY)
            assert walk.states(name) == {State.CIRCUIT_OPEN}
            assert walk.own("circuit_open", target=name) == 1

            walk.give(name, walk.keys[name])

        await walk.wait(30)
        for name in NAMES:
            walk.recovered(name)
            assert walk.lines(name, "trying a new key")
    assert "C4n4ry" not in str(walk.logged)


@pytest.mark.parametrize(
    ("fault", "reason", "messages"),
    [
        ("unauthorized", "auth", ("HTTP 401; the key is not accepted", KEY)),
        (
            "refused",
            "client",
            ("HTTP 404", "a project, environment, bot, team or alias does not exist"),
        ),
    ],
    ids=["a revoked key", "a project that is gone"],
)
async def test_an_error_is_reported_while_counters_stay(
    walk: Walk, fault: str, reason: str, messages: tuple[str, ...]
) -> None:
    async with walk.running():
        await walk.wait(10 * MINUTE_S)
        assert [walk.states(name) for name in NAMES] == [{State.OK}] * len(NAMES)
        walk.trouble(fault, **({"status": 404} if fault == "refused" else {}))
        await walk.wait(2 * MINUTE_S)  # until every new series has been shown as 0
        before = walk.counters()

        await walk.wait(HOUR_S + 5 * MINUTE_S)

        assert walk.counters() == before
        assert len(before) > len(NAMES)
        for name in NAMES:
            walk.reported(name, reason, ENDPOINTS[name], *messages)
            assert reason != "auth" or walk.states(name) == {State.CIRCUIT_OPEN}

        for service in walk.services.values():
            service.faults.off(fault)
        await walk.wait(2 * HOUR_S)
        for name in NAMES:
            walk.recovered(name)
