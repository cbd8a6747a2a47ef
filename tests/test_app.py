"""What the exporter leaves behind, however it ends."""

from pathlib import Path

import pytest

from exporter.errors import LedgerError
from exporter.exposition.publisher import Publisher
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual


def test_the_ledger_is_free_where_nothing_could_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    settings = read(vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}})

    async def fail(_publisher: Publisher, _specs: object) -> None:
        raise LedgerError("gone")

    async def main() -> None:
        async with exporter(settings, clock, vendors) as app:
            assert app.ready()

    with monkeypatch.context() as failing:
        failing.setattr(Publisher, "restart", fail)
        with pytest.raises(LedgerError, match="gone"):
            run_virtual(main(), clock)
    run_virtual(main(), clock)


def test_the_ledger_is_free_after_a_failure(tmp_path: Path) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    settings = read(vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}})

    async def main() -> None:
        async with exporter(settings, clock, vendors) as app:
            await clock.sleep(1)
            assert app.ready()
            if not again:
                raise RuntimeError("a bug")

    again = False
    with pytest.raises(ExceptionGroup):
        run_virtual(main(), clock)
    again = True
    run_virtual(main(), clock)
