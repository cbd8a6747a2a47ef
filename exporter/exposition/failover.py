"""Which server of a shared ledger is confirmed, and by whom: pages wait for that."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from exporter.clock import Clock
from exporter.ledger.replicas import Changes

AWAIT_S = 30.0
"""How long other replicas have to confirm a new server: they say every 10 s that they live."""


async def nothing() -> None:
    """Do nothing."""


class Failover:
    """Follows what is known of the server that answers.

    ``noticed`` is what was found of a new one when it was first seen, until it is confirmed: what
    is written there to restore counters hides what was missing. ``abandon`` ends polls under way.
    """

    def __init__(self, clock: Clock, abandon: Callable[[], Awaitable[None]] = nothing) -> None:
        self.noticed: Changes | None = None
        self.abandon = abandon
        self._clock = clock
        self._peers: frozenset[str] | None = None
        self._await_until_s = clock.monotonic() + AWAIT_S

    def notice(self, changes: Changes) -> Changes:
        """Return what was found when the server was first seen."""
        before = self.noticed
        if before is None or before.server != changes.server:
            self._await_until_s = self._clock.monotonic() + AWAIT_S
            lacks = changes.went_back or (before is not None and before.went_back)
            before = self.noticed = replace(changes, went_back=lacks)
        return before

    def is_over(self, changes: Changes) -> bool:
        """Say whether all who may have shown more have raised the ledger to that.

        One who has not within ``AWAIT_S`` has ended, or shows nothing before it has.
        """
        peers = changes.alive if self._peers is None else self._peers
        if self._clock.monotonic() < self._await_until_s and peers & changes.unconfirmed:
            self._peers = peers
            return False
        self._peers = changes.alive
        return True
