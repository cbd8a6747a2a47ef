"""Call budgets: one per account, shared by everyone who calls the provider."""

from typing import Any

import sqlalchemy as sa

from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.ledger import engine
from exporter.ledger.rows import BudgetState
from exporter.ledger.tables import budget, upsert
from exporter.model.query import Budget
from exporter.model.samples import SECOND_MS

NEVER_MS = 0


class Spent:
    """When this process last spent a call of each budget; a clock set forward refills nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s: dict[str, float] = {}

    def note(self, limit: Budget) -> None:
        """Note that a call of ``limit`` was spent now."""
        self._at_s[limit.name] = self._clock.monotonic()

    def take(self, tx: sa.Connection, limit: Budget) -> int:
        """Take one call from ``limit``; return 0, or the milliseconds until one is available."""
        if limit.name not in self._at_s:
            return take(tx, limit, self._clock)
        rest_ms = limit.period_ms + limit.margin_ms - self._ago_ms(limit.name)
        return max(0, rest_ms) or take(tx, limit, self._clock, waited=True)

    def record(self, tx: sa.Connection) -> None:
        """Record these calls in a ledger that may have lost them."""
        for name in self._at_s:
            note_spent(tx, name, self._clock.now_ms() - self._ago_ms(name))

    def _ago_ms(self, name: str) -> int:
        return round((self._clock.monotonic() - self._at_s[name]) * SECOND_MS)


def take_at(url: str, limit: Budget, clock: Clock) -> int:
    """Take one call from ``limit`` in the ledger at ``url``, even while an exporter uses it.

    Return 0, or the milliseconds until a call is available if none was. Raises ``LedgerError``.
    """
    clock = engine.clock_of(url, clock)
    made = engine.create_engine(url, clock=clock)
    try:
        engine.check_schema(made)
        with made.begin() as tx:
            return take(tx, limit, clock)
    except sa.exc.SQLAlchemyError as error:
        raise LedgerError(f"the ledger cannot be used: {engine.cause(error)}") from error
    finally:
        made.dispose()


def take(tx: sa.Connection, limit: Budget, clock: Clock, *, waited: bool = False) -> int:
    """Take one call from ``limit``; commit it before sending the request.

    Return 0, or the milliseconds until a call is available if none was. A clock set back refills
    nothing: the whole wait begins again at the new time, unless the caller has already ``waited``
    that long since its own last call.
    """
    upsert(tx, budget, [(limit.name, NEVER_MS, 0)])  # even the first call needs a row to lock
    mine = sa.select(budget).where(budget.c.name == limit.name)
    row = tx.execute(mine.with_for_update()).one()
    now_ms = clock.now_ms()  # only once the lock is held
    set_back = row.spent_ms > now_ms
    ready_ms = now_ms if waited and set_back else _ready_ms(row, limit, now_ms)
    if set_back or ready_ms <= now_ms:
        spent = sa.update(budget).where(budget.c.name == limit.name)
        tx.execute(spent.values(spent_ms=now_ms, blocked_until_ms=0))
    return max(0, ready_ms - now_ms)


def note_spent(tx: sa.Connection, name: str, spent_ms: int) -> None:
    """Record a spent call that a ledger may have lost."""
    upsert(tx, budget, [(name, spent_ms, 0)])
    older = (budget.c.name == name) & (budget.c.spent_ms < spent_ms)
    tx.execute(sa.update(budget).where(older).values(spent_ms=spent_ms))


def left(tx: sa.Connection, limit: Budget, now_ms: int) -> BudgetState:
    """Return the calls left of ``limit`` without taking one."""
    row = tx.execute(sa.select(budget).where(budget.c.name == limit.name)).one_or_none()
    ready_ms = _ready_ms(row, limit, now_ms)
    return BudgetState(0, ready_ms) if ready_ms > now_ms else BudgetState(1)


def _ready_ms(row: sa.Row[Any] | None, limit: Budget, now_ms: int) -> int:
    wait_ms = limit.period_ms + limit.margin_ms
    if row is None:
        return now_ms
    if row.spent_ms > now_ms:
        return now_ms + wait_ms
    return int(max(row.spent_ms + wait_ms, row.blocked_until_ms))


def block(tx: sa.Connection, limit: Budget, until_ms: int) -> None:
    """Block ``limit`` until ``until_ms``; a later end of an earlier block stays."""
    sooner = (budget.c.name == limit.name) & (budget.c.blocked_until_ms < until_ms)
    tx.execute(sa.update(budget).where(sooner).values(blocked_until_ms=until_ms))
