"""A reload reports what happened: refused before anything changed, or in force."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.config.model import Settings
from exporter.errors import LedgerError
from exporter.ledger.store import Ledger
from tests.faults.bench import Bench
from tests.support.virtual import run_virtual

FILE = """version: 1
web:
  listen: 127.0.0.1:9
ledger: {url: sqlite:///other.db}
"""


def fail_once(method: Callable[..., Any]) -> Callable[..., Any]:
    calls = []

    def called(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise LedgerError("disk I/O error")
        return method(*args)

    return called


@pytest.mark.parametrize("step", ["close_circuits", "view"])
def test_settings_in_force_are_not_reported_as_refused_when_a_later_step_fails(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, ["flowxo"])

    async def main() -> None:
        async with bench.running():
            await bench.wait(20)
            bench.settings = {"settle": "2h"}
            monkeypatch.setattr(Ledger, step, fail_once(getattr(Ledger, step)))

            result = await bench.app.reload(lambda: (bench._read_settings(), "changed"))
            await bench.wait(10)

            assert result.errors == ()
            assert bench.app.status().config_hash == "changed"
            assert bench.own("config_last_reload_successful") == 1
            assert bench.own("ledger_errors_total") == 1
            lag_s = bench.values("chatbot_exporter_expected_lag_seconds", query="hourly")
            assert lag_s == [2 * 3600 + 300]

    run_virtual(main(), bench.clock)


@pytest.mark.parametrize(
    ("key", "place", "change"),
    [
        ("web.listen", "3:11", {"web": {"listen": "127.0.0.1:9"}}),
        ("ledger.url", "4:15", {"ledger": {"url": "sqlite:////other.db"}}),
    ],
)
def test_a_setting_that_needs_a_restart_is_refused_with_its_position(
    key: str, place: str, change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, ["flowxo"])
    (tmp_path / "exporter.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)

    def changed() -> tuple[Settings, str]:
        section, update = next(iter(change.items()))
        settings = bench._read_settings()
        part = getattr(settings, section).model_copy(update=update)
        return settings.model_copy(update={section: part}), "changed"

    async def main() -> None:
        async with bench.running():
            result = await bench.app.reload(changed)

            (error,) = result.errors
            assert error.startswith(f"exporter.yaml:{place}: {key}: cannot change")
            assert bench.app.status().config_hash == "bench"
            await bench.wait(1)
            assert bench.own("config_last_reload_successful") == 0

    run_virtual(main(), bench.clock)
