"""The ledger as its callers see it: what one method writes is committed together."""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import ParamSpec, TypeVar

import msgspec
import sqlalchemy as sa
import stamina
import structlog

from exporter.clock import MILLISECONDS, Clock
from exporter.errors import BudgetSpent, ClaimLost, LedgerConflict, LedgerError
from exporter.ledger import budget as budgets
from exporter.ledger import (
    claims,
    clock_steps,
    counters,
    engine,
    maintenance,
    replicas,
    settings,
    sketches,
    slices,
)
from exporter.ledger.apply import apply_reading
from exporter.ledger.counters import add_self_counts
from exporter.ledger.hours import SettledHours, read_hours
from exporter.ledger.replicas import Changes, Version
from exporter.ledger.rows import Applied, ApplyInput, Claim, LastReading, Retry, Shown, View
from exporter.ledger.tables import GROWING, query, self_counter, series
from exporter.ledger.transactions import UNCONFIRMED, Transactions
from exporter.ledger.view import read_views
from exporter.ledger.writes import WriteHealth
from exporter.model.query import Budget, QueryKey, QuerySpec
from exporter.model.samples import HOUR_MS, Family, Reading, SelfCount

BATCHES_PER_COMPACTION = 20
TIGHT_SHARE = 0.8
TRIES = 6

NO_COUNTS: Mapping[SelfCount, float] = MappingProxyType({})

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def _repeated(transaction: Callable[P, T]) -> Callable[P, T]:
    """Repeat a transaction that another replica's was in the way of; the vendor is not asked."""
    return stamina.retry(
        on=LedgerConflict, attempts=TRIES, wait_initial=0.02, wait_jitter=0.1, timeout=None
    )(transaction)


