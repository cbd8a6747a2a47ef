"""Claims with fencing tokens, which decide who may poll what, and the persisted schedule."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from exporter.errors import ClaimLost, Reason
from exporter.ledger.rows import Claim, Retry, claim_of
from exporter.ledger.tables import query, set_query, slices

CLAIM_MS = 30_000
ENDED: dict[str, Any] = {"claim_expires_ms": 0, "holder": None}
"""The columns of a query whose claim has ended."""
BUSY, LEAD, SAME = query.alias("busy"), query.alias("lead"), query.alias("same")
NOW_MS: sa.BindParameter[int] = sa.bindparam("now_ms")
GENERATION: sa.BindParameter[int] = sa.bindparam("up_to")
FREE = (
    (query.c.state == "active")
    & (query.c.generation <= GENERATION)
    & query.c.target.not_in(sa.select(BUSY.c.target).where(BUSY.c.claim_expires_ms > NOW_MS))
)
FIRST = sa.select(sa.func.min(SAME.c.id)).where(SAME.c.target == query.c.target).scalar_subquery()
LONGEST_DUE = (
    sa.select(query.c.id)
    .join(LEAD, LEAD.c.id == FIRST)
    .where(FREE, query.c.next_poll_ms <= NOW_MS)
    .order_by(query.c.next_poll_ms, query.c.last_success_ms.nulls_first(), query.c.id)
    .limit(1)
    .with_for_update(of=LEAD, skip_locked=True)
)


def taking(allowed: sa.ColumnElement[bool], **columns: Any) -> sa.Executable:
    """Return the statement that claims a query if ``allowed``, and returns its row."""
    return (
        sa.update(query)
        .where(query.c.id == sa.bindparam("q_id"), allowed)
        .values(
            holder=sa.bindparam("q_holder"),
            token=query.c.token + 1,
            claim_expires_ms=NOW_MS + CLAIM_MS,
            **columns,
        )
        .returning(*query.c)
    )


TAKE = taking(FREE & (query.c.next_poll_ms <= NOW_MS), last_attempt_ms=NOW_MS)
NEXT_DUE = sa.select(sa.func.min(query.c.next_poll_ms)).where(FREE)
NEXT_OF = sa.select(sa.func.min(query.c.next_poll_ms)).where(
    query.c.state == "active", query.c.target.in_(sa.bindparam("targets", expanding=True))
)
NEXT_FREE = sa.select(sa.func.min(query.c.claim_expires_ms)).where(
    query.c.claim_expires_ms > NOW_MS, query.c.holder.is_distinct_from(sa.bindparam("holder"))
)


def claim_due(tx: sa.Connection, holder: str, now_ms: int, generation: int = 0) -> Claim | None:
    """Claim the query that has been due longest, of a target that nobody polls; None if none is.

    The check that nobody polls the target holds a lock on its first row, so two replicas cannot
    claim two of its queries. A query stays due until its poll ends, so one whose process dies is
    due at once. Queries of a newer ``generation`` of settings are left to other replicas.
    """
    given = {"now_ms": now_ms, "up_to": generation}
    while (found := tx.execute(LONGEST_DUE, given).scalar()) is not None:
        taken = tx.execute(TAKE, given | {"q_id": found, "q_holder": holder}).one_or_none()
        if taken is not None:
            return claim_of(taken, holder)
    return None


def next_due_ms(
    tx: sa.Connection,
    holder: str,
    now_ms: int,
    generation: int = 0,
    yielding: Collection[str] = (),
) -> int | None:
    """Return when a query of a free target is due, or another holder's claim expires.

    Targets in ``yielding`` are only busy with slices, which give way.
    """
    due_ms = tx.execute(NEXT_DUE, {"now_ms": now_ms, "up_to": generation}).scalar()
    free_ms = tx.execute(NEXT_FREE, {"now_ms": now_ms, "holder": holder}).scalar()
    given_ms = tx.execute(NEXT_OF, {"targets": list(yielding)}).scalar() if yielding else None
    found = (due_ms, free_ms, given_ms)
    return min((each for each in found if each is not None), default=None)


def due_targets(tx: sa.Connection, targets: Collection[str], now_ms: int) -> set[str]:
    """Return the ``targets`` that have a due query."""
    due = (query.c.state == "active") & (query.c.next_poll_ms <= now_ms)
    found = sa.select(query.c.target).where(due, query.c.target.in_(targets))
    return set(tx.execute(found).scalars())


def check(tx: sa.Connection, claim: Claim) -> sa.Row[Any]:
    """Lock and return the claimed row; raise ``ClaimLost`` if another holder has it."""
    row = tx.execute(sa.select(query).where(_is_held(claim)).with_for_update()).one_or_none()
    if row is None:
        raise ClaimLost(f"{claim.target}/{claim.query}: another holder has the query")
    return row


def renew(tx: sa.Connection, held: Sequence[Claim], now_ms: int) -> list[Claim]:
    """Extend the claims of running polls; return those that are still held.

    A claim whose end could not be written is not among them; it expires, and the query is free.
    """
    return [
        claim
        for claim in held
        if tx.execute(
            sa.update(query).where(_is_held(claim)).values(claim_expires_ms=now_ms + CLAIM_MS)
        ).rowcount
    ]


def _is_held(claim: Claim) -> sa.ColumnElement[bool]:
    fenced = (query.c.holder == claim.holder) & (query.c.token == claim.token)
    return (query.c.id == claim.query_id) & fenced


def lock(tx: sa.Connection, which: sa.ColumnElement[bool]) -> Sequence[int]:
    """Lock the queries ``which`` against polls; return their ids."""
    rows = sa.select(query.c.id).where(which).order_by(query.c.id).with_for_update()
    return tx.execute(rows).scalars().all()


def close_circuits(
    tx: sa.Connection, now_ms: int, targets: Sequence[str] | None, before_ms: int | None = None
) -> Sequence[int]:
    """Close open circuits, of ``targets`` or of all; return the ids of their queries.

    These are due now, unless the provider asked for quiet.

    Only of those whose last poll began before ``before_ms``, if given. One failure stays on record,
    so that the recovery is noticed.
    """
    chosen: sa.ColumnElement[bool] = sa.true() if targets is None else query.c.target.in_(targets)
    if before_ms is not None:
        chosen &= query.c.last_attempt_ms < before_ms
    throttled = sa.select(query.c.target).where(
        query.c.last_reason == Reason.THROTTLED,
        query.c.state == "active",
        query.c.next_poll_ms > now_ms,
    )
    quiet = query.c.target.in_(throttled.scalar_subquery())  # the provider asked for it
    due_ms = sa.case((quiet, query.c.next_poll_ms), else_=now_ms)
    closed = (
        sa.update(query)
        .where(query.c.circuit == "open", chosen)
        .values(circuit="closed", fail_streak=1, next_poll_ms=due_ms)
        .returning(query.c.id)
    )
    return tx.execute(closed).scalars().all()


def take_over(tx: sa.Connection) -> None:
    """End every claim: whoever holds the ledger's lock knows that all other holders are gone."""
    tx.execute(sa.update(query).values(ENDED))


