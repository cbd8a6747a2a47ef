"""A reload reports what is true: refused with nothing changed, or in force."""

import asyncio
import random
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter import app
from exporter.app import App, Environment
from exporter.cli.settings import load_settings
from exporter.config import refuse_restart_only
from exporter.config.model import Settings
from exporter.errors import LedgerError, SettingsError, SettingsProblem
from exporter.exposition.publisher import Publisher
from exporter.http_client.detached import Blocking, Detached
from exporter.http_client.detached import inline as waits_for_none
from exporter.ledger.store import Ledger
from exporter.providers import PROVIDERS
from tests.faults.bench import Bench
from tests.support.running import exporter
from tests.support.served import document
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, inline

FILE = """\
version: 1
web: {{listen: '{listen}'}}
ledger: {{url: 'sqlite:///{ledger}'}}
allow_inline_secrets: true
targets:
  - {{name: shop, provider: flowxo, project: shop, api_key: key}}
"""


def written(folder: Path, listen: str = "127.0.0.1:10877", ledger: str = "ledger.db") -> str:
    file = folder / "exporter.yaml"
    file.write_text(FILE.format(listen=listen, ledger=ledger))
    return str(file)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"listen": "127.0.0.1:9"}, "exporter.yaml:2:15: web.listen: cannot change"),
        ({"ledger": "other.db"}, "exporter.yaml:3:15: ledger.url: cannot change"),
        ({}, ""),
    ],
)
def test_a_setting_that_needs_a_restart_is_an_error_with_its_position(
    tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    running = load_settings(written(tmp_path))
    changed = load_settings(written(tmp_path, **changes))

    refused = pytest.raises(SettingsError, match=f"{problem}.*; restart the exporter")
    with refused if problem else nullcontext():
        refuse_restart_only(running, changed)


def test_requests_may_give_the_name_that_the_option_listens_on(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "metrics.example.org:1"))
    environment = Environment(VirtualClock(), random.Random(1), PROVIDERS, inline)  # noqa: S311

    of_file = App(settings, environment).sources.hosts()
    of_option = App(settings, environment, "Bot.example.org:10877").sources.hosts()

    assert of_file == {"metrics.example.org"}
    assert of_option == {"metrics.example.org", "bot.example.org"}


@dataclass
class Reload:
    """An exporter on all vendors that does not poll, and its reload while the ledger fails."""

    folder: Path
    clock: VirtualClock
    blocking: Blocking = waits_for_none

    def __post_init__(self) -> None:
        rng = random.Random(1)  # noqa: S311 - the same jitter each time
        self.document = Vendors(self.clock).document() | {
            "ledger": {"url": f"sqlite:///{self.folder}/ledger.db"}
        }
        environment = Environment(self.clock, rng, PROVIDERS, inline, blocking=self.blocking)
        self.app = App(read(self.document), environment)

    def targets(self, **changes: Mapping[str, Any] | None) -> Settings:
        """Return the settings with targets changed, or, for None, left out."""
        targets = [
            each | (changes.get(each["name"]) or {})
            for each in self.document["targets"]
            if changes.get(each["name"], {}) is not None
        ]
        return read(self.document | {"targets": targets})

    async def run(
        self, settings: Settings, patched: pytest.MonkeyPatch, *steps: str
    ) -> tuple[str, ...]:
        """Reload ``settings`` while ``steps`` of the ledger fail; return the reload's errors."""
        async with self.app.opened():
            with patched.context() as failing:
                for step in steps:
                    failing.setattr(Ledger, step, _fail)
                result = await self.app.reload(lambda: settings)
            self.status = self.app.status()
        return result


@pytest.fixture
def reload(tmp_path: Path, clock: VirtualClock) -> Reload:
    return Reload(tmp_path, clock)


async def _hanging(_key: object, _call: object) -> Any:
    await asyncio.Event().wait()


def _fail(*_arguments: object, **_keywords: object) -> None:
    raise LedgerError("disk full")


