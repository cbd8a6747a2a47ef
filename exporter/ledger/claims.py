"""Who may poll what: claims with fencing tokens, and the persisted schedule."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from exporter.errors import ClaimLost
from exporter.ledger.rows import Claim, claim_of
from exporter.ledger.tables import query

CLAIM_MS = 30_000
OTHER = query.alias()


def claim_due(tx: sa.Connection, holder: str, now_ms: int) -> Claim | None:
    """Claim the query that has been due longest, of a target that nobody polls; None if none is.

    It stays due until its poll has ended, so that one that is cut off is due at once.
    """
    due = (
        sa.select(query)
        .where(query.c.state == "active", query.c.next_poll_ms <= now_ms)
        .where(query.c.target.not_in(_busy(now_ms)))
        .order_by(query.c.next_poll_ms, query.c.last_success_ms.nulls_first(), query.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = tx.execute(due).one_or_none()
    if row is None:
        return None
    tx.execute(
        sa.update(query)
        .where(query.c.id == row.id)
        .values(
            holder=holder,
            token=row.token + 1,
            claim_expires_ms=now_ms + CLAIM_MS,
            last_attempt_ms=now_ms,
        )
    )
    return replace(claim_of(row, holder), token=row.token + 1)


def next_due_ms(tx: sa.Connection, now_ms: int, yielding: Collection[str] = ()) -> int | None:
    """Return when the next query of a target that nobody polls is due; None when there is none.

    Those in ``yielding`` are polled for slices only, which give way.
    """
    soonest = (
        sa.select(sa.func.min(query.c.next_poll_ms))
        .where(query.c.state == "active")
        .where(query.c.target.not_in(_busy(now_ms)) | query.c.target.in_(yielding))
    )
    return tx.execute(soonest).scalar()


def due_targets(tx: sa.Connection, targets: Collection[str], now_ms: int) -> set[str]:
    """Return which of ``targets`` have a query that is due."""
    due = (query.c.state == "active") & (query.c.next_poll_ms <= now_ms)
    found = sa.select(query.c.target).where(due, query.c.target.in_(targets))
    return set(tx.execute(found).scalars())


def _busy(now_ms: int) -> sa.Select[tuple[str]]:
    return sa.select(OTHER.c.target).where(OTHER.c.claim_expires_ms > now_ms)


def check(tx: sa.Connection, claim: Claim) -> sa.Row[Any]:
    """Return the claimed row, locked; raise ``ClaimLost`` when another holder has it."""
    held = (
        sa.select(query)
        .where(query.c.id == claim.query_id)
        .where(query.c.holder == claim.holder, query.c.token == claim.token)
        .with_for_update()
    )
    row = tx.execute(held).one_or_none()
    if row is None:
        raise ClaimLost(f"{claim.target}/{claim.query}: another holder has the query")
    return row


def renew(tx: sa.Connection, held: Sequence[Claim], now_ms: int) -> int:
    """Extend the claims of polls that run; return how many are still held.

    A claim whose end could not be written is not among them: it expires, and the query goes on.
    """
    return sum(
        tx.execute(
            sa.update(query)
            .where(query.c.id == claim.query_id)
            .where(query.c.holder == claim.holder, query.c.token == claim.token)
            .values(claim_expires_ms=now_ms + CLAIM_MS)
        ).rowcount
        for claim in held
    )


def close_circuits(tx: sa.Connection, now_ms: int, targets: Sequence[str] | None) -> None:
    """Try what had been given up on, now; of all targets, or of ``targets``.

    One failure stays on record, so that its end is noticed.
    """
    chosen = sa.true() if targets is None else query.c.target.in_(targets)
    tx.execute(
        sa.update(query)
        .where(query.c.circuit == "open", chosen)
        .values(circuit="closed", fail_streak=1, next_poll_ms=now_ms)
    )


def take_over(tx: sa.Connection) -> None:
    """End every claim: the process that holds the ledger's lock knows that no other holder runs."""
    tx.execute(sa.update(query).values(claim_expires_ms=0, holder=None))


def rewrite(tx: sa.Connection) -> None:
    """Write a row as it is: it fails where the ledger takes no writes."""
    first = sa.select(sa.func.min(query.c.id)).scalar_subquery()
    tx.execute(sa.update(query).where(query.c.id == first).values(state=query.c.state))


def release(tx: sa.Connection, holder: str) -> None:
    """End the claims of ``holder``."""
    tx.execute(
        sa.update(query).where(query.c.holder == holder).values(claim_expires_ms=0, holder=None)
    )


def postpone(tx: sa.Connection, target: str, until_ms: int) -> None:
    """Let no query of ``target`` start before ``until_ms``."""
    sooner = (query.c.target == target) & (query.c.next_poll_ms < until_ms)
    tx.execute(sa.update(query).where(sooner).values(next_poll_ms=until_ms))


def fail(tx: sa.Connection, claim: Claim, **columns: Any) -> None:
    """Record a failed poll and when to try again; end the claim."""
    check(tx, claim)
    tx.execute(
        sa.update(query)
        .where(query.c.id == claim.query_id)
        .values(fail_streak=query.c.fail_streak + 1, claim_expires_ms=0, holder=None, **columns)
    )


def succeed(tx: sa.Connection, claim: Claim, now_ms: int, **columns: Any) -> None:
    """Record a successful poll; end the claim."""
    check(tx, claim)
    tx.execute(
        sa.update(query)
        .where(query.c.id == claim.query_id)
        .values(
            last_success_ms=now_ms,
            last_reason=None,
            last_error=None,
            fail_streak=0,
            backoff_ms=0,
            circuit="closed",
            claim_expires_ms=0,
            holder=None,
            **columns,
        )
    )


def end(tx: sa.Connection, claim: Claim, **columns: Any) -> None:
    """End the claim and plan the next poll, with no verdict on this one."""
    check(tx, claim)
    tx.execute(
        sa.update(query)
        .where(query.c.id == claim.query_id)
        .values(claim_expires_ms=0, holder=None, **columns)
    )
