"""Ledgers that are closed when their test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS, VirtualClock

Start = Callable[..., LedgerDriver]
"""Opens a ledger at an instant, with a query of these traits."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as opened:

        def started(at_ms: int = START_MS, **traits: Any) -> LedgerDriver:
            made = LedgerDriver(tmp_path, spec(**traits), clock=VirtualClock(at_ms))
            return opened.enter_context(made)

        yield started


@pytest.fixture
def driver(start: Start) -> LedgerDriver:
    return start()
