"""Keeps the page in step with the ledger, after each commit and as time passes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from exporter.clock import Clock
from exporter.errors import Reason
from exporter.exposition.engagement import EngagementGauges
from exporter.exposition.page import MetricsPage
from exporter.exposition.self_metrics import is_up, series_samples, target_samples, zero_counts
from exporter.ledger.offload import Offload
from exporter.ledger.replicas import Mark
from exporter.ledger.rows import LastOutcome, QueryState, View
from exporter.ledger.store import Ledger
from exporter.ledger.writes import WriteHealth
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import Family, SelfCount
from exporter.telemetry.counters import Telemetry

SELF = "~exporter"
ASKS_TO_WAIT = frozenset({Reason.THROTTLED, Reason.SERVER})
READ_AT_ONCE = 20
"""The most queries read in one transaction on PostgreSQL; on SQLite, where it saves nothing, 1."""
CONFIRMED_AT_ONCE = 400
"""The most held series released per tick, because other replicas then read their queries again."""
MAINTAIN_EVERY_S = 60.0
COMPACT_EVERY_S = 600.0
COMPACT_FOR_S = 0.25
"""The longest that one tick compacts: half of the time is left to others."""


SeriesCounts = Counter[tuple[str, str]]
"""Numbers of series and their limits, by metric and family."""


class Publisher:
    """Publishes the series of every query: call ``refresh`` after a commit, ``tick`` regularly.

    With a shared ledger ``reading`` is a thread apart from ``offload``, so that a scrape never
    waits for a poll's transaction. ``self_counts`` are the persisted self counters last shown.

    A reload may remove queries during any ``await``.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        writes: WriteHealth,
        page: MetricsPage,
        clock: Clock,
        telemetry: Telemetry,
        offload: Offload,
        reading: Offload,
        families: Mapping[str, Family],
        engagement: EngagementGauges,
    ) -> None:
        self._ledger = ledger
        self._engagement = engagement
        self._writes = writes
        self._page = page
        self._clock = clock
        self._telemetry = telemetry
        self._offload = offload
        self._reading = reading
        self._families = families
        self._specs: Mapping[QueryKey, QuerySpec] = {}
        self._views: dict[QueryKey, View] = {}
        self._queries: dict[str, list[QueryKey]] = {}
        self._counts_by_target: dict[str, SeriesCounts] = {}
        self._series_counts = SeriesCounts()
        self._unread: set[QueryKey] = set()
        self._up: dict[QueryKey, bool] = {}
        self._uncommitted: dict[QueryKey, LastOutcome] = {}
        self._changed_targets: set[str] = set()
        self.self_counts: dict[SelfCount, float] = {}
        self._maintain_at_s = self._compact_at_s = clock.monotonic()
        self._compaction: Iterator[None] | None = None

    @property
    def queries(self) -> list[QueryKey]:
        """Return the queries that are shown, or will be once the ledger can be read."""
        return list(self._specs)

    @property
    def states(self) -> list[tuple[QueryState, bool]]:
        """Return the state of every query and whether it is up, in no particular order."""
        views, specs = list(self._views.items()), self._specs  # other threads call this as well
        return [
            (view.state, self._is_up(key, view.state, specs[key]))
            for key, view in views
            if key in specs
        ]

    async def restart(self, specs: Mapping[QueryKey, QuerySpec]) -> None:
        """Show exactly the queries of ``specs``, as the ledger has them."""
        removed = self._views.keys() - specs.keys()
        for key in removed:
            del self._views[key]
            self._page.remove(key)
        changed = {key for key, spec in specs.items() if self._specs.get(key) != spec}
        self._uncommitted = {k: v for k, v in self._uncommitted.items() if k in specs}
        gone = self._queries.keys()
        self._specs, self._queries = specs, {}
        self._engagement.restart(specs)
        for key in sorted(specs):
            self._queries.setdefault(key[0], []).append(key)
        for target in gone - self._queries.keys():
            self._page.remove((target, SELF))
            self._series_counts.subtract(self._counts_by_target.pop(target, {}))
        self._page.put(("", SELF), series_samples(self._series_counts))
        for spec in specs.values():
            missing = zero_counts(spec).keys() - self._telemetry.counts.get(spec.target, {}).keys()
            self._telemetry.add(dict.fromkeys(missing, 0.0))
        self._changed_targets |= {key[0] for key in removed}
        self._unread &= specs.keys()
        await self._read(changed | (specs.keys() - self._views.keys()))

    def outdated(self, marks: Mapping[QueryKey, Mark]) -> set[QueryKey]:
        """Return the queries shown with a mark other than in ``marks``, and those not read yet."""
        changed = {
            key
            for key, mark in marks.items()
            if key not in self._views or self._views[key].mark != mark
        }
        return (changed | self._unread) & self._specs.keys()

    async def refresh(self, *keys: QueryKey) -> None:
        """Read the queries ``keys`` again, and others that their change affects; publish them."""
        self._engagement.note(*keys)
        affected = set[QueryKey]()
        for some in self._parts(set(keys)):
            for key, view in (await self._reread(some)).items():
                affected |= (self._on_budget_of(key) | self._held_back_by(view.state)) - {*some}
            self._unread |= affected
        for some in self._parts(affected):
            await self._reread(some)
        self._publish({each[0] for each in affected.union(keys)})

    def _on_budget_of(self, key: QueryKey) -> set[QueryKey]:
        """Return the queries that share the call budget of ``key``, if it has one."""
        budget = self._specs[key].budget
        if budget is None:
            return set()
        return {each for each, spec in self._specs.items() if spec.budget == budget}

    def _held_back_by(self, failed: QueryState) -> set[QueryKey]:
        """Return the queries of the target that may wait because the provider asked for that."""
        if failed.last_reason not in ASKS_TO_WAIT:
            return set()
        return {
            key
            for key, view in self._views.items()
            if key[0] == failed.target and view.state.next_poll_ms < failed.next_poll_ms
        }

    async def expire(self) -> None:
        """Withdraw what has expired; a ledger that takes no writes does not prevent this."""
        self._engagement.tick()
        now_ms = self._clock.now_ms()
        expiring = ((key, view.expires_ms) for key, view in self._views.items())
        expired = {key for key, at_ms in expiring if at_ms is not None and at_ms <= now_ms}
        if expired:
            await self._read(expired)

    async def tick(self) -> None:
        """Release held series; write off and compact whatever is due; read what is unread."""
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic()
        stale = await self._confirm_zeros(now_ms)
        if now_s >= self._maintain_at_s:
            self._maintain_at_s = now_s + MAINTAIN_EVERY_S
            touched, counted = await self._offload(self._ledger.maintain)
            self._telemetry.add(counted)
            stale |= set(touched)
        if self._compaction is None and now_s >= self._compact_at_s:
            self._compact_at_s = now_s + COMPACT_EVERY_S
            self._compaction = self._ledger.compact()
        if self._compaction is not None:
            await self._compact(self._compaction, now_s + COMPACT_FOR_S)
        if stale or self._unread:
            await self._read(stale)

    def ended(self, key: QueryKey) -> None:
        """Record that a poll ended and that the ledger knows its outcome."""
        self._uncommitted.pop(key, None)
        self._changed_targets.add(key[0])

    def not_committed(self, key: QueryKey, before: LastOutcome) -> None:
        """Record that a poll ended without a commit: the ledger still has outcome ``before``."""
        self._uncommitted[key] = before
        self._changed_targets.add(key[0])

    def clock_corrected(self) -> None:
        """Read everything again: times of queries have changed without a poll."""
        self._unread |= self._specs.keys()
        self._engagement.note(*self._specs)

    def blocked(self) -> None:
        """Count a failed poll of every due query: none can start, because the ledger fails."""
        now_ms = self._clock.now_ms()
        for key, view in self._views.items():
            if view.state.next_poll_ms <= now_ms:
                self._telemetry.count(
                    "poll_failures_total",
                    target=key[0],
                    provider=view.state.provider,
                    query=key[1],
                    reason=Reason.LEDGER,
                )
                self._changed_targets.add(key[0])

    def show_liveness(self) -> None:
        """Publish what changes without a commit: whether queries are up, and failed polls."""
        up = {
            key: self._is_up(key, view.state, self._specs[key]) for key, view in self._views.items()
        }
        changed = {key[0] for key, value in up.items() if self._up.get(key) != value}
        self._up = up
        changed |= self._changed_targets
        if changed:
            self._publish(changed)

    def _is_up(self, key: QueryKey, state: QueryState, spec: QuerySpec) -> bool:
        # Any other outcome is that of a later poll, perhaps another replica's.
        taken = not self._writes.failing and self._uncommitted.get(key) != state.last_outcome
        return taken and is_up(state, spec, self._clock.now_ms())

    async def _read(self, keys: set[QueryKey]) -> None:
        """Read and publish ``keys``, and what the ledger's failure left unread before."""
        keys = (self._unread | keys) & self._specs.keys()
        for some in self._parts(keys):
            await self._reread(some)
        self._publish({key[0] for key in keys})

    def _parts(self, keys: set[QueryKey]) -> Iterator[Sequence[QueryKey]]:
        """Mark ``keys`` as unread, and yield them in batches."""
        self._unread |= keys
        waiting, most = sorted(keys), READ_AT_ONCE if self._ledger.shared else 1
        for at in range(0, len(waiting), most):
            yield waiting[at : at + most]

    async def _reread(self, keys: Sequence[QueryKey]) -> dict[QueryKey, View]:
        """Put what the queries show on the page; return the views of those still configured."""
        views = await self._reading(partial(self._ledger.views, keys))
        if self._ledger.shared:
            counts = partial(self._ledger.self_counts, {key[0] for key in keys})
            counted = await self._reading(counts)
            self.self_counts |= counted
            self._telemetry.restore(counted)
        self._unread.difference_update(keys)
        found = {key: views[key] for key in views.keys() & self._specs.keys()}
        for key, view in found.items():
            self._views[key] = replace(view, shown=())  # the page keeps it in less memory
            self._page.put(key, view.shown, (number for number, _ in view.pending))
            self._changed_targets.add(key[0])
        for key in self._views.keys() & (set(keys) - found.keys()):  # not found: release nothing
            self._views[key] = replace(self._views[key], pending=())
        return found

    async def _confirm_zeros(self, now_ms: int) -> set[QueryKey]:
        """Commit that held values were scraped, where the hold is over; return changed queries."""
        scraped = self._page.scraped_zeros()
        ready = {
            number: key
            for key, view in self._views.items()
            for number, due_ms in view.pending
            if due_ms <= now_ms and number in scraped
        }
        some = dict(islice(ready.items(), CONFIRMED_AT_ONCE))
        if some:
            await self._offload(partial(self._ledger.confirm_zero_scraped, list(some)))
        return set(some.values())

    async def _compact(self, compaction: Iterator[None], until_s: float) -> None:
        """Compact until ``until_s``; measure the ledger at the end of the compaction."""
        self._compaction = None
        ended = object()
        while await self._offload(partial(next, compaction, ended)) is not ended:
            if self._clock.monotonic() >= until_s:
                self._compaction = compaction
                return
        size, version, rows = await self._offload(self._ledger.sizes)
        self._telemetry.set("ledger_size_bytes", size or 0)
        self._telemetry.set("ledger_schema_version", version)
        for table, number in rows.items():
            self._telemetry.set("ledger_rows", number, table)

    def _publish(self, targets: set[str]) -> None:
        counted = False
        for target in targets & self._queries.keys():
            read = [key for key in self._queries[target] if key in self._views]
            if not read:
                continue
            self._up |= {
                key: self._is_up(key, self._views[key].state, self._specs[key]) for key in read
            }
            states = [self._views[key].state for key in read]
            counts = self._telemetry.counts.get(target, {})
            samples = target_samples(states, self._specs, counts, self._up)
            self._page.put((target, SELF), samples)
            before, now = self._counts_by_target.get(target, SeriesCounts()), self._count(states)
            if before != now:
                self._counts_by_target[target] = now
                self._series_counts.subtract(before)
                self._series_counts.update(now)
                counted = True
        if counted:
            self._page.put(("", SELF), series_samples(self._series_counts))
        self._changed_targets -= targets
        self._page.publish()

    def _count(self, states: Sequence[QueryState]) -> SeriesCounts:
        """Count the series of one target; a family that several queries feed has its cap once."""
        counts = SeriesCounts()
        for state in states:
            caps = self._specs[state.target, state.query].caps
            for family, number in state.series.items():
                counts["series", family] += number
                counts["series_limit", family] = caps.get(family, self._families[family].cap)
        return counts
