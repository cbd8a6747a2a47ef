"""What the exporter leaves behind, however it ends."""

from pathlib import Path

import pytest

from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual


def test_the_ledger_is_free_after_a_failure(tmp_path: Path) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    settings = read(vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}})

    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with exporter(settings, clock, vendors):
                await clock.sleep(1)
                raise RuntimeError("a bug")
        async with exporter(settings, clock, vendors) as again:
            assert again.ready()

    run_virtual(main(), clock)
