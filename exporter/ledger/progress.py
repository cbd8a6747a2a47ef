"""How far a backfill has come at one destination, noted beside a running exporter."""

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
import stamina

from exporter.errors import LedgerError
from exporter.ledger import engine
from exporter.ledger.tables import backfill, upsert

T = TypeVar("T")


class BackfillProgress:
    """The position of what a destination accepted last, under a ``name`` that says of what.

    Raises ``LedgerError``.
    """

    def __init__(self, url: str, name: str) -> None:
        self._engine = engine.create_engine(url)
        self._mine = backfill.c.name == name
        self._name = name

    def close(self) -> None:
        """Let go of the ledger."""
        self._engine.dispose()

    def read(self) -> str | None:
        """Return the position; None where nothing was accepted yet, or all was."""
        return self._run(
            lambda tx: tx.execute(sa.select(backfill.c.position).where(self._mine)).scalar()
        )

    def note(self, position: str) -> None:
        """Go on after ``position`` the next time."""
        self._run(
            lambda tx: upsert(
                tx, backfill, [(self._name, position)], "position = excluded.position"
            )
        )

    def end(self) -> None:
        """Begin anew the next time."""
        self._run(lambda tx: tx.execute(sa.delete(backfill).where(self._mine)))

    # A busy exporter may keep the ledger longer than one statement waits.
    @stamina.retry(on=LedgerError, attempts=5, wait_initial=0.2, wait_max=2.0, timeout=None)
    def _run(self, statement: Callable[[sa.Connection], T]) -> T:
        try:
            with self._engine.begin() as tx:
                return statement(tx)
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"progress is not noted: {engine.cause(error)}") from error
