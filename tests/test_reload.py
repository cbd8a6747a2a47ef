"""A reload reports what is true: refused with nothing changed, or in force."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.app import App, Environment
from exporter.cli.settings import load_settings
from exporter.config import refuse_restart_only
from exporter.config.model import Settings
from exporter.errors import LedgerError, SettingsError
from exporter.ledger.store import Ledger
from exporter.providers import PROVIDERS
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, inline, run_virtual

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
    ],
)
def test_a_setting_that_needs_a_restart_is_an_error_with_its_position(
    tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    running = load_settings(written(tmp_path))
    changed = load_settings(written(tmp_path, **changes))

    with pytest.raises(SettingsError) as caught:
        refuse_restart_only(tmp_path / "exporter.yaml", running, changed)

    assert problem in str(caught.value)
    assert "restart the exporter" in str(caught.value)


def test_settings_that_differ_elsewhere_need_no_restart(tmp_path: Path) -> None:
    running = load_settings(written(tmp_path))

    refuse_restart_only(tmp_path / "exporter.yaml", running, load_settings(written(tmp_path)))


@pytest.mark.parametrize("step", ["close_circuits", "view"])
def test_settings_in_force_are_not_reported_as_refused_when_a_later_step_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    clock = VirtualClock()
    document = Vendors(clock).document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}
    app = App(read(document), _environment(clock), "before")

    async def main() -> tuple[bool, str, set[str]]:
        await app.open()
        with monkeypatch.context() as patched:
            patched.setattr(Ledger, step, _fail)
            result = await app.reload(lambda: (_without("xenioo", document), "after"))
        status = app.status()
        app.stop()
        await app.run()
        return bool(result.errors), status.config_hash, {each.name for each in status.targets}

    refused, digest, targets = run_virtual(main(), clock)

    page = app.telemetry.exposed(openmetrics=False).decode()
    assert not refused
    assert digest == "after"
    assert "xenioo" not in targets
    assert "chatbot_exporter_config_last_reload_successful 1" in page


def test_a_page_that_cannot_be_read_keeps_no_circuit_of_a_changed_target_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    document = Vendors(clock).document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}
    app = App(read(document), _environment(clock), "before")
    closed: list[list[str]] = []

    async def main() -> None:
        await app.open()
        with monkeypatch.context() as patched:
            patched.setattr(Ledger, "view", _fail)
            patched.setattr(Ledger, "close_circuits", lambda _ledger, names: closed.append(names))
            await app.reload(lambda: (_slower("flowxo", document), "after"))
        app.stop()
        await app.run()

    run_virtual(main(), clock)

    assert closed == [["flowxo"]]


def test_a_settings_file_that_hangs_stops_no_poll_and_is_named(tmp_path: Path) -> None:
    clock = VirtualClock()
    document = Vendors(clock).document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}
    environment = replace(_environment(clock), blocking=_hanging)
    app = App(read(document), environment, "before")

    async def main() -> tuple[str, ...]:
        await app.open()
        result = await app.reload(lambda: (_without("xenioo", document), "after"))
        assert app.healthy()
        app.stop()
        await app.run()
        return result.errors

    (message,) = run_virtual(main(), clock)

    assert "could not be read within 5 s" in message
    assert "xenioo" in {target.name for target in app.status().targets}


def test_settings_that_the_ledger_refuses_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    document = Vendors(clock).document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}
    app = App(read(document), _environment(clock), "before")

    async def main() -> tuple[tuple[str, ...], str, set[str]]:
        await app.open()
        with monkeypatch.context() as patched:
            patched.setattr(Ledger, "sync_queries", _fail)
            result = await app.reload(lambda: (_without("xenioo", document), "after"))
        status = app.status()
        app.stop()
        await app.run()
        return result.errors, status.config_hash, {each.name for each in status.targets}

    faults, digest, targets = run_virtual(main(), clock)

    assert faults == ("disk full",)
    assert digest == "before"
    assert "xenioo" in targets


def _without(name: str, document: dict[str, object]) -> Settings:
    targets = document["targets"]
    assert isinstance(targets, list)
    return read(document | {"targets": [each for each in targets if each["name"] != name]})


def _slower(name: str, document: dict[str, object]) -> Settings:
    targets = document["targets"]
    assert isinstance(targets, list)
    changed = [each | ({"settle": "2h"} if each["name"] == name else {}) for each in targets]
    return read(document | {"targets": changed})


def _environment(clock: VirtualClock) -> Environment:
    rng = random.Random(1)  # noqa: S311 - the same jitter each time
    return Environment(clock=clock, rng=rng, providers=PROVIDERS, offload=inline)


async def _hanging(_key: object, _call: object) -> Any:
    await asyncio.Event().wait()


def _fail(*_arguments: object, **_keywords: object) -> None:
    raise LedgerError("disk full")
