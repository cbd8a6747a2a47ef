"""What an operator sees of a key, an account or a project that is wrong: page, log and metric.

All five vendors, in virtual time. For each trouble the status page says what is wrong, where and
what to do; one line of the log says the same; and a metric lets an alert say it.
"""

import html
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from structlog.testing import capture_logs

from exporter import app
from exporter.polling import poller
from exporter.status import QueryStatus, State
from exporter.web.page import render
from tests.faults.bench import PREFIX
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual

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
KEY = "check that the key is whole, not revoked, and of this account and project"
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
class Walk:
    """An exporter on all vendors, whose keys are in files, and what it says."""

    folder: Path
    clock: VirtualClock = field(default_factory=VirtualClock)
    logged: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        self.vendors = Vendors(self.clock)
        self.document = self.vendors.document(FEWER)
        self.document["ledger"] = {"url": f"sqlite:///{self.folder}/ledger.db"}
        self.keys: dict[str, str] = {}
        for target in self.document["targets"]:
            member = KEYS[target["name"]]
            self.keys[target["name"]] = target[member]
            target[member] = {"file": str(self.folder / target["name"])}
            target["interval"] = "1h" if target["name"] == "xenioo" else "15m"
            self.give(target["name"], self.keys[target["name"]])

    def give(self, name: str, key: str) -> None:
        """Write a key into the file of a target."""
        (self.folder / name).write_text(f"{key}\n", "utf-8")

    def trouble(self, fault: str, **options: Any) -> None:
        """Let every vendor answer like that; Xenioo only where it is asked for statistics."""
        for service in self.vendors.services.values():
            service.faults.on(fault, when=lambda call: "/auth" not in call.path, **options)

    def calm(self, fault: str) -> None:
        for service in self.vendors.services.values():
            service.faults.off(fault)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with capture_logs() as self.logged:
            async with exporter(read(self.document), self.clock, self.vendors) as self.app:
                yield

    def queries(self, name: str) -> tuple[QueryStatus, ...]:
        (found,) = [target for target in self.app.status().targets if target.name == name]
        return found.queries

    def states(self, name: str) -> set[State]:
        return {query.state for query in self.queries(name)}

    def page(self, name: str) -> str:
        """Return the words of a target's page."""
        found = render(self.app.status(), target=name) or ""
        found = found.partition("<main>")[2].partition("<script>")[0]
        return " ".join(html.unescape(re.sub("<[^>]+>", " ", found)).split())

    def counters(self) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return every counter that is fed from vendors."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for sample in self.samples()
            if re.fullmatch(r"chatbot_(?!exporter_).*_total", sample.name)
        }

    async def settled(self) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return the counters once every new series has been shown as 0."""
        self.counters()
        await self.clock.sleep(2 * MINUTE_S)
        return self.counters()

    def samples(self) -> Iterator[Sample]:
        text = b"".join(self.app.page.scrape(openmetrics=False, gzip=False)).decode()
        for family in text_string_to_metric_families(text):
            yield from family.samples

    def lines(self, name: str, event: str) -> list[Mapping[str, Any]]:
        return [
            line
            for line in self.logged
            if line["event"] == event and name in (line.get("target"), *line.get("targets", ()))
        ]

    def metric(self, family: str, name: str, **labels: str) -> float:
        """Return the sum of a self metric of a target."""
        wanted = (labels | {"target": name}).items()
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == PREFIX + family and wanted <= sample.labels.items()
        )

    def reported(self, name: str, reason: str, *messages: str) -> None:
        """Assert that page, log and metric show ``reason``, the first two ``messages``."""
        number = len(self.queries(name))
        page = self.page(name)
        lines = self.lines(name, "poll failed")
        assert {query.last_error and query.last_error.reason for query in self.queries(name)} == {
            reason
        }
        assert {line["reason"] for line in lines} == {reason}
        assert {line["log_level"] for line in lines} == {"warning"}
        for each in messages:
            assert page.count(each) >= number, each
            assert all(each in line["error"] for line in lines), each
        assert self.metric("target_up", name) == 0
        assert self.metric("poll_failures_total", name, reason=reason) >= number

    def recovered(self, name: str) -> None:
        number = len(self.queries(name))
        assert self.states(name) == {State.OK}
        assert len(self.lines(name, "recovered")) == number
        assert self.metric("target_up", name) == number


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Walk:
    monkeypatch.setattr(app, "TICK_S", 5)  # hours pass, in which half seconds make no difference
    monkeypatch.setattr(poller, "IDLE_S", 15)
    return Walk(tmp_path)


def test_a_wrong_key_is_reported_and_a_right_one_in_its_file_is_taken_at_once(walk: Walk) -> None:
    for name in NAMES:
        walk.give(name, WRONG)

    async def main() -> None:
        async with walk.running():
            await walk.clock.sleep(30)
            for name in NAMES:
                walk.reported(name, "auth", "the ", "key", KEY)
                assert walk.states(name) == {State.CIRCUIT_OPEN}
                assert walk.metric("circuit_open", name) == 1

                walk.give(name, walk.keys[name])

            await walk.clock.sleep(30)
            for name in NAMES:
                walk.recovered(name)
                assert walk.lines(name, "trying a new key")

    run_virtual(main(), walk.clock)
    assert "C4n4ry" not in str(walk.logged)


@pytest.mark.parametrize(
    ("fault", "reason", "messages"),
    [
        ("unauthorized", "auth", ("HTTP 401; the key is not accepted", KEY)),
        (
            "refused",
            "client",
            ("HTTP 404", "a project, environment, bot, team or alias is unknown"),
        ),
    ],
    ids=["a revoked key", "a project that is gone"],
)
def test_an_error_is_reported_while_counters_stay(
    walk: Walk, fault: str, reason: str, messages: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with walk.running():
            await walk.clock.sleep(10 * MINUTE_S)
            assert [walk.states(name) for name in NAMES] == [{State.OK}] * len(NAMES)
            walk.trouble(fault, **({"status": 404} if fault == "refused" else {}))
            before = await walk.settled()

            await walk.clock.sleep(HOUR_S + 5 * MINUTE_S)

            assert walk.counters() == before
            assert len(before) > len(NAMES)
            for name in NAMES:
                walk.reported(name, reason, ENDPOINTS[name], *messages)
                assert reason != "auth" or walk.states(name) == {State.CIRCUIT_OPEN}

            walk.calm(fault)
            await walk.clock.sleep(2 * HOUR_S)
            for name in NAMES:
                walk.recovered(name)

    run_virtual(main(), walk.clock)
