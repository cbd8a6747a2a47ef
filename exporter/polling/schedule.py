"""Computes when to poll next, without I/O: slots, back-off, the circuit."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from exporter.errors import LedgerError, ProviderError, Reason
from exporter.ledger.rows import Retry
from exporter.model.query import Budget, QuerySpec
from exporter.model.samples import HOUR_MS, MINUTE_MS, SECOND_MS

JITTER = 0.05
OPENS_AFTER = 5
SHORTEST_WAIT_MS = SECOND_MS
LONGEST_WAIT_MS = 6 * HOUR_MS


def phase_ms(spec: QuerySpec) -> int:
    """Return the query's phase within its interval, the same after every restart."""
    digest = hashlib.blake2b(f"{spec.target}/{spec.name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % spec.interval_ms


def next_slot_ms(spec: QuerySpec, now_ms: int, rng: random.Random) -> int:
    """Return the first slot after ``now_ms``, plus jitter of up to 5 % of the interval.

    A budgeted query has no slots: it is due one interval and the budget's margin after its call.
    """
    if spec.budget is not None:
        return now_ms + spec.interval_ms + spec.budget.margin_ms
    phase = phase_ms(spec)
    slot = phase + ((now_ms - phase) // spec.interval_ms + 1) * spec.interval_ms
    return slot + round(rng.uniform(0, JITTER) * spec.interval_ms)


def in_turns(specs: Iterable[QuerySpec]) -> list[QuerySpec]:
    """Return ``specs`` with the intervals at which their call budgets let them be polled.

    Queries on one budget take turns. Up, expected lag and expiry go by these intervals.
    """
    specs = list(specs)
    sharing = Counter(spec.budget.name for spec in specs if spec.budget is not None)
    return [_in_turn(spec, spec.budget, sharing) if spec.budget else spec for spec in specs]


def _in_turn(spec: QuerySpec, budget: Budget, sharing: Counter[str]) -> QuerySpec:
    turn_ms = (budget.period_ms + budget.margin_ms) * sharing[budget.name] - budget.margin_ms
    return replace(spec, interval_ms=max(spec.interval_ms, turn_ms))


def slots_between(spec: QuerySpec, from_ms: int, to_ms: int) -> int:
    """Return how many slots lie in ``(from_ms, to_ms]``, which a late poll has skipped.

    A budgeted query has none.
    """
    if spec.budget is not None:
        return 0
    phase = phase_ms(spec)
    return max(0, (to_ms - phase) // spec.interval_ms - (from_ms - phase) // spec.interval_ms)


def after_failure(
    spec: QuerySpec,
    error: ProviderError | LedgerError,
    *,
    streak: int,
    backoff_ms: int,
    now_ms: int,
    rng: random.Random,
) -> Retry:
    """Return the reaction to the ``streak``-th failure in a row.

    The next poll waits for the back-off, and for what the provider asked for (``Retry-After``,
    between 1 s and 6 h). The circuit opens after five failures, or at once if the key is refused;
    while it is open, the provider is probed at a fixed pace.
    """
    asked_ms = _asked_ms(error)
    quiet_until_ms = None if asked_ms is None else now_ms + asked_ms
    if streak >= OPENS_AFTER or error.reason is Reason.AUTH:
        probe_ms = max(asked_ms or 0, min(5 * MINUTE_MS, 10 * spec.interval_ms))
        return Retry(now_ms + probe_ms, backoff_ms, "open", quiet_until_ms)
    backoff_ms = next_backoff_ms(spec, backoff_ms, rng)
    return Retry(now_ms + max(asked_ms or 0, backoff_ms), backoff_ms, "closed", quiet_until_ms)


def _asked_ms(error: ProviderError | LedgerError) -> int | None:
    """Return how long the provider asked to wait, between 1 s and 6 h; None if it did not."""
    if error.retry_after_s is None:
        return None
    return round(min(max(error.retry_after_s * SECOND_MS, SHORTEST_WAIT_MS), LONGEST_WAIT_MS))


def next_backoff_ms(spec: QuerySpec, backoff_ms: int, rng: random.Random) -> int:
    """Return the next wait with decorrelated jitter, given the last one (0: none yet)."""
    least_ms = min(5_000, spec.interval_ms)
    most_ms = min(15 * MINUTE_MS, max(4 * spec.interval_ms, 30_000))
    return round(min(most_ms, rng.uniform(least_ms, max(least_ms, backoff_ms) * 3)))