class Ledger:
    """Counts, schedule and claims; a method blocks as long as its transaction lasts.

    ``resync`` and ``superseded`` take several, and may be called again after a failure.
    ``writes`` follows each transaction. ``max_bytes`` is how large its file may grow; near that,
    less of the past is kept. Raises ``LedgerError`` (``ClaimLost``).
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        families: Mapping[str, Family],
        allow_network_fs: bool = False,
        key_file: Path | None = None,
        writes: WriteHealth | None = None,
    ) -> None:
        self._clock = clock
        self._families = dict(families)
        self._holder = uuid.uuid4().hex
        self._specs: dict[QueryKey, QuerySpec] = {}
        self._version = 0
        self._claiming = True
        self._generation = 0
        self._in_force = True
        self._key: bytes | None = None
        self._last: dict[QueryKey, LastReading] = {}
        self._begun: dict[QueryKey, int] = {}
        self._spent_s: dict[str, float] = {}
        self._tight = False
        self.max_bytes: int | None = None
        self._opened = engine.open_engine(url, clock, allow_network_fs=allow_network_fs)
        self._transactions = Transactions(self._opened, clock, writes)
        self._key_file = key_file or self._opened.key_file

    @property
    def shared(self) -> bool:
        """Say whether other replicas may use the ledger, too."""
        return self._opened.shared

    def ensure_sound(self) -> None:
        """Wait for the check of the whole file; raise ``LedgerError`` if it is damaged."""
        if self._opened.check is not None:
            self._opened.check.result()

    def hurry(self) -> None:
        """Let calls fail soon that wait for a silent server, also the one that waits now.

        For the time of a stop; may be called from any thread.
        """
        self._opened.hurried.set()

    def close(self) -> None:
        """Release claims and the file; claims that cannot be released expire.

        Others go on waiting for a replica that may have shown more than this server has.
        """
        try:
            with self._transactions.begin(anywhere=True) as tx:
                claims.release(tx, self._holder)
                if self.shared and engine.server_of(tx) == self.server:
                    replicas.beat(tx, self._holder, 0)
        except LedgerError as error:
            log.warning("claims not released", error=str(error))
        if self._opened.check is not None:
            wait([self._opened.check])  # nothing touches the file any more when the lock is gone
        self._opened.close()

    @_repeated
    def sync_queries(
        self,
        specs: Sequence[QuerySpec],
        renames: Mapping[str, str] | None = None,
        *,
        families: Mapping[str, Family] | None = None,
        anywhere: bool = False,
    ) -> None:
        """Make ``specs`` the active queries; ``renames`` are targets by their former names.

        ``families`` are those that the settings define; the ledger knows them once this succeeds.
        """
        first, known = self._transactions.server is None, {**self._families, **(families or {})}
        with self._transactions.begin(anywhere=anywhere) as tx:
            now_ms, server = self._clock.now_ms(), engine.server_of(tx)
            if any(spec.stream for spec in specs):
                self._take_key(tx)
            if self.shared:
                tx.exec_driver_sql("LOCK TABLE query IN EXCLUSIVE MODE")
                replicas.register(tx, self._holder, now_ms, server if first else 0)
                digest = settings.digest(specs)
                generation, in_force = replicas.choose_generation(tx, self._holder, digest, now_ms)
                unchanged = not anywhere and replicas.knows_generation(tx, digest, generation)
                replicas.note_generation(tx, self._holder, digest, generation, now_ms)
            else:
                generation, in_force, unchanged = 0, True, False
            if in_force:
                self._sync(tx, specs, renames or {}, known, generation, unchanged=unchanged)
            if self._opened.lock is not None and not self._specs:
                claims.take_over(tx)
        if first:
            self._transactions.server = server
        self._generation, self._in_force, self._families = generation, in_force, known
        self._specs = {spec.key: spec for spec in specs}
        self._begun = {key: token for key, token in self._begun.items() if key in self._specs}
        self._last = {key: last for key, last in self._last.items() if key in self._specs}

    def _sync(
        self,
        tx: sa.Connection,
        specs: Sequence[QuerySpec],
        renames: Mapping[str, str],
        families: Mapping[str, Family],
        generation: int,
        *,
        unchanged: bool,
    ) -> None:
        now_ms = self._clock.now_ms()
        for old, new in renames.items():
            settings.rename(tx, old, new, self._holder)
        settings.sync_queries(tx, specs, now_ms, holder=self._holder, generation=generation)
        settings.delete_redefined(tx, families)
        for spec in specs:
            counters.create_known_series(tx, spec, families, now_ms)
        slices.begin_missing(tx, specs, now_ms)
        if not unchanged:  # else all others would read everything again at each start
            self._mark(tx, sa.select(query.c.id))
        slices.shorten(tx, specs, now_ms)  # after the queries, which polls lock first, too

    def _take_key(self, tx: sa.Connection) -> None:
        if self._key_file is not None:
            self._key = sketches.installation_key(self._key_file)
        elif self.shared:
            self._key = replicas.shared_key(tx)
        else:
            log.warning(
                "distinct users and conversations of events are not counted",
                error="rolling user counts need a key, and this ledger is in memory",
            )

    def _mark(self, tx: sa.Connection, ids: Iterable[int] | sa.Select[tuple[int]]) -> None:
        """Have other replicas read these queries again, if there may be any replica."""
        if self.shared:
            self._version += 1
            replicas.mark(tx, (self._holder, self._version), ids, self._clock.now_ms())

    def changes(self, since: Version) -> Changes:
        """Return what queries of a shared ledger have changed since the version ``since``.

        From when the ledger may lack commits until ``confirm`` nothing else is read or written.
        """
        with self._transactions.begin(anywhere=True) as tx:
            now_ms, servers = self._clock.now_ms(), (self.server, engine.server_of(tx))
            found = replicas.read_changes(tx, since, self._holder, servers, now_ms)
        if found.went_back or found.server != self.server:
            self._transactions.server = UNCONFIRMED
        return found

    @property
    def server(self) -> int:
        """Return the run of the server that was confirmed; claims of another one are lost."""
        return self._transactions.server or UNCONFIRMED

    def resync(self, counted: Mapping[SelfCount, float]) -> None:
        """Bring a ledger that has become an older state in line with settings and self counters."""
        self._last = {}
        self._raise_self_counts(counted)
        self.sync_queries(list(self._specs.values()), anywhere=True)

    @_repeated
    def _raise_self_counts(self, counted: Mapping[SelfCount, float]) -> None:
        with self._transactions.begin(anywhere=True) as tx:
            counters.raise_self_counts(tx, counted)

    @_repeated
    def confirm(self, server: int, version: Version) -> None:
        """Say that the ledger on ``server`` has what was shown; it had commits up to ``version``.

        Claims of this replica have ended there, and calls that it spent are spent there. Nothing is
        claimed before ``resume_claims``: others may still be at what they had claimed elsewhere.
        """
        with self._transactions.begin(anywhere=True) as tx:
            self._transactions.expect(tx, server)
            kept, now_ms = version.get(self._holder, 0), self._clock.now_ms()
            claims.release(tx, self._holder)
            for name, spent_s in self._spent_s.items():
                ago_ms = round((self._clock.monotonic() - spent_s) * MILLISECONDS)
                budgets.note_spent(tx, name, now_ms - ago_ms)
            replicas.confirm(tx, self._holder, server, kept, now_ms)
            self._claiming = False
        self._transactions.server = server

    def resume_claims(self) -> None:
        """Claim again: no other replica has anything under way that the ledger does not know."""
        self._claiming = True

    @_repeated
    def raise_counters(self, key: QueryKey, shown: Sequence[Shown]) -> None:
        """Raise the counters of a query to what was ``shown``; the rest is overhang."""
        spec = self._specs.get(key)
        with self._transactions.begin(anywhere=True) as tx:
            ids = claims.lock(tx, sa.tuple_(query.c.target, query.c.name).in_([key]))
            if spec is not None and ids:
                now_ms = self._clock.now_ms()
                counters.raise_to(tx, spec, self._families, shown, now_ms)
                self._mark(tx, ids)

    def superseded(self) -> list[QueryKey]:
        """Say that this replica lives; return its queries that others have newer settings of.

        Its own are in force again when replicas with newer ones are gone, or have taken them over.
        """
        specs = list(self._specs.values())
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            replicas.beat(tx, self._holder, now_ms)
            found = replicas.superseded(tx, self._specs, self._generation)
            if not found and self._in_force:
                return []
            digest = settings.digest(specs)
            _, in_force = replicas.choose_generation(tx, self._holder, digest, now_ms)
        if not in_force:
            return found
        self.sync_queries(specs)
        return []

    @_repeated
    def close_circuits(self, targets: Sequence[str] | None = None) -> None:
        """Try queries again that had been given up on: settings or the targets' keys are new."""
        with self._transactions.begin() as tx:
            ids = claims.close_circuits(tx, self._clock.now_ms(), targets)
            self._mark(tx, ids)

    @_repeated
    def correct_clock(self) -> bool:
        """Correct what a clock that was ahead has written; say whether there was anything.

        Polls under way lose their claims: they began at an instant that has not come yet.
        """
        now_ms = self._clock.now_ms()
        with self._transactions.begin() as tx:
            ahead = clock_steps.queries_ahead(tx, now_ms)
            for query_id in ahead:
                clock_steps.correct(tx, query_id, now_ms)
            claims.release(tx, self._holder)
            self._mark(tx, ahead)
        return bool(ahead)

    def try_write(self) -> None:
        """Find out whether the ledger takes writes, also when nothing is due."""
        with self._transactions.begin() as tx:
            claims.rewrite(tx)

    @_repeated
    def claim(self) -> Claim | None:
        """Claim the query that is due longest; None when nothing is due."""
        if not self._claiming:
            return None
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            claim = claims.claim_due(tx, self._holder, now_ms, self._generation)
            spec = self._specs.get(claim.key) if claim else None
            if claim is None or spec is None or spec.budget is None:
                return claim
            # Its next call reads as much of the past as is due, since there is no other.
            return replace(claim, past=slices.due_of(tx, claim.query_id, spec, now_ms))

    def next_due_ms(self, yielding: Collection[str] = ()) -> int | None:
        """Return when the next query that can be claimed is due; None while there is none.

        Targets in ``yielding`` can be claimed although they are polled.
        """
        if not self._claiming:
            return None
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            return claims.next_due_ms(tx, self._holder, now_ms, self._generation, yielding)

    @_repeated
    def claim_slice(self, *, ahead: bool = False) -> Claim | None:
        """Claim a slice of the past of a query whose target has nothing better to do.

        ``ahead``: one that has waited too long for that.
        """
        if not self._claiming:
            return None
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            given = (tx, self._holder, self._specs, now_ms, self._generation)
            return slices.claim(*given, ahead=ahead)

    def starved(self) -> bool:
        """Say whether a slice has waited too long for its target to have nothing better to do."""
        if not self._claiming:
            return False
        with self._transactions.begin() as tx:
            return slices.starved(tx, self._clock.now_ms())

    def due_targets(self, targets: Collection[str]) -> set[str]:
        """Return which of ``targets`` have a query that is due."""
        with self._transactions.begin() as tx:
            return claims.due_targets(tx, targets, self._clock.now_ms())

    @_repeated
    def give_way(self, claim: Claim) -> None:
        """End a slice that is not read yet, and read less at once the next time."""
        spec = self._spec_of(claim)
        with self._transactions.begin() as tx:
            slices.give_way(tx, claim, spec, self._clock.now_ms())

    @_repeated
    def end_slice(self, claim: Claim) -> None:
        """End the claim of a slice that was applied."""
        with self._transactions.begin() as tx:
            claims.end(tx, claim)

    @_repeated
    def end_past(self, claim: Claim) -> None:
        """End the history or audit of ``claim`` where it is: the API reaches no further back."""
        spec = self._spec_of(claim)
        with self._transactions.begin() as tx:
            claims.end(tx, claim)
            slices.finish(tx, claim.query_id, spec, self._clock.now_ms())
            self._mark(tx, [claim.query_id])

    @_repeated
    def fail_slice(self, claim: Claim, retry: Retry) -> None:
        """Record a slice that could not be read, and what follows; its query's circuit stays."""
        with self._transactions.begin() as tx:
            slices.fail(tx, claim, retry)
            if retry.quiet_until_ms is not None:
                claims.postpone(tx, claim.target, retry.quiet_until_ms)

    @_repeated
    def renew(self, held: Sequence[Claim]) -> list[Claim]:
        """Extend the claims of polls that run; return those that are still held."""
        with self._transactions.begin() as tx:
            return claims.renew(tx, held, self._clock.now_ms())

    @_repeated
    def spend(self, claim: Claim, budget: Budget) -> None:
        """Take one call from ``budget``; raises ``BudgetSpent`` when none is left."""
        with self._transactions.begin() as tx:
            claims.check(tx, claim)
            waited = budget.name in self._spent_s
            wait_ms = self._rest_ms(budget) or budgets.take(tx, budget, self._clock, waited=waited)
            self._mark(tx, [claim.query_id])
        if wait_ms:
            raise BudgetSpent("the call budget is spent", wait_ms / MILLISECONDS)
        self._spent_s[budget.name] = self._clock.monotonic()

    def _rest_ms(self, budget: Budget) -> int:
        """Return how long this process has still to wait: a clock set forward refills nothing."""
        spent_s = self._spent_s.get(budget.name)
        if spent_s is None:
            return 0
        passed_ms = round((self._clock.monotonic() - spent_s) * MILLISECONDS)
        return max(0, budget.period_ms + budget.margin_ms - passed_ms)

    def _spec_of(self, claim: Claim) -> QuerySpec:
        spec = self._specs.get(claim.key)
        if spec is None:
            raise ClaimLost(f"{claim.target}/{claim.query}: no longer configured")
        return spec

    @_repeated
    def apply(
        self,
        claim: Claim,
        reading: Reading,
        *,
        started_ms: int,
        of_past: bool = False,
        next_poll_ms: int | None = None,
    ) -> Applied:
        """Count one complete reading, or hold it back when it looks like a collapse.

        ``of_past``: it is of a slice of the past. ``next_poll_ms``: it is the last of its poll, which
        succeeds with it, unless that is held back.
        """
        spec, key = self._spec_of(claim), claim.key
        with self._transactions.begin() as tx:
            row = claims.check(tx, claim)
            given = ApplyInput(
                tx=tx,
                query=row,
                spec=spec,
                reading=reading,
                now_ms=self._clock.now_ms(),
                started_ms=started_ms,
                families=self._families,
                label_rules_changed=row.label_rules != settings.encode_label_rules(spec),
                first=self._begun.get(key) != claim.token,
                key=self._key,
                last_reading=self._last.pop(key, None),
                past=slices.under(tx, claim) if of_past else None,
            )
            applied, last = apply_reading(given)
            if next_poll_ms is not None and (of_past or not applied.held):
                claims.succeed(tx, claim, given.now_ms, next_poll_ms=next_poll_ms)
            self._mark(tx, [claim.query_id])
        self._begun[key] = claim.token
        if last is not None:
            self._last[key] = last
        return replace(applied, counted=self._uncounted(applied.counted))

    def _uncounted(self, counted: Mapping[SelfCount, float]) -> Mapping[SelfCount, float]:
        """Return what the process has to add: nothing where it shows what the ledger has."""
        return {} if self.shared else counted

    @_repeated
    def end_poll(self, claim: Claim, *, next_poll_ms: int) -> None:
        """End a poll without a verdict: its reading is held back, or there was no call for it."""
        with self._transactions.begin() as tx:
            claims.end(tx, claim, next_poll_ms=next_poll_ms)
            self._mark(tx, [claim.query_id])

    @_repeated
    def fail(
        self,
        claim: Claim,
        retry: Retry,
        *,
        reason: str,
        error: str = "",
        budget: Budget | None = None,
        counted: Mapping[SelfCount, float] = NO_COUNTS,
    ) -> Mapping[SelfCount, float]:
        """Record that the poll of ``claim`` failed, and what is counted of that, which it returns.

        Where the provider asked for quiet, all who share ``budget`` keep it, too.
        """
        with self._transactions.begin() as tx:
            claims.fail(tx, claim, retry, reason, error)
            if retry.quiet_until_ms is not None:
                claims.postpone(tx, claim.target, retry.quiet_until_ms)
                if budget is not None:
                    budgets.block(tx, budget, retry.quiet_until_ms)
            add_self_counts(tx, counted.items())
            self._mark(tx, [claim.query_id])
        return self._uncounted(counted)

    @_repeated
    def confirm_zero_scraped(self, numbers: Sequence[int]) -> None:
        """The 0 (or old value) of these series was shown and scraped."""
        if not numbers:
            return
        with self._transactions.begin() as tx:
            feeding = sa.select(series.c.query_id).where(series.c.id.in_(numbers))
            ids = claims.lock(tx, query.c.id.in_(feeding))  # a poll may hold a series anew
            tx.execute(
                sa.update(series)
                .where(series.c.id == sa.bindparam("s_id"))
                .values(held=None, held_since_ms=None),
                [{"s_id": number} for number in numbers],
            )
            self._mark(tx, ids)

    def views(self, keys: Iterable[QueryKey]) -> dict[QueryKey, View]:
        """Return all that queries show now, of those that are configured.

        Newer settings of another replica may have removed some.
        """
        specs = [spec for spec in map(self._specs.get, keys) if spec is not None]
        with self._transactions.begin() as tx:
            return read_views(tx, specs, self._families, self._clock.now_ms())

    def settled_hours(self, key: QueryKey, most: int) -> SettledHours | None:
        """Return at most the newest ``most`` hours of the bots that a query counts.

        None where nothing has settled yet, or the query is configured no more.
        """
        spec = self._specs.get(key)
        if spec is None or spec.granularity_ms != HOUR_MS:
            return None
        with self._transactions.begin() as tx:
            return read_hours(tx, spec, most)

    @_repeated
    def maintain(self) -> tuple[frozenset[QueryKey], Mapping[SelfCount, float]]:
        """Write off and mark dormant by the clock; return queries whose view changed."""
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            written, counted = maintenance.write_off_aged(tx, self._specs, now_ms)
            asleep = maintenance.mark_dormant(tx, now_ms)
            keys = written | asleep
            if keys:
                same = sa.tuple_(query.c.target, query.c.name).in_(sorted(keys))
                self._mark(tx, sa.select(query.c.id).where(same))
        return frozenset(keys) & self._specs.keys(), self._uncounted(counted)

    def compact(self) -> Iterator[None]:
        """Retire old buckets, drop expired gauges and removed targets.

        Yields after each small transaction, so that other calls have their turn.
        """
        tight = self._is_tight()
        for key in list(self._specs):
            for _ in range(BATCHES_PER_COMPACTION if tight else 1):
                more = self._retire(key, tight=tight)
                yield
                if not more:
                    break
        self._prune()
        for _ in range(BATCHES_PER_COMPACTION):
            yield
            if not self._delete_removed():
                break

    @_repeated
    def _retire(self, key: QueryKey, *, tight: bool) -> bool:
        """Retire one batch of a query's buckets; return whether there may be more."""
        spec = self._specs.get(key)
        if spec is None:  # a reload removed it meanwhile
            return False
        with self._transactions.begin() as tx:
            gone = maintenance.retire(tx, spec, self._clock.now_ms(), tight=tight)
        return gone >= maintenance.BATCH_ROWS

    @_repeated
    def _prune(self) -> None:
        with self._transactions.begin() as tx:
            maintenance.prune(tx, self._clock.now_ms())
            replicas.prune(tx, self._clock.now_ms())

    @_repeated
    def _delete_removed(self) -> bool:
        with self._transactions.begin() as tx:
            return maintenance.delete_removed(tx, self._clock.now_ms())

    def _is_tight(self) -> bool:
        """Say whether the ledger nears ``max_bytes``; log when it begins to."""
        with self._transactions.begin() as tx:
            used = engine.used_bytes(tx)
        before, most = self._tight, self.max_bytes
        self._tight = used is not None and most is not None and used >= TIGHT_SHARE * most
        if self._tight and not before:
            log.warning(
                "the ledger nears ledger.max_size: older hours are retired sooner",
                used_bytes=used,
                max_bytes=most,
            )
        return self._tight

    def self_counts(self, targets: Collection[str] | None = None) -> dict[SelfCount, float]:
        """Return the persisted self counters, of all targets or of some."""
        wanted = sa.true() if targets is None else self_counter.c.target.in_(targets)
        with self._transactions.begin() as tx:
            rows = tx.execute(sa.select(self_counter).where(wanted)).all()
        return {
            (row.name, tuple(sorted(msgspec.json.decode(row.labels).items()))): row.v
            for row in rows
        }

    def sizes(self) -> tuple[int | None, int, dict[str, int]]:
        """Return bytes on disk, the schema's number and rows by table (``engine.row_counts``)."""
        with self._transactions.begin() as tx:
            rows = engine.row_counts(tx, GROWING)
            on_disk = sum(file.stat().st_size for file in self._opened.files)
            return on_disk or engine.used_bytes(tx), int(engine.NEWEST), rows
