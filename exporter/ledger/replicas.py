"""Several replicas on one PostgreSQL: which one changed what, and whose settings are in force.

A transaction that changes what a query shows marks it with its replica and a number that the
replica raises each time. The newest numbers of all replicas are the ledger's version. Queries
marked since the version of a page must be read again for the next one.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from exporter.ledger.sketches import KEY_BYTES
from exporter.ledger.tables import installation, query, replica, upsert
from exporter.model.query import QueryKey
from exporter.model.samples import DAY_MS

Version = Mapping[str, int]
"""The newest number of each replica."""
Mark = tuple[str, int]
"""The replica that changed a query last, and the number of that change."""

KEPT_MS = 7 * DAY_MS
ALIVE_MS = 60_000
"""A replica not seen for this long has ended; a live one updates its row every 10 s."""
SHOWING_MS = 30_000
"""A replica not seen for this long has lately shown nothing that others have not read."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes since a version, and the version now.

    ``server`` is the server run that answered. ``went_back``: the ledger lacks commits of that
    version, such as after a failover to a server that had not received them. ``alive`` are other
    replicas seen lately; ``unconfirmed`` are those that have not yet confirmed that the ledger on
    this server has at least what they have shown.
    """

    version: Version
    marks: Mapping[QueryKey, Mark]
    server: int = 0
    went_back: bool = False
    alive: frozenset[str] = frozenset()
    unconfirmed: frozenset[str] = frozenset()


def mark(
    tx: sa.Connection, mine: Mark, ids: Iterable[int] | sa.Select[tuple[int]], now_ms: int
) -> None:
    """Mark the queries ``ids`` as changed by this replica."""
    holder, number = mine
    changed = sa.update(query).where(query.c.id.in_(ids))
    tx.execute(changed.values(changed_by=holder, changed=number))
    own = sa.update(replica).where(replica.c.holder == holder)
    tx.execute(own.values(version=number, seen_ms=now_ms))


def read_changes(
    tx: sa.Connection, since: Version, holder: str, servers: tuple[int, int], now_ms: int
) -> Changes:
    """Return which queries have changed since the version ``since``.

    ``servers`` are the run that ``holder`` has confirmed and the one that answers. A single
    statement reads versions and marks. Between two statements a replica whose version was already
    read could mark a query again, and neither of its changes would be seen.
    """
    known = sa.case(dict(since), value=replica.c.holder, else_=0) if since else sa.literal(0)
    newer = (query.c.changed_by == replica.c.holder) & (query.c.changed > known)
    marked = query.c.target, query.c.name, query.c.changed_by, query.c.changed
    found = tx.execute(sa.select(*replica.c, *marked).select_from(replica).outerjoin(query, newer))
    rows: dict[str, Any] = {}
    marks: dict[QueryKey, Mark] = {}
    for row in found:
        rows[row.holder] = row
        if row.name is not None:
            marks[row.target, row.name] = row.changed_by, row.changed
    confirmed, server = servers
    others = {name: row for name, row in rows.items() if name != holder and row.seen_ms > 0}
    return Changes(
        version={name: row.version for name, row in rows.items()},
        marks=marks,
        server=server,
        went_back=any(_lacks(rows.get(name), n, confirmed, server) for name, n in since.items()),
        alive=frozenset(n for n, row in others.items() if row.seen_ms > now_ms - SHOWING_MS),
        unconfirmed=frozenset(name for name, row in others.items() if row.server != server),
    )


def _lacks(row: Any, number: int, confirmed: int, server: int) -> bool:
    """Return whether the ledger lacks the commit ``number`` of the replica with this row.

    On a new server the replica may have numbered new commits after the lost ones, so ``kept`` is
    the last one that the server received. A row missing on the same server was pruned.
    """
    if row is None:
        return confirmed != server
    moved = confirmed != server and row.server == server
    return bool((row.kept if moved else row.version) < number)


def prune(tx: sa.Connection, now_ms: int) -> None:
    """Delete replicas that ended long ago."""
    tx.execute(sa.delete(replica).where(replica.c.seen_ms <= now_ms - KEPT_MS))


def register(tx: sa.Connection, holder: str, now_ms: int, server: int = 0) -> None:
    """Insert ``holder`` if it is new: its settings are unknown, and it has shown nothing yet."""
    upsert(tx, replica, [(holder, 0, b"", 0, now_ms, server, 0)])


def confirm(tx: sa.Connection, holder: str, server: int, kept: int, now_ms: int) -> None:
    """Record that ``server`` has all that ``holder`` has shown, and its commits up to ``kept``."""
    register(tx, holder, now_ms)
    own = sa.update(replica).where(replica.c.holder == holder)
    tx.execute(own.values(server=server, kept=kept, seen_ms=now_ms))


def beat(tx: sa.Connection, holder: str, now_ms: int) -> None:
    """Record that ``holder`` is alive at ``now_ms``; 0: it has ended."""
    own = sa.update(replica).where(replica.c.holder == holder)
    tx.execute(own.values(seen_ms=now_ms))


def choose_generation(
    tx: sa.Connection, holder: str, settings: bytes, now_ms: int
) -> tuple[int, bool]:
    """Return the generation of ``settings``, and whether they are in force.

    Settings that no replica has used before are the newest. Superseded settings are not in force
    while a replica with the newest ones is alive, so a replica that restarts during a rollout does
    not undo it. Once no such replica is left, they become the newest again.
    """
    rows = tx.execute(sa.select(replica)).all()
    newest = max((row.generation for row in rows), default=0)
    mine = max((row.generation for row in rows if row.settings == settings), default=None)
    alive = any(
        row.generation == newest and row.holder != holder and row.seen_ms > now_ms - ALIVE_MS
        for row in rows
    )
    in_force = mine in {None, newest} or not alive
    generation = mine if mine is not None and (mine == newest or alive) else newest + 1
    return generation, in_force


def knows_generation(tx: sa.Connection, settings: bytes, generation: int) -> bool:
    """Return whether a replica already uses ``settings`` at this ``generation``."""
    same = (replica.c.settings == settings) & (replica.c.generation == generation)
    return tx.execute(sa.select(replica.c.holder).where(same).limit(1)).first() is not None


def note_generation(
    tx: sa.Connection, holder: str, settings: bytes, generation: int, now_ms: int
) -> None:
    """Record which settings ``holder`` uses."""
    own = sa.update(replica).where(replica.c.holder == holder)
    tx.execute(own.values(settings=settings, generation=generation, seen_ms=now_ms))


def living(tx: sa.Connection, now_ms: int) -> bool:
    """Return whether any replica runs, or may still run: seen within a minute, not ended."""
    alive = sa.select(replica.c.holder).where(replica.c.seen_ms > now_ms - ALIVE_MS)
    return tx.execute(alive.limit(1)).first() is not None


def superseded(tx: sa.Connection, keys: Iterable[QueryKey], generation: int) -> list[QueryKey]:
    """Return the ``keys`` that settings newer than ``generation`` have changed or removed."""
    newer = sa.select(query.c.target, query.c.name).where(query.c.generation > generation)
    return sorted({(row[0], row[1]) for row in tx.execute(newer)} & set(keys))


def shared_key(tx: sa.Connection) -> bytes:
    """Return the key of the installation; create it if there is none."""
    upsert(tx, installation, [(1, secrets.token_bytes(KEY_BYTES))])
    return bytes(tx.execute(sa.select(installation.c.key)).scalar_one())
