"""Tracks whether the ledger takes writes, from the outcome of its transactions."""

import structlog

from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.model.samples import SECOND_MS
from exporter.telemetry.counters import Telemetry

UNREADY_AFTER_S = 300.0

log = structlog.get_logger(__name__)


class WriteHealth:
    """Follows every transaction of the ledger; a successful read says nothing about writes.

    Updated on the ledger's thread, read from others.
    """

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._failing_since_s: float | None = None

    @property
    def failing_since_ms(self) -> int | None:
        """Return when writes began to fail; None if the newest one succeeded."""
        since_s = self._failing_since_s
        if since_s is None:
            return None
        ago_s = self._clock.monotonic() - since_s
        return self._clock.now_ms() - round(ago_s * SECOND_MS)

    @property
    def failing(self) -> bool:
        """Return whether the newest write failed."""
        return self._failing_since_s is not None

    def unready(self) -> bool:
        """Return whether every write of the last five minutes failed."""
        since_s = self._failing_since_s
        return since_s is not None and self._clock.monotonic() - since_s >= UNREADY_AFTER_S

    def succeeded(self, seconds: float, *, wrote: bool) -> None:
        """Record a transaction that was committed after ``seconds``."""
        self._telemetry.observe("ledger_commit_duration_seconds", seconds)
        if not wrote:
            return
        if self.failing:
            log.info("the ledger takes writes again")
        self._failing_since_s = None
        now_s = self._clock.now_ms() / SECOND_MS
        self._telemetry.set("ledger_last_commit_timestamp_seconds", now_s)

    def failed(self, error: LedgerError) -> None:
        """Count a transaction that was not committed; log only the first in a row."""
        self._telemetry.increment("ledger_errors_total", "commit")
        if not self.failing:
            self._failing_since_s = self._clock.monotonic()
            log.error(
                "the ledger takes no writes; nothing is counted until it does", error=str(error)
            )
