"""What the ledger tells its callers: claims, views and the state of a query."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from exporter.model.samples import SelfCount, Series


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to poll one query, until another holder raises its token."""

    query_id: int
    target: str
    query: str
    holder: str
    token: int
    due_ms: int
    epoch_ms: int | None
    cursor_ms: int | None
    floor_ms: int | None
    watermark_ms: int | None
    last_read_ms: int | None
    last_success_ms: int | None
    fail_streak: int
    backoff_ms: int
    circuit: str
    quarantine: int
    memo: Mapping[str, Any]


class Shown(NamedTuple):
    """One sample of ``/metrics``: all label values in the family's order.

    A tuple, because a poll may make a hundred thousand.
    """

    family: str
    labels: tuple[str, ...]
    value: float
    created_ms: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What is left of a call budget: whole calls, and from when on there is one (None: now)."""

    calls: int
    ready_ms: int | None = None


@dataclass(frozen=True, slots=True)
class QueryState:
    """Where a query stands, as committed; None where nothing has happened yet, or no budget is."""

    target: str
    query: str
    provider: str
    epoch_ms: int | None
    cursor_ms: int | None
    watermark_ms: int | None
    last_attempt_ms: int | None
    last_success_ms: int | None
    next_poll_ms: int
    last_reason: str | None
    last_fault: str | None
    fail_streak: int
    circuit: str
    quarantined: bool
    periods: Mapping[str, int] = field(default_factory=dict)
    overhang: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, int] = field(default_factory=dict)
    budget: BudgetState | None = None


@dataclass(frozen=True, slots=True)
class View:
    """All that one query shows.

    ``pending`` are new series still shown at their held value, each with the instant when its real
    value may follow; ``expires_ms`` is when the next gauge is withdrawn or a
    spent budget is refilled.
    """

    state: QueryState
    shown: tuple[Shown, ...]
    pending: tuple[tuple[int, int], ...] = ()
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What a committed reading changed. ``held``: a collapse awaits confirmation."""

    held: bool
    counted: Mapping[SelfCount, float]
    rows: int


def encode_labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return labels as canonical JSON: sorted keys, no spaces."""
    return msgspec.json.encode(dict(zip(names, values, strict=True)), order="sorted").decode()


def decode_labels(names: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Return the values of ``names`` in a canonical JSON text."""
    return msgspec.structs.astuple(_decoder(names).decode(text))


@cache
def _decoder(names: tuple[str, ...]) -> "msgspec.json.Decoder[msgspec.Struct]":
    """Return a decoder into one field a name: a ledger is read whole at each start."""
    fields = [(name, str, "") for name in names]
    return msgspec.json.Decoder(msgspec.defstruct("Labels", fields, gc=False))


def full_labels(target: str, provider: str, series: Series) -> tuple[str, ...]:
    """Return all label values of ``series`` of a target, in the family's order."""
    return (provider, target, *series[1])


def claim_of(row: sa.Row[Any], holder: str) -> Claim:
    """Return the claim on a query row."""
    return Claim(
        query_id=row.id,
        target=row.target,
        query=row.name,
        holder=holder,
        token=row.token,
        due_ms=row.next_poll_ms,
        epoch_ms=row.epoch_ms,
        cursor_ms=row.cursor_ms,
        floor_ms=row.floor_ms,
        watermark_ms=row.watermark_ms,
        last_read_ms=row.last_read_ms,
        last_success_ms=row.last_success_ms,
        fail_streak=row.fail_streak,
        backoff_ms=row.backoff_ms,
        circuit=row.circuit,
        quarantine=row.quarantine,
        memo=msgspec.json.decode(row.memo),
    )