def rewrite(tx: sa.Connection) -> None:
    """Rewrite one row unchanged, which fails if the ledger takes no writes."""
    first = sa.select(sa.func.min(query.c.id)).scalar_subquery()
    tx.execute(sa.update(query).where(query.c.id == first).values(state=query.c.state))


def release(tx: sa.Connection, holder: str) -> None:
    """End the claims of ``holder``."""
    tx.execute(sa.update(query).where(query.c.holder == holder).values(ENDED))


def shorten(tx: sa.Connection, now_ms: int) -> None:
    """Let claims that were made while the clock was ahead last no longer than one made now."""
    latest_ms = now_ms + CLAIM_MS
    late = query.c.claim_expires_ms > latest_ms
    tx.execute(sa.update(query).where(late).values(claim_expires_ms=latest_ms))


def postpone(tx: sa.Connection, target: str, until_ms: int) -> None:
    """Make no query of ``target`` due before ``until_ms``, nor a slice of its past."""
    of_target = query.c.target == target
    sooner = of_target & (query.c.next_poll_ms < until_ms)
    tx.execute(sa.update(query).where(sooner).values(next_poll_ms=until_ms))
    past = slices.c.query_id.in_(sa.select(query.c.id).where(of_target))
    tx.execute(sa.update(slices).where(past, slices.c.next_ms < until_ms).values(next_ms=until_ms))


def fail(tx: sa.Connection, claim: Claim, retry: Retry, reason: str, error: str) -> None:
    """Record a failed poll and when to retry; end the claim."""
    end(
        tx,
        claim,
        fail_streak=query.c.fail_streak + 1,
        last_reason=reason,
        last_error=error,
        next_poll_ms=retry.next_poll_ms,
        backoff_ms=retry.backoff_ms,
        circuit=retry.circuit,
    )


def succeed(tx: sa.Connection, claim: Claim, now_ms: int, *, next_poll_ms: int) -> None:
    """Record a successful poll and when the next one is due; end the claim, already checked."""
    set_query(
        tx,
        claim.query_id,
        last_success_ms=now_ms,
        last_reason=None,
        last_error=None,
        fail_streak=0,
        backoff_ms=0,
        circuit="closed",
        next_poll_ms=next_poll_ms,
        **ENDED,
    )


def end(tx: sa.Connection, claim: Claim, **columns: Any) -> None:
    """End the claim, and set other columns of its query."""
    check(tx, claim)
    set_query(tx, claim.query_id, **ENDED, **columns)
