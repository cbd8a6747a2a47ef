"""Distinct users and conversations of a stream, in sketches over rolling windows.

Identifiers are hashed with a key (specification: streams.md#distinct-users-and-conversations).
"""

import hmac
import os
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from exporter.errors import LedgerError
from exporter.ledger import gauges
from exporter.ledger.rows import ApplyInput, Counts
from exporter.ledger.tables import gap, gauge, sketch, upsert
from exporter.model import families
from exporter.model.samples import DAY_MS, HOUR_MS, Event, GaugeRow, Window, floor_to

log = structlog.get_logger(__name__)

LG_K = 12
KEY_BYTES = 32
FAMILIES = {"user": families.ACTIVE_USERS, "conversation": families.ACTIVE_CONVERSATIONS}
WINDOWS = {f"rolling_{days}d": days * DAY_MS for days in (1, 7, 28)}

Group = tuple[str, tuple[str, ...], int]
"""Kind, labels and start of the hour."""


def installation_key(path: Path, new: bytes | None = None) -> bytes:
    """Return the key in the file at ``path``; if missing, write ``new`` or a random one (0600)."""
    try:
        if not os.path.lexists(path):  # a link that leads nowhere is an error
            _write_key(path, new or secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        raise LedgerError(f"{path}: the key cannot be created or read: {error.strerror}") from None
    if len(key) != KEY_BYTES:
        raise LedgerError(f"{path}: not a key of {KEY_BYTES} bytes; delete it to create a new one")
    return key


def _write_key(path: Path, key: bytes) -> None:
    """Write the key whole or not at all: part of one would break every later start."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


@cache
def library() -> Any:
    """Return the sketch library; None (logged once) if datasketches is not installed."""
    try:
        import datasketches  # noqa: PLC0415 - a compiled wheel that only streams need
    except ImportError:
        log.warning("distinct counts are off", reason="datasketches is not installed")
        return None
    return datasketches


def store(given: ApplyInput, counted: Iterable[Event]) -> Counts:
    """Add the users and conversations of new events; once an hour, update the rolling gauges."""
    if given.key is None or library() is None:
        return []
    groups = _grouped(counted)
    if groups:
        _update(given, given.key, groups)
    return [] if given.reading.more else _roll(given)


def _grouped(counted: Iterable[Event]) -> dict[Group, set[str]]:
    """Return identifiers by kind, labels and hour; the empty channel has those of all channels."""
    groups: defaultdict[Group, set[str]] = defaultdict(set)
    for event in counted:
        if event.place is not None:
            hour_ms = floor_to(event.at_ms, HOUR_MS)
            groups["user", event.place, hour_ms].add(event.user)
            groups["conversation", event.place, hour_ms].add(event.conversation)
    for (kind, place, hour_ms), found in list(groups.items()):
        groups[kind, (*place[:2], ""), hour_ms] |= found
    return {group: found - {""} for group, found in groups.items() if found - {""}}


def _update(given: ApplyInput, key: bytes, groups: Mapping[Group, set[str]]) -> None:
    own, hours = library(), [hour_ms for _, _, hour_ms in groups]
    among = sketch.c.hour_ms.between(min(hours), max(hours))
    found = given.tx.execute(sa.select(sketch).where(sketch.c.query_id == given.query.id, among))
    known = {(row.kind, row.labels, row.hour_ms): bytes(row.data) for row in found}
    rows = []
    for (kind, place, hour_ms), identifiers in groups.items():
        labels = msgspec.json.encode(place).decode()
        data = known.get((kind, labels, hour_ms))
        grown = own.hll_sketch(LG_K) if data is None else own.hll_sketch.deserialize(data)
        for identifier in identifiers:
            grown.update(_keyed(key, kind, identifier))
        rows.append((given.query.id, kind, labels, hour_ms, bytes(grown.serialize_compact())))
    upsert(given.tx, sketch, rows, "data = excluded.data")


@lru_cache(maxsize=50_000)
def _keyed(key: bytes, kind: str, value: str) -> int:
    digest = hmac.digest(key, f"{kind}\0{value}".encode(), "sha256")
    return int.from_bytes(digest[:8], signed=True)


def _roll(given: ApplyInput) -> Counts:
    """Once an hour, show the windows that end at the newest hour that no overlap reads again."""
    end_ms = floor_to(given.watermark_ms - given.spec.lookback_ms, HOUR_MS)
    shown = sa.select(sa.func.max(gauge.c.end_ms)).where(
        gauge.c.query_id == given.query.id, gauge.c.slot == gauges.ROLLING
    )
    windows = _covered(given, end_ms)
    if not windows or (given.tx.execute(shown).scalar() or 0) >= end_ms:
        return []
    mine = sketch.c.query_id == given.query.id
    # The newest sketch is a bound as well: a clock that was ahead moves only the watermark.
    newest_ms = given.tx.execute(sa.select(sa.func.max(sketch.c.hour_ms)).where(mine)).scalar()
    kept_ms = min(end_ms, newest_ms or end_ms) - max(WINDOWS.values())
    given.tx.execute(sa.delete(sketch).where(mine, sketch.c.hour_ms < kept_ms))
    return gauges.roll(given, _estimates(given, end_ms, windows))


def _covered(given: ApplyInput, end_ms: int) -> list[str]:
    """Return the windows that the stream covers completely, shortest first."""
    lost = sa.select(sa.func.max(gap.c.to_ms)).where(gap.c.query_id == given.query.id)
    since_ms = max(given.query.epoch_ms or end_ms, given.tx.execute(lost).scalar() or 0)
    return [name for name, length_ms in WINDOWS.items() if end_ms - length_ms >= since_ms]


def _estimates(given: ApplyInput, end_ms: int, windows: Sequence[str]) -> list[GaugeRow]:
    """Return the distinct counts of each kind and label set in ``windows``, shortest first."""
    rows = given.tx.execute(
        sa.select(sketch.c.kind, sketch.c.labels, sketch.c.hour_ms, sketch.c.data).where(
            sketch.c.query_id == given.query.id, sketch.c.hour_ms < end_ms
        )
    )
    by_set: defaultdict[tuple[str, str], list[tuple[int, bytes]]] = defaultdict(list)
    for kind, labels, hour_ms, data in rows:
        by_set[kind, labels].append((hour_ms, bytes(data)))
    return [
        estimate
        for (kind, labels), hours in by_set.items()
        for estimate in _merged(kind, labels, hours, end_ms, windows)
    ]


def _merged(
    kind: str, labels: str, hours: Sequence[tuple[int, bytes]], end_ms: int, windows: Sequence[str]
) -> list[GaugeRow]:
    own, newer_ms = library(), end_ms
    union = own.hll_union(LG_K)
    place = msgspec.json.decode(labels, type=tuple[str, ...])
    estimates = []
    for name in windows:
        start_ms = end_ms - WINDOWS[name]
        for hour_ms, data in hours:
            if start_ms <= hour_ms < newer_ms:
                union.update(own.hll_sketch.deserialize(data))
        newer_ms = start_ms
        if value := round(union.get_estimate()):
            series = (FAMILIES[kind].name, (*place, name))
            estimates.append(GaugeRow(series, Window(start_ms, end_ms), value))
    return estimates
