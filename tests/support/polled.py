"""A ledger that polls a ``History``, is killed and opened again, and whose counters never fall."""

import atexit
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Self

import sqlalchemy as sa

from exporter.ledger.rows import Claim
from exporter.ledger.store import Ledger
from exporter.model.families import NORMALISED
from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import HOUR_MS, CountRow, Reading, Window
from exporter.polling.poll import poll_window
from tests.support.builders import RECEIVED, received
from tests.support.history import History, Numbers
from tests.support.virtual import VirtualClock

MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made inside


class Killed(BaseException):
    """The process would be dead from here on."""


@contextmanager
def killed_at(number: int | None) -> Iterator[list[str]]:
    """Raise ``Killed`` at the ``number``-th (from 0) statement or commit; yield what was done."""
    done: list[str] = []

    def step(what: str) -> None:
        done.append(what)
        if number is not None and len(done) > number:
            raise Killed

    def statement(_c: Any, _cursor: Any, text: str, *_more: Any) -> None:
        step(text)

    def commit(_connection: Any) -> None:
        step("COMMIT")

    sa.event.listen(sa.Engine, "before_cursor_execute", statement)
    sa.event.listen(sa.Engine, "commit", commit)
    try:
        yield done
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", statement)
        sa.event.remove(sa.Engine, "commit", commit)


@cache
def _empty_ledger() -> Path:
    """Return a migrated ledger to copy, made once a run."""
    folder = Path(tempfile.mkdtemp(prefix="empty-ledger-"))
    atexit.register(shutil.rmtree, folder)
    path = folder / "ledger.db"
    Ledger(f"sqlite:///{path}", clock=VirtualClock(), families=NORMALISED).close()
    return path


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder in memory where there is one: durability is tested elsewhere."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


class PolledLedger:
    """One query's ledger on virtual time; closed where its block is left, however that is left."""

    def __init__(self, folder: Path, spec: QuerySpec, clock: VirtualClock | None = None) -> None:
        self.folder = folder
        self.spec = spec
        self.clock = clock or VirtualClock()
        self.highest: dict[str, float] = {}
        self._files = itertools.count()
        self._path = folder / "ledger.db"
        shutil.copy(_empty_ledger(), self._path)
        self._polls = itertools.count()
        self._open()

    def _open(self) -> None:
        url = f"sqlite:///{self._path}"
        self.ledger = Ledger(url, clock=self.clock, families=NORMALISED)
        self.ledger.ensure_sound()  # what is copied as it lies must not move meanwhile
        self.ledger.sync_queries([self.spec])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self.ledger.close()

    def restart(self, spec: QuerySpec | None = None) -> None:
        """Stop cleanly and start again, perhaps with other settings."""
        self.ledger.close()
        self.spec = spec or self.spec
        self._open()

    def kill(self) -> None:
        """Go on with the files as they lie on disk now, which is what a killed process leaves."""
        left = self.folder / f"left-{next(self._files)}.db"
        for suffix in ("", "-wal"):
            source = Path(f"{self._path}{suffix}")
            if source.exists():
                shutil.copy(source, f"{left}{suffix}")
        self.ledger.close()
        self._path = left
        self._open()

    def claim(self) -> Claim:
        due_ms = self.ledger.next_due_ms()
        assert due_ms is not None
        self.clock.step(max(0, due_ms - self.clock.now_ms()))
        claim = self.ledger.claim()
        assert claim is not None
        return claim

    def asks(self, claim: Claim) -> Window:
        """Return the window that a poll of ``claim`` reads now."""
        return poll_window(self.spec, claim, self.clock.now_ms())

    def readings(
        self, history: History, window: Window, rng: Random, parts: int = 1
    ) -> list[Reading]:
        """Return what the vendor says of ``window``: rows in any order, in up to ``parts`` parts.

        A row may come in two pieces that belong together.
        """
        return [
            Reading(part, counts=self._rows(history, part, rng), more=part.end_ms < window.end_ms)
            for part in _cut(window, parts)
        ]

    def apply(self, claim: Claim, reading: Reading, *, times: int = 1) -> bool:
        """Apply a reading, perhaps several times over; say whether it was held back."""
        held = [
            self.ledger.apply(claim, reading, started_ms=self.clock.now_ms()).held
            for _ in range(times)
        ]
        return held[0]

    def end(self, claim: Claim, *, held: bool = False) -> None:
        """End a poll that was answered."""
        end = self.ledger.hold if held else self.ledger.succeed
        end(claim, next_poll_ms=self.clock.now_ms() + 1)

    def fail(self, claim: Claim) -> None:
        """End a poll that was not."""
        self.ledger.fail(claim, next_poll_ms=self.clock.now_ms() + 1, last_reason="server")

    def shown(self) -> dict[str, float]:
        """Return what a scrape shows of each channel; fail where a counter fell."""
        view = self.ledger.view(self.spec.key)
        values = {s.labels[4]: s.value for s in view.shown if s.family == RECEIVED}
        for channel, value in values.items():
            assert value >= self.highest.get(channel, 0), f"{channel} fell"
            self.highest[channel] = value
        return values

    def counters(self) -> dict[str, float]:
        """Return the same once every new series was seen at its held value."""
        self.shown()
        self.ledger.confirm_zero_scraped(
            [number for number, _ in self.ledger.view(self.spec.key).pending]
        )
        return self.shown()

    def overhang(self) -> float:
        return self.ledger.view(self.spec.key).state.overhang.get(RECEIVED, 0.0)

    def counted(self, name: str) -> float:
        """Return a persisted self counter, over all its labels."""
        counts = self.ledger.self_counts()
        return sum(v for (found, _), v in counts.items() if found == f"chatbot_exporter_{name}")

    def numbers(self) -> dict[str, Numbers]:
        """Return what the ledger's file holds of the counter of each channel, shown or not."""
        with closing(sqlite3.connect(self._path)) as file:
            columns = "json_extract(labels, '$.channel'), c, overhang, written_off"
            rows = file.execute(f"SELECT {columns} FROM series WHERE family = ?", [RECEIVED])  # noqa: S608
            return {channel: Numbers(*numbers) for channel, *numbers in rows}

    def series_of(self, channel: str) -> str:
        """Return the label value of a channel."""
        return self.spec.label_rules.get("channel", LabelRule()).name(channel)

    def _rows(self, history: History, window: Window, rng: Random) -> list[CountRow]:
        rows: list[CountRow] = []
        for (channel, hour_ms), value in history.rows(window).items():
            piece = rng.randint(0, value)
            series = received(self.series_of(channel))
            rows += [(series, hour_ms, float(n)) for n in (piece, value - piece) if n]
        rng.shuffle(rows)
        return rows


def _cut(window: Window, parts: int) -> list[Window]:
    hours = (window.end_ms - window.start_ms) // HOUR_MS
    step = max(1, -(-hours // parts)) * HOUR_MS
    starts = range(window.start_ms, window.end_ms, step)
    return [Window(start, min(start + step, window.end_ms)) for start in starts]
