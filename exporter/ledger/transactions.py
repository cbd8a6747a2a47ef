"""Transactions of an open ledger, each on the server with the confirmed state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import sqlalchemy as sa
import stamina

from exporter.clock import Clock
from exporter.errors import LedgerConflict, LedgerError
from exporter.ledger import engine
from exporter.ledger.engine import Opened
from exporter.ledger.writes import WriteHealth

UNCONFIRMED = 0
LONG_S = 1.0
PAUSE_S = 2.0
"""Calls fail at once for this long after one that took ``LONG_S`` or more to fail."""
TRIES = 6

P = ParamSpec("P")
T = TypeVar("T")


def repeated(transaction: Callable[P, T]) -> Callable[P, T]:
    """Retry a transaction that conflicts with another replica's; never repeats a vendor call."""
    return stamina.retry(
        on=LedgerConflict, attempts=TRIES, wait_initial=0.02, wait_jitter=0.1, timeout=None
    )(transaction)


class Transactions:
    """Begins the transactions of one ledger; ``writes`` is notified of each.

    ``server`` is the only server run that transactions may use: ``UNCONFIRMED`` while none may
    begin, None while it is unknown, when any will do.
    """

    def __init__(self, opened: Opened, clock: Clock, writes: WriteHealth | None) -> None:
        self._opened = opened
        self._clock = clock
        self._writes = writes
        self._retry_at = 0.0
        self.server: int | None = None

    @contextmanager
    def begin(self, *, anywhere: bool = False, only_reads: bool = False) -> Iterator[sa.Connection]:
        """Begin a transaction; ``anywhere``: even on an unconfirmed server.

        One that ``only_reads`` begins even if the ledger takes no writes. Raises ``LedgerConflict`` for a conflict with another replica, else ``LedgerError``.
        """
        started = self._clock.monotonic()
        if started < self._retry_at:
            raise self._failed("the ledger did not answer a moment ago")
        try:
            ledger = self._opened.engine
            if only_reads:
                ledger = ledger.execution_options(**{engine.ONLY_READS: True})
            with ledger.begin() as tx:
                if not anywhere and self.server is not None:
                    self.expect(tx, self.server)
                yield tx
                if lost := self._opened.displaced():
                    raise self._failed(lost)
                wrote = engine.has_written(tx)
        except sa.exc.SQLAlchemyError as error:
            now = self._clock.monotonic()
            if engine.is_conflict(error):
                raise LedgerConflict(
                    f"another replica is in the way: {engine.cause(error)}"
                ) from error
            self._retry_at = now + PAUSE_S if now - started >= LONG_S else now
            cause = self._opened.displaced() or engine.cause(error)
            raise self._failed(f"the ledger refused a transaction: {cause}") from error
        if self._writes is not None:
            self._writes.succeeded(self._clock.monotonic() - started, wrote=wrote)

    def expect(self, tx: sa.Connection, server: int) -> None:
        """Raise ``LedgerError`` if the transaction is not on ``server``."""
        if engine.server_of(tx) != server:
            tx.invalidate()  # a pooled connection may still lead to the former server
            raise self._failed("the ledger has another server, whose state is not confirmed yet")

    def _failed(self, message: str) -> LedgerError:
        error = LedgerError(message)
        if self._writes is not None:
            self._writes.failed(error)
        return error
