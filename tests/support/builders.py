"""Builders: a ledger, a spec and readings with only what a test cares about."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.ledger.rows import Applied, Claim, View
from exporter.ledger.store import Ledger
from exporter.model.families import NORMALISED
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, GaugeRow, Reading, Window, ceil_to, floor_to
from tests.support.virtual import VirtualClock

RECEIVED = "chatbot_messages_received_total"
INTERACTIONS = "chatbot_interactions_total"


def received(channel: str = "", project: str = "shop") -> tuple[str, tuple[str, ...]]:
    """Return the series of messages received of ``channel``."""
    return RECEIVED, (project, "", channel)


def spec(**changes: Any) -> QuerySpec:
    """Return an hourly query of target ``shop``."""
    plain = QuerySpec(target="shop", provider="flowxo", name="hourly", meaning={"v": 1})
    return replace(plain, **changes)


class Book:
    """A ledger with one query on virtual time: ``poll`` says what the provider says now."""

    def __init__(self, folder: Path, clock: VirtualClock, query: QuerySpec | None = None) -> None:
        self.clock = clock
        self.spec = query or spec()
        self.url = f"sqlite:///{folder}/ledger.db"
        self.open()

    def open(self) -> None:
        """Open the ledger, as after a restart."""
        self.ledger = Ledger(self.url, clock=self.clock, families=NORMALISED)
        self.ledger.sync_queries([self.spec])

    def reopen(self, query: QuerySpec | None = None) -> None:
        """Close and open again, perhaps with other settings."""
        self.ledger.close()
        self.spec = query or self.spec
        self.open()

    def claim(self) -> Claim:
        """Claim the query, waiting until it is due."""
        due = self.ledger.next_due_ms()
        assert due is not None
        self.clock.step(max(0, due - self.clock.now_ms()))
        claim = self.ledger.claim()
        assert claim is not None
        return claim

    def window(self, claim: Claim) -> Window:
        """Return the window that a poll reads now."""
        now_ms = self.clock.now_ms()
        start = floor_to(now_ms - self.spec.lookback_ms, HOUR_MS)
        return Window(min(start, claim.cursor_ms or start), ceil_to(now_ms + 1, HOUR_MS))

    def poll(
        self,
        hours: Mapping[int, float] | Mapping[tuple[str, int], float],
        **reading: Any,
    ) -> Applied:
        """Apply a complete read; keys are hour starts, or channel and hour start."""
        claim = self.claim()
        counts = [(received(*_channel(key)), _start(key), value) for key, value in hours.items()]
        return self.apply(claim, counts=counts, **reading)

    def apply(self, claim: Claim, **reading: Any) -> Applied:
        """Apply a reading of the present window and end the poll."""
        full = Reading(**({"window": self.window(claim)} | reading))
        started_ms = self.clock.now_ms()
        applied = self.ledger.apply(claim, full, started_ms=started_ms)
        next_ms = self.clock.now_ms() + 1
        if applied.held:
            self.ledger.hold(claim, next_poll_ms=next_ms)
        else:
            self.ledger.succeed(claim, next_poll_ms=next_ms)
        return applied

    def view(self) -> View:
        """Return what the query shows."""
        return self.ledger.view(self.spec.key)

    def shown(self, family: str = RECEIVED) -> dict[tuple[str, ...], float]:
        """Return the shown values of ``family`` by the labels after provider and target."""
        return {s.labels[2:]: s.value for s in self.view().shown if s.family == family}

    def counter(self, channel: str = "") -> float:
        """Return the exported value of a channel's counter, new series revealed."""
        self.confirm_zero_scraped()
        return self.shown()["shop", "", channel]

    def confirm_zero_scraped(self) -> None:
        """Let the zeros have been scraped."""
        self.ledger.confirm_zero_scraped([number for number, _ in self.view().pending])

    def counted(self, name: str) -> float:
        """Return a persisted self counter, over all its labels."""
        counts = self.ledger.self_counts()
        return sum(value for (found, _), value in counts.items() if found == name)


def gauges(rows: Iterable[tuple[tuple[str, tuple[str, ...]], Window, float]]) -> list[GaugeRow]:
    """Return gauge rows."""
    return [GaugeRow(*row) for row in rows]


def _channel(key: Any) -> tuple[str, ...]:
    return (key[0],) if isinstance(key, tuple) else ()


def _start(key: Any) -> int:
    return int(key[1] if isinstance(key, tuple) else key)
