"""Readings that say the same as the one before: nothing has to be loaded or compared for them.

Sound, because the buckets of a query change in three ways only: by a reading under its claim, whose
token every claim raises; by retirement, which moves the floor; and when its settings are replaced,
which dates its state or ends its epoch. What stands here was committed, and is used once.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from exporter.model.samples import Reading


@dataclass(frozen=True, slots=True)
class LastReading:
    """What was last counted for a query, and the circumstances in which it was."""

    token: int
    state_ms: int
    floor_ms: int
    digest: bytes


def last_reading(row: sa.Row[Any], reading: Reading) -> LastReading | None:
    """Return what ``reading`` tells of the query ``row``; None where that cannot be repeated.

    A poll in parts cannot, nor one whose rows become the baseline.
    """
    if row.epoch_ms is None or reading.more:
        return None
    window = reading.window
    said = (window.start_ms, window.end_ms, sorted(reading.kept), reading.counts)
    digest = hashlib.blake2b(msgspec.msgpack.encode(said), digest_size=16).digest()
    return LastReading(row.token, row.state_ms, row.floor_ms, digest)


def repeated(now: LastReading | None, before: LastReading | None) -> bool:
    """Say whether ``now`` tells what ``before`` did, with no other claim in between."""
    return (
        now is not None
        and before is not None
        and (now.token - 1, now.state_ms, now.floor_ms, now.digest)
        == (before.token, before.state_ms, before.floor_ms, before.digest)
    )
