"""Ledgers that are closed when their test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.model.query import QuerySpec
from tests.support.driver import LedgerDriver
from tests.support.virtual import VirtualClock

OpenLedger = Callable[[int, QuerySpec], LedgerDriver]


@pytest.fixture
def open_ledger(tmp_path: Path) -> Iterator[OpenLedger]:
    drivers: list[LedgerDriver] = []

    def opened(start_ms: int, query: QuerySpec) -> LedgerDriver:
        drivers.append(LedgerDriver(tmp_path, query, clock=VirtualClock(start_ms)))
        return drivers[-1]

    yield opened
    for driver in drivers:
        driver.close()
