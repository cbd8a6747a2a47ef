"""Follows a shared ledger: commits of other replicas, and failovers to another server."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import structlog

from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.exposition.page import MetricsPage
from exporter.exposition.publisher import Publisher
from exporter.ledger.offload import Offload
from exporter.ledger.replicas import Changes, Replica, Version
from exporter.telemetry.counters import Telemetry

log = structlog.get_logger(__name__)

VERIFY_S = 1.8
"""How long a caller waits for a check, which then goes on; just before scrapes give up."""
AWAIT_S = 30.0
"""How long other replicas have to confirm a new server; each live one writes every 10 s."""


class Failover:
    """Tracks whether another server answers.

    ``noticed`` are the changes seen first on a new server, kept until it is confirmed: restoring
    counters writes to it, which hides what was missing.
    """

    def __init__(self, clock: Clock) -> None:
        self.noticed: Changes | None = None
        self._clock = clock
        self._peers: frozenset[str] | None = None
        self._await_until_s = clock.monotonic() + AWAIT_S

    def notice(self, changes: Changes) -> Changes:
        """Return the changes found when the server was first seen."""
        before = self.noticed
        if before is None or before.server != changes.server:
            self._await_until_s = self._clock.monotonic() + AWAIT_S
            lacks = changes.went_back or (before is not None and before.went_back)
            before = self.noticed = replace(changes, went_back=lacks)
        return before

    def is_over(self, changes: Changes) -> bool:
        """Return whether all replicas that may have shown more have raised the ledger to that.

        One that has not within ``AWAIT_S`` has ended, or shows nothing until it has.
        """
        peers = changes.alive if self._peers is None else self._peers
        if self._clock.monotonic() < self._await_until_s and peers & changes.unconfirmed:
            self._peers = peers
            return False
        self._peers = changes.alive
        return True


class Follower:
    """Keeps the page in step with other replicas: ``begin`` before it is filled, then ``verify``.

    ``abandon`` cancels polls under way, whose claims a new server may not have.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        publisher: Publisher,
        page: MetricsPage,
        clock: Clock,
        telemetry: Telemetry,
        offload: Offload,
        reading: Offload,
        abandon: Callable[[], Awaitable[None]],
    ) -> None:
        self._replica = replica
        self._publisher = publisher
        self._page = page
        self._telemetry = telemetry
        self._offload = offload
        self._reading = reading
        self._abandon = abandon
        self._failover = Failover(clock)
        self._version: Version = {}
        self._checking = asyncio.Lock()
        self._checks = 0
        self._found = False
        self.verified = not replica.shared

    async def begin(self) -> None:
        """Record the version of the ledger from which changes are followed."""
        if self._replica.shared:
            self._version = (await self._reading(partial(self._replica.changes, {}))).version

    async def verify(self) -> bool:
        """Show everything that other replicas have committed; return whether that succeeded.

        Callers that arrive during a check share the next one; a caller gives up after ``VERIFY_S``.
        A ledger that is not shared needs no check.
        """
        if not self._replica.shared:
            return True
        loop, asked = asyncio.get_running_loop(), self._checks
        late_s = loop.time() + VERIFY_S
        late = loop.call_at(late_s, self._note_verified, False)  # noqa: FBT003
        try:
            async with self._checking:
                if self._checks == asked:
                    self._checks += 1
                    self._found = await self._follow()
        finally:
            late.cancel()
        self._note_verified(self._found and loop.time() < late_s)
        return self.verified

    def _note_verified(self, verified: bool) -> None:  # noqa: FBT001 - a callback of the loop
        self.verified = verified
        self._telemetry.set("ledger_reachable", verified)

    async def _follow(self) -> bool:
        try:
            changes = await self._reading(partial(self._replica.changes, self._version))
            if changes.server != self._replica.server:
                await self._follow_server(changes)
            if outdated := self._publisher.outdated(changes.marks):
                await self._publisher.refresh(*sorted(outdated))
        except LedgerError:
            return False
        self._version = changes.version
        over = self._failover.is_over(changes)
        if over:
            self._replica.resume_claims()
        return over

    async def _follow_server(self, changes: Changes) -> None:
        """Continue on a server that may lack what was shown, after a failover or a mere restart."""
        noticed = self._failover.notice(changes)
        await self._abandon()
        if noticed.went_back:
            await self._restore()
        confirm = partial(self._replica.confirm, noticed.server, noticed.version)
        await self._offload(confirm)
        self._failover.noticed = None

    async def _restore(self) -> None:
        """Raise the counters of a ledger that lost commits to what was shown."""
        log.warning("the ledger has lost commits: counters are raised to the values last shown")
        await self._offload(partial(self._replica.resync, self._publisher.self_counts))
        for key in self._publisher.queries:
            shown = self._page.shown(key)
            await self._offload(partial(self._replica.raise_counters, key, shown))
