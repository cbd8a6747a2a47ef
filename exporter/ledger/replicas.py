"""Several replicas on one PostgreSQL: which one changed what, and whose settings are in force.

A transaction that changes what a query shows marks it with its replica and a number that the
replica raises each time. The newest numbers of all replicas are the ledger's version. Queries
marked since the version of a page must be read again for the next one.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from exporter.clock import Clock
from exporter.ledger import claims, counters, engine, settings
from exporter.ledger.budget import Spent
from exporter.ledger.rows import Shown
from exporter.ledger.sketches import KEY_BYTES
from exporter.ledger.tables import installation, query, replica, upsert
from exporter.ledger.transactions import UNCONFIRMED, Transactions, repeated
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import DAY_MS, Family, SelfCount

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


@dataclass(frozen=True, slots=True)
class Standing:
    """The settings of a replica, their generation, and whether they are in force.

    ``renames`` maps former target names to new ones. ``known``: another replica already uses the
    settings. ``server`` is the server run that answered.
    """

    specs: Mapping[QueryKey, QuerySpec]
    families: Mapping[str, Family]
    renames: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0
    in_force: bool = True
    known: bool = False
    server: int | None = None


class Replica:
    """This process among the replicas of a ledger; it claims queries only while ``claiming``.

    ``sync`` is the ledger's ``sync_queries``. If the ledger is not ``shared``, ``mark`` and
    ``leave`` do nothing, and all settings are in force. ``resync`` and ``superseded`` take several
    transactions and may be called again after a failure.
    """

    def __init__(
        self,
        holder: str,
        transactions: Transactions,
        clock: Clock,
        spent: Spent,
        sync: Callable[..., None],
        *,
        shared: bool,
    ) -> None:
        self._holder = holder
        self._transactions = transactions
        self._clock = clock
        self._spent = spent
        self._sync = sync
        self._version = 0
        self.shared = shared
        self.claiming = True
        self.standing = Standing({}, {})

    @property
    def server(self) -> int:
        """Return the confirmed server run; claims made on another one are lost."""
        return self._transactions.server or UNCONFIRMED

    def enter(self, tx: sa.Connection, own: Standing, *, again: bool) -> Standing:
        """Record the settings of this replica, and return how they stand.

        Call ``adopt`` once that is committed. ``again``: the ledger has lost commits, so that
        other replicas must read everything even if they know these settings.
        """
        if not self.shared:
            return own
        server, digest = engine.server_of(tx), settings.digest([*own.specs.values()])
        tx.exec_driver_sql("LOCK TABLE query IN EXCLUSIVE MODE")
        self._register(tx, server if self._transactions.server is None else 0)
        now_ms = self._clock.now_ms()
        generation, in_force = _choose_generation(tx, self._holder, digest, now_ms)
        same = (replica.c.settings == digest) & (replica.c.generation == generation)
        known = tx.execute(sa.select(replica.c.holder).where(same).limit(1)).first() is not None
        self._note(tx, settings=digest, generation=generation)
        return replace(
            own, generation=generation, in_force=in_force, known=known and not again, server=server
        )

    def adopt(self, standing: Standing) -> None:
        """Take the ``standing`` that ``enter`` returned."""
        self.standing = standing
        if self._transactions.server is None:
            self._transactions.server = standing.server

    def _register(self, tx: sa.Connection, server: int = 0) -> None:
        """Insert this replica if it is new: its settings are unknown; it has shown nothing yet."""
        upsert(tx, replica, [(self._holder, 0, b"", 0, self._clock.now_ms(), server, 0)])

    def _note(self, tx: sa.Connection, **columns: Any) -> None:
        """Write to the row of this replica, which is alive unless ``columns`` say otherwise."""
        own = sa.update(replica).where(replica.c.holder == self._holder)
        tx.execute(own.values({"seen_ms": self._clock.now_ms()} | columns))

    def mark(self, tx: sa.Connection, ids: Iterable[int] | sa.Select[tuple[int]]) -> None:
        """Mark the queries ``ids`` as changed, so that other replicas read them again."""
        if self.shared:
            self._version += 1
            changed = sa.update(query).where(query.c.id.in_(ids))
            tx.execute(changed.values(changed_by=self._holder, changed=self._version))
            self._note(tx, version=self._version)

    def leave(self, tx: sa.Connection) -> None:
        """Record that this replica has ended.

        On an unconfirmed server, others keep waiting for it: it may have shown more.
        """
        if self.shared and engine.server_of(tx) == self.server:
            self._note(tx, seen_ms=0)

    def changes(self, since: Version) -> Changes:
        """Return which queries have changed since the version ``since``.

        If the ledger may lack commits, all other reads and writes fail until ``confirm``.
        """
        with self._transactions.begin(anywhere=True) as tx:
            now_ms, servers = self._clock.now_ms(), (self.server, engine.server_of(tx))
            found = _read_changes(tx, since, self._holder, servers, now_ms)
        if found.went_back or found.server != self.server:
            self._transactions.server = UNCONFIRMED
        return found

    def resync(self, counted: Mapping[SelfCount, float]) -> None:
        """Bring a ledger that lost commits in line with the settings and self counters."""
        self._raise_self_counts(counted)
        own = self.standing
        self._sync([*own.specs.values()], own.renames, anywhere=True)

    @repeated
    def _raise_self_counts(self, counted: Mapping[SelfCount, float]) -> None:
        with self._transactions.begin(anywhere=True) as tx:
            counters.raise_self_counts(tx, counted)

    @repeated
    def raise_counters(self, key: QueryKey, shown: Sequence[Shown]) -> None:
        """Raise the counters of a query to what was ``shown``; the difference is overhang."""
        spec, families = self.standing.specs.get(key), self.standing.families
        with self._transactions.begin(anywhere=True) as tx:
            ids = claims.lock(tx, sa.tuple_(query.c.target, query.c.name).in_([key]))
            if spec is not None and ids:
                counters.raise_to(tx, spec, families, shown, self._clock.now_ms())
                self.mark(tx, ids)

    @repeated
    def confirm(self, server: int, version: Version) -> None:
        """Confirm that ``server`` has all that was shown; it kept commits up to ``version``.

        Ends this replica's claims there and records the calls that it spent. Claiming stops until
        ``resume_claims``: other replicas may still be polling under claims made elsewhere.
        """
        with self._transactions.begin(anywhere=True) as tx:
            self._transactions.expect(tx, server)
            claims.release(tx, self._holder)
            self._spent.record(tx)
            self._register(tx)
            self._note(tx, server=server, kept=version.get(self._holder, 0))
            self.claiming = False
        self._transactions.server = server

    def resume_claims(self) -> None:
        """Allow claims again: no other replica is polling anything unknown to the ledger."""
        self.claiming = True

    def superseded(self) -> list[QueryKey]:
        """Record that this replica is alive; return its queries that newer settings supersede.

        Its own settings apply again once replicas with newer ones are gone or have adopted these.
        """
        own, specs = self.standing, [*self.standing.specs.values()]
        left = sa.select(query.c.target, query.c.name).where(query.c.generation <= own.generation)
        with self._transactions.begin() as tx:
            self._note(tx)
            found = sorted(own.specs.keys() - {(row[0], row[1]) for row in tx.execute(left)})
            if not found and own.in_force:
                return []
            given = self._holder, settings.digest(specs), self._clock.now_ms()
            _, in_force = _choose_generation(tx, *given)
        if not in_force:
            return found
        self._sync(specs, own.renames)
        return []


def _read_changes(
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


def _choose_generation(
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


def shorten(tx: sa.Connection, now_ms: int) -> None:
    """Let replicas seen while the clock was ahead seem alive no longer than one seen now."""
    ahead = replica.c.seen_ms > now_ms
    tx.execute(sa.update(replica).where(ahead).values(seen_ms=now_ms))


def any_alive(tx: sa.Connection, now_ms: int) -> bool:
    """Return whether any replica runs, or may still run: seen within a minute, not ended."""
    alive = sa.select(replica.c.holder).where(replica.c.seen_ms > now_ms - ALIVE_MS)
    return tx.execute(alive.limit(1)).first() is not None


def shared_key(tx: sa.Connection) -> bytes:
    """Return the key of the installation; create it if there is none."""
    upsert(tx, installation, [(1, secrets.token_bytes(KEY_BYTES))])
    return bytes(tx.execute(sa.select(installation.c.key)).scalar_one())
