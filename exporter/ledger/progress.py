"""How far a backfill to one destination has come, stored in the ledger of a running exporter."""

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
import stamina

from exporter.errors import LedgerError
from exporter.ledger import engine
from exporter.ledger.tables import backfill, upsert

T = TypeVar("T")


class BackfillProgress:
    """The last position that a destination accepted; ``name`` identifies the backfill.

    Raises ``LedgerError``.
    """

    def __init__(self, url: str, name: str) -> None:
        self._engine = engine.create_engine(url)
        self._mine = backfill.c.name == name
        self._name = name

    def close(self) -> None:
        """Close the connection to the ledger."""
        self._engine.dispose()

    def read(self) -> str | None:
        """Return the position; None if nothing was accepted yet, or everything was."""
        return self._run(
            lambda tx: tx.execute(sa.select(backfill.c.position).where(self._mine)).scalar()
        )

    def note(self, position: str) -> None:
        """Store ``position``, so that the next run continues after it."""
        self._run(
            lambda tx: upsert(
                tx, backfill, [(self._name, position)], "position = excluded.position"
            )
        )

    def end(self) -> None:
        """Delete the position, so that the next run starts over."""
        self._run(lambda tx: tx.execute(sa.delete(backfill).where(self._mine)))

    # A busy exporter may hold the ledger for longer than one statement waits.
    @stamina.retry(on=LedgerError, attempts=5, wait_initial=0.2, wait_max=2.0, timeout=None)
    def _run(self, statement: Callable[[sa.Connection], T]) -> T:
        try:
            with self._engine.begin() as tx:
                return statement(tx)
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"cannot access backfill progress: {engine.cause(error)}") from error
