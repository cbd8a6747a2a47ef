"""What the status page and ``/api/v1/status`` show; the JSON has these names and shapes."""

from dataclasses import dataclass
from enum import StrEnum

OK = "ok"
"""The outcome of a poll that was applied; any other outcome is a failure's reason."""


class State(StrEnum):
    """How a query is doing, in words."""

    NEVER_POLLED = "never polled"
    OK = "ok"
    FAILING = "failing"
    CIRCUIT_OPEN = "circuit open"
    THROTTLED = "throttled"
    QUARANTINED = "quarantined"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """Why the last failed poll failed: the bounded ``reason``, and a sentence without secrets."""

    reason: str
    sentence: str
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """Calls that may still be made now, and when the next one is granted."""

    tokens: float
    next_at_ms: int | None


@dataclass(frozen=True, slots=True)
class PollSeen:
    """One finished poll: its start, how long it took, ``ok`` or a reason, and rows read."""

    at_ms: int
    duration_s: float
    outcome: str
    rows: int


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """One query of one target; instants are None while there is nothing to tell.

    ``polls`` are the recent ones. ``overhang`` is what was counted and later
    retracted by the provider and is not yet repaid; ``revisions`` how often a bucket changed.
    """

    name: str
    state: State
    last_success_ms: int | None = None
    last_attempt_ms: int | None = None
    next_poll_ms: int | None = None
    data_end_ms: int | None = None
    last_fault: FaultSeen | None = None
    fail_streak: int = 0
    series: int = 0
    dropped_series: int = 0
    overhang: float = 0
    revisions: int = 0
    budget: BudgetLeft | None = None
    polls: tuple[PollSeen, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One configured account."""

    name: str
    provider: str
    queries: tuple[QueryStatus, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The whole program at ``now_ms``. ``config_hash`` and ``config_loaded_ms``: what is in force."""

    version: str
    now_ms: int
    started_ms: int
    config_hash: str
    config_loaded_ms: int
    targets: tuple[TargetStatus, ...]
