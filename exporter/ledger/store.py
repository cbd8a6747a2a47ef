"""The ledger's public interface: each method commits everything that it writes at once."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from types import MappingProxyType

import msgspec
import sqlalchemy as sa
import structlog

from exporter.clock import Clock
from exporter.errors import BudgetSpent, ClaimLost, LedgerError
from exporter.ledger import budget as budgets
from exporter.ledger import (
    claims,
    clock_steps,
    counters,
    engine,
    label_rules,
    maintenance,
    replicas,
    settings,
    sketches,
    slices,
)
from exporter.ledger.apply import apply_reading
from exporter.ledger.counters import add_self_counts
from exporter.ledger.hours import SettledHours, read_hours
from exporter.ledger.replicas import Replica, Standing
from exporter.ledger.rows import Applied, ApplyInput, Claim, LastReading, Retry, View
from exporter.ledger.tables import GROWING, query, self_counter, series
from exporter.ledger.transactions import Transactions, repeated
from exporter.ledger.view import read_views
from exporter.ledger.writes import WriteHealth
from exporter.model.query import Budget, QueryKey, QuerySpec
from exporter.model.samples import HOUR_MS, SECOND_MS, Family, Reading, SelfCount

BATCHES_PER_COMPACTION = 20
TIGHT_SHARE = 0.8

NO_COUNTS: Mapping[SelfCount, float] = MappingProxyType({})

log = structlog.get_logger(__name__)


class Ledger:
    """Counts, schedule and claims; a method blocks until its transaction ends.

    ``writes`` is notified of each transaction. As the ledger nears ``max_bytes``, it keeps less of
    the past. Only a shared ledger needs ``replica``. Raises ``LedgerError`` (``ClaimLost``).
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        families: Mapping[str, Family],
        allow_network_fs: bool = False,
        writes: WriteHealth | None = None,
    ) -> None:
        self._clock = clock
        self._families = dict(families)
        self._holder = uuid.uuid4().hex
        self._specs: dict[QueryKey, QuerySpec] = {}
        self._key: bytes | None = None
        self._last: dict[QueryKey, LastReading] = {}
        self._begun: dict[QueryKey, tuple[int, frozenset[str]]] = {}
        self._spent = budgets.Spent(clock)
        self._tight = False
        self.max_bytes: int | None = None
        self._opened = engine.open_engine(url, clock, allow_network_fs=allow_network_fs)
        self._transactions = Transactions(self._opened, clock, writes)
        given = self._holder, self._transactions, clock, self._spent, self.sync_queries
        self.replica = Replica(*given, shared=self.shared)

    @property
    def shared(self) -> bool:
        """Return whether other replicas may use the ledger as well."""
        return self._opened.shared

    def ensure_sound(self) -> None:
        """Wait until the whole file is checked; raise ``LedgerError`` if it is damaged."""
        if self._opened.check is not None:
            self._opened.check.result()

    def hurry(self) -> None:
        """Shorten the wait for a silent server, including a wait already under way.

        Called while the process stops; safe from any thread.
        """
        self._opened.hurried.set()

    def close(self) -> None:
        """Release claims and the file; claims that cannot be released expire."""
        try:
            with self._transactions.begin(anywhere=True) as tx:
                claims.release(tx, self._holder)
                self.replica.leave(tx)
        except LedgerError as error:
            log.warning("claims not released", error=str(error))
        if self._opened.check is not None:
            wait([self._opened.check])  # nothing may touch the file once the lock is released
        self._opened.close()

    @repeated
    def sync_queries(
        self,
        specs: Sequence[QuerySpec],
        renames: Mapping[str, str] | None = None,
        *,
        families: Mapping[str, Family] | None = None,
        anywhere: bool = False,
    ) -> None:
        """Make ``specs`` the active queries; ``renames`` maps former target names to new ones.

        ``families`` are those that the settings define; they take effect only if this succeeds.
        """
        known = {**self._families, **(families or {})}
        own = Standing({spec.key: spec for spec in specs}, known, renames or {})
        with self._transactions.begin(anywhere=anywhere) as tx:
            if any(spec.stream for spec in specs):
                self._take_key(tx)
            standing = self.replica.enter(tx, own, again=anywhere)
            if standing.in_force:
                self._sync(tx, standing)
            if self._opened.lock is not None and not self._specs:
                claims.take_over(tx)
        self.replica.adopt(standing)
        self._specs, self._families = dict(standing.specs), known
        self._begun = {key: each for key, each in self._begun.items() if key in self._specs}
        last = {} if anywhere else self._last  # the ledger may have lost those readings
        self._last = {key: each for key, each in last.items() if key in self._specs}

    def _sync(self, tx: sa.Connection, standing: Standing) -> None:
        now_ms, specs = self._clock.now_ms(), [*standing.specs.values()]
        families, generation = standing.families, standing.generation
        for old, new in standing.renames.items():
            settings.rename(tx, old, new, self._holder, generation)
        settings.sync_queries(
            tx, specs, families, now_ms, holder=self._holder, generation=generation
        )
        settings.delete_redefined(tx, families, holder=self._holder, generation=generation)
        for spec in specs:
            counters.create_known_series(tx, spec, families, now_ms)
        slices.begin_missing(tx, specs, now_ms)
        if not standing.known:  # else every start would make all other replicas read all again
            self.replica.mark(tx, sa.select(query.c.id))
        # After the queries: polls lock in the same order.
        slices.shorten(tx, specs, now_ms)
        if not self._specs:
            slices.wait_anew(tx, now_ms)

    def _take_key(self, tx: sa.Connection) -> None:
        if self._opened.key_file is not None:
            self._key = sketches.installation_key(self._opened.key_file)
        elif self.shared:
            self._key = replicas.shared_key(tx)
        else:
            log.warning(
                "distinct users and conversations of events are not counted",
                error="rolling user counts need a key, and this ledger is in memory",
            )

    @repeated
    def close_circuits(
        self, targets: Sequence[str] | None = None, *, attempted_before_ms: int | None = None
    ) -> None:
        """Close open circuits, of ``targets`` or of all, after settings or keys have changed.

        ``attempted_before_ms``: only those whose last poll began before, under other settings.
        """
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            ids = claims.close_circuits(tx, now_ms, targets, attempted_before_ms)
            self.replica.mark(tx, ids)

    @repeated
    def correct_clock(self) -> bool:
        """Correct timestamps written while the clock was ahead; return whether there were any.

        Polls under way lose their claims, because they started at an instant in the future.
        """
        now_ms = self._clock.now_ms()
        with self._transactions.begin() as tx:
            ahead = clock_steps.queries_ahead(tx, now_ms)
            for query_id in ahead:
                clock_steps.correct(tx, query_id, now_ms)
            claims.release(tx, self._holder)
            claims.shorten(tx, now_ms)
            replicas.shorten(tx, now_ms)
            self.replica.mark(tx, ahead)
        return bool(ahead)

    def try_write(self) -> None:
        """Write once, to learn whether the ledger takes writes even when nothing is due."""
        with self._transactions.begin() as tx:
            claims.rewrite(tx)

    @repeated
    def claim(self) -> Claim | None:
        """Claim the query that has been due longest; None when nothing is due."""
        if not self.replica.claiming:
            return None
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            claim = claims.claim_due(tx, self._holder, now_ms, self.replica.standing.generation)
            spec = self._specs.get(claim.key) if claim else None
            if claim is None or spec is None or spec.budget is None:
                return claim
            # A budgeted query has no call to spare for slices: its poll also reads the past.
            return replace(claim, past=slices.due_of(tx, claim.query_id, spec, now_ms))

    def next_due_ms(self, yielding: Collection[str] = ()) -> int | None:
        """Return when the next claimable query is due; None if there is none.

        Targets in ``yielding`` are claimable although they are being polled.
        """
        if not self.replica.claiming:
            return None
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            return claims.next_due_ms(
                tx, self._holder, now_ms, self.replica.standing.generation, yielding
            )

    @repeated
    def claim_slice(self, *, ahead: bool = False) -> Claim | None:
        """Claim a slice of the past of a query whose target is idle.

        ``ahead``: claim one that has waited too long for an idle target.
        """
        if not self.replica.claiming:
            return None
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            given = (tx, self._holder, self._specs, now_ms, self.replica.standing.generation)
            return slices.claim(*given, ahead=ahead)

    def starved(self) -> bool:
        """Return whether a slice has waited too long for its target to be idle."""
        if not self.replica.claiming:
            return False
        with self._transactions.begin() as tx:
            return slices.starved(tx, self._clock.now_ms())

    def due_targets(self, targets: Collection[str]) -> set[str]:
        """Return the ``targets`` that have a due query."""
        with self._transactions.begin() as tx:
            return claims.due_targets(tx, targets, self._clock.now_ms())

    @repeated
    def give_way(self, claim: Claim) -> None:
        """End the claim of an unread slice, and make the next one smaller."""
        spec = self._spec_of(claim)
        with self._transactions.begin() as tx:
            slices.give_way(tx, claim, spec, self._clock.now_ms())

    @repeated
    def end_slice(self, claim: Claim) -> None:
        """End the claim of a slice that was applied."""
        with self._transactions.begin() as tx:
            claims.end(tx, claim)

    @repeated
    def end_past(self, claim: Claim) -> None:
        """End the history or audit of ``claim`` here: the API reaches no further back."""
        spec = self._spec_of(claim)
        with self._transactions.begin() as tx:
            claims.end(tx, claim)
            slices.finish(tx, claim.query_id, spec, self._clock.now_ms())
            self.replica.mark(tx, [claim.query_id])

    @repeated
    def fail_slice(self, claim: Claim, retry: Retry) -> None:
        """Record a slice that could not be read, and when to retry; the query's circuit stays."""
        with self._transactions.begin() as tx:
            slices.fail(tx, claim, retry)
            if retry.quiet_until_ms is not None:
                claims.postpone(tx, claim.target, retry.quiet_until_ms)

    @repeated
    def renew(self, held: Sequence[Claim]) -> list[Claim]:
        """Extend the claims of running polls; return those that are still held."""
        with self._transactions.begin() as tx:
            return claims.renew(tx, held, self._clock.now_ms())

    @repeated
    def spend(self, claim: Claim, budget: Budget) -> None:
        """Take one call from ``budget``; raise ``BudgetSpent`` if none is left."""
        with self._transactions.begin() as tx:
            claims.check(tx, claim)
            wait_ms = self._spent.take(tx, budget)
            self.replica.mark(tx, [claim.query_id])
        if wait_ms:
            raise BudgetSpent("the call budget is spent", wait_ms / SECOND_MS)
        self._spent.note(budget)

    def _spec_of(self, claim: Claim) -> QuerySpec:
        spec = self._specs.get(claim.key)
        if spec is None:
            raise ClaimLost(f"{claim.target}/{claim.query}: no longer configured")
        return spec

    @repeated
    def apply(
        self,
        claim: Claim,
        reading: Reading,
        *,
        started_ms: int,
        of_past: bool = False,
        next_poll_ms: int | None = None,
    ) -> Applied:
        """Count one complete reading, or hold it back if it looks like a collapse.

        ``of_past``: it belongs to a slice of the past. ``next_poll_ms``: it is the last reading of
        its poll, which then succeeds unless the reading is held back.
        """
        spec, key = self._spec_of(claim), claim.key
        token, kept = self._begun.get(key, (None, frozenset()))
        first = token != claim.token
        kept = reading.kept if first else kept | reading.kept
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
                label_rules_changed=label_rules.changed(row.label_rules, spec, reading.kept),
                first=first,
                kept=kept,
                key=self._key,
                last_reading=self._last.pop(key, None),
                past=slices.under(tx, claim) if of_past else None,
                specs=self._specs,
            )
            applied, last = apply_reading(given)
            if next_poll_ms is not None and (of_past or not applied.held):
                claims.succeed(tx, claim, given.now_ms, next_poll_ms=next_poll_ms)
            self.replica.mark(tx, [claim.query_id])
        self._begun[key] = claim.token, kept
        if last is not None:
            self._last[key] = last
        return replace(applied, counted=self._uncounted(applied.counted))

    def _uncounted(self, counted: Mapping[SelfCount, float]) -> Mapping[SelfCount, float]:
        """Return what the process must add itself: nothing if it shows the ledger's counters."""
        return {} if self.shared else counted

    @repeated
    def end_poll(self, claim: Claim, *, next_poll_ms: int) -> None:
        """End a poll without a verdict: its reading was held back, or no call was left for it."""
        with self._transactions.begin() as tx:
            claims.end(tx, claim, next_poll_ms=next_poll_ms)
            self.replica.mark(tx, [claim.query_id])

    @repeated
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
        """Record that the poll of ``claim`` failed; return what the process must add itself.

        If the provider asked for quiet, everyone who shares ``budget`` keeps quiet, too.
        """
        with self._transactions.begin() as tx:
            claims.fail(tx, claim, retry, reason, error)
            if retry.quiet_until_ms is not None:
                claims.postpone(tx, claim.target, retry.quiet_until_ms)
                if budget is not None:
                    budgets.block(tx, budget, retry.quiet_until_ms)
            add_self_counts(tx, counted.items())
            self.replica.mark(tx, [claim.query_id])
        return self._uncounted(counted)

    @repeated
    def confirm_zero_scraped(self, numbers: Sequence[int]) -> None:
        """Record that the held value (0, or the old one) of these series was scraped."""
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
            self.replica.mark(tx, ids)

    def views(self, keys: Iterable[QueryKey]) -> dict[QueryKey, View]:
        """Return everything that the configured queries among ``keys`` show now.

        Queries that another replica's newer settings removed are left out.
        """
        specs = [spec for spec in map(self._specs.get, keys) if spec is not None]
        with self._transactions.begin(only_reads=True) as tx:
            return read_views(tx, specs, self._families, self._clock.now_ms())

    def settled_hours(self, key: QueryKey, most: int) -> SettledHours | None:
        """Return up to ``most`` of the newest settled hours of the bots that a query counts.

        None if nothing has settled yet, or the query is no longer configured.
        """
        spec = self._specs.get(key)
        if spec is None or spec.granularity_ms != HOUR_MS:
            return None
        with self._transactions.begin(only_reads=True) as tx:
            return read_hours(tx, spec, most)

    @repeated
    def maintain(self) -> tuple[frozenset[QueryKey], Mapping[SelfCount, float]]:
        """Write off old overhang, mark series dormant; return changed queries and self counts."""
        with self._transactions.begin() as tx:
            now_ms = self._clock.now_ms()
            written, counted = maintenance.write_off_aged(tx, self._specs, now_ms)
            asleep = maintenance.mark_dormant(tx, now_ms)
            keys = written | asleep
            if keys:
                same = sa.tuple_(query.c.target, query.c.name).in_(sorted(keys))
                self.replica.mark(tx, sa.select(query.c.id).where(same))
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

    @repeated
    def _retire(self, key: QueryKey, *, tight: bool) -> bool:
        """Retire one batch of a query's buckets; return whether there may be more."""
        spec = self._specs.get(key)
        if spec is None:  # a reload removed it meanwhile
            return False
        with self._transactions.begin() as tx:
            gone = maintenance.retire(tx, spec, self._clock.now_ms(), tight=tight)
        return gone >= maintenance.BATCH_ROWS

    @repeated
    def _prune(self) -> None:
        with self._transactions.begin() as tx:
            maintenance.prune(tx, self._clock.now_ms())
            replicas.prune(tx, self._clock.now_ms())

    @repeated
    def _delete_removed(self) -> bool:
        with self._transactions.begin() as tx:
            return maintenance.delete_removed(tx, self._clock.now_ms())

    def _is_tight(self) -> bool:
        """Return whether the ledger nears ``max_bytes``; log when it starts to."""
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
        """Return the persisted self counters of ``targets``; default: of all."""
        wanted = sa.true() if targets is None else self_counter.c.target.in_(targets)
        with self._transactions.begin() as tx:
            rows = tx.execute(sa.select(self_counter).where(wanted)).all()
        return {
            (row.name, tuple(sorted(msgspec.json.decode(row.labels).items()))): row.v
            for row in rows
        }

    def sizes(self) -> tuple[int | None, int, dict[str, int]]:
        """Return bytes on disk, the schema number and row counts by table (``engine.row_counts``)."""
        with self._transactions.begin() as tx:
            rows = engine.row_counts(tx, GROWING)
            on_disk = sum(file.stat().st_size for file in self._opened.files)
            return on_disk or engine.used_bytes(tx), int(engine.NEWEST), rows