@pytest.mark.parametrize("step", ["close_circuits", "views"])
async def test_settings_in_force_are_not_reported_as_refused_when_a_later_step_fails(
    reload: Reload, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    changed = reload.targets(xenioo=None)
    errors = await reload.run(changed, monkeypatch, step)

    page = reload.app.telemetry.exposed(openmetrics=False).decode()
    assert errors == ()
    status = reload.status
    assert (status.config_hash, status.config_refused_ms) == (changed.source.digest, None)
    assert "xenioo" not in {each.name for each in reload.status.targets}
    assert "chatbot_exporter_config_last_reload_successful 1" in page


async def test_a_page_that_cannot_be_read_keeps_no_circuit_of_a_changed_target_open(
    reload: Reload, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[list[str]] = []
    monkeypatch.setattr(
        Ledger, "close_circuits", lambda _ledger, names, **_bounds: closed.append(names)
    )

    await reload.run(reload.targets(flowxo={"settle": "2h"}), monkeypatch, "views")

    assert closed == [["flowxo"]]


async def test_a_settings_file_that_hangs_stops_no_poll_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock
) -> None:
    reload = Reload(tmp_path, clock, blocking=_hanging)

    (message,) = await reload.run(reload.targets(xenioo=None), monkeypatch)

    assert "could not be read within 5 s" in message
    assert reload.app.healthy()
    assert "xenioo" in {each.name for each in reload.status.targets}


async def test_settings_that_the_ledger_refuses_change_nothing(
    reload: Reload, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = await reload.run(reload.targets(xenioo=None), monkeypatch, "sync_queries")

    assert errors == ("disk full",)
    assert reload.status.config_hash == read(reload.document).source.digest
    assert reload.status.config_refused_ms is not None
    assert "xenioo" in {each.name for each in reload.status.targets}


class Slow(httpx.AsyncBaseTransport):
    """A vendor that takes 20 s for an answer; ``most`` requests were under way at once."""

    def __init__(self, clock: VirtualClock) -> None:
        self.most = 0
        self._clock, self._now = clock, 0

    async def handle_async_request(self, _request: httpx.Request) -> httpx.Response:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await self._clock.sleep(20)
            return httpx.Response(200, json={"metrics": []})
        finally:
            self._now -= 1


async def test_a_query_that_gets_another_meaning_is_not_asked_twice_at_once(
    tmp_path: Path, clock: VirtualClock
) -> None:
    vendor = Slow(clock)

    def settings(project: str) -> Settings:
        target = {"name": "shop", "provider": "flowxo", "project": project, "api_key": "k"}
        return read(document(tmp_path, target))

    async with exporter(settings("shop"), clock, vendor) as app:
        for project in ("eu", "us"):
            await clock.sleep(5)
            assert not await app.reload(partial(settings, project))
        await clock.sleep(5)
    assert vendor.most == 1


async def test_counts_of_a_removed_target_are_forgotten_and_those_in_the_ledger_come_back(
    reload: Reload, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, live = (
        ("chatbot_exporter_throttled_total", (("provider", name), ("target", name)))
        for name in ("xenioo", "flowxo")
    )
    app, counts = reload.app, reload.app.telemetry
    monkeypatch.setattr(Ledger, "self_counts", lambda _, _target=None: {gone: 5.0, live: 2.0})

    async with app.opened():
        counts.add({gone: 1, live: 1})
        assert not await app.reload(lambda: reload.targets(xenioo=None))
        counts.add({gone: 1})  # by a poll that was under way
        assert "xenioo" not in counts.counts
        assert counts.counts["flowxo"][live] == 3
        assert not await app.reload(reload.targets)
        assert (counts.counts["xenioo"][gone], counts.counts["flowxo"][live]) == (5, 3)


def refused() -> Settings:
    raise SettingsError([SettingsProblem("exporter.yaml", 1, 1, "", "no such file")])


@pytest.mark.parametrize("good", [True, False])
async def test_a_target_that_did_not_change_keeps_its_circuit(
    *, good: bool, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, ["flowxo"])
    bench.service.faults.on("unauthorized")

    async with bench.running():
        await bench.wait(20)
        asked = len(bench.service.requests)
        before = bench.values("chatbot_exporter_next_poll_timestamp_seconds")

        result = await bench.app.reload(bench._read_settings if good else refused)
        await bench.wait(30)

        assert (not result) is good
        assert len(bench.service.requests) == asked == 3
        assert bench.own("circuit_open") == 1
        assert bench.values("chatbot_exporter_next_poll_timestamp_seconds") == before


async def test_a_target_that_changed_is_tried_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ["flowxo"])
    bench.service.faults.on("unauthorized")

    async with bench.running():
        await bench.wait(20)
        bench.service.faults.off("unauthorized")
        bench.settings = {"settle": "2h"}

        await bench.app.reload(bench._read_settings)
        await bench.wait(10)

        assert [seen.status for seen in bench.service.requests] == [401] * 3 + [200] * 3
        assert bench.own("circuit_open") == 0


async def test_a_circuit_that_opens_under_the_new_settings_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, ["flowxo"], {"interval": "10s", "slow_interval": "10s"})

    async def slow(_publisher: Publisher, _specs: object) -> None:
        await bench.clock.sleep(20)  # meanwhile the changed target is polled

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        monkeypatch.setattr(Publisher, "restart", slow)
        bench.settings = {**bench.settings, "settle": "2h"}
        bench.service.faults.on("unauthorized")
        polled = len(bench.service.requests)

        await bench.app.reload(bench._read_settings)
        await bench.wait(20)

        assert len(bench.service.requests) == polled + 3
        assert bench.own("circuit_open") == 1


@pytest.mark.real_time
async def test_a_load_that_hangs_is_not_shared_by_later_reloads(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "READ_FILES_S", 0.1)
    monkeypatch.setattr(app, "HUNG_LOADS", 2)
    reload = Reload(tmp_path, clock, blocking=Detached())
    old, new = reload.targets(), reload.targets(xenioo=None)
    ends, threads = threading.Event(), list[threading.Thread]()

    def hanging() -> Settings:
        threads.append(threading.current_thread())
        ends.wait()
        return old

    try:
        async with reload.app.opened():
            assert await reload.app.reload(hanging) == (app.UNREADABLE,)
            assert await reload.app.reload(lambda: new) == ()
            assert await reload.app.reload(hanging) == (app.UNREADABLE,)
            assert await reload.app.reload(lambda: new) == (app.UNREADABLE,)  # two threads hang
            ends.set()
            for thread in threads:
                thread.join()
            assert await reload.app.reload(lambda: new) == ()
            assert reload.app.status().config_hash == new.source.digest
    finally:
        ends.set()
