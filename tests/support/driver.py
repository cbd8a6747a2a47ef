"""A ledger on virtual time: polled, killed and opened again, and no counter of it ever falls."""

import atexit
import json
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from exporter.exposition.engagement import EngagementGauges
from exporter.exposition.page import MetricsPage
from exporter.ledger.rows import Applied, Claim, Retry, View
from exporter.ledger.rules import past_window
from exporter.ledger.store import Ledger
from exporter.ledger.tables import query, replica
from exporter.model.families import ENGAGEMENT, HISTORY_WEEKS, HOLIDAY, NORMALISED
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import CountRow, Family, Reading, Window
from exporter.polling.windows import poll_window
from tests.support.builders import RECEIVED, received, spec
from tests.support.history import Numbers
from tests.support.virtual import VirtualClock, inline

MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made inside
Hours = Mapping[int, float] | Mapping[tuple[str, int], float]
Statements = list[tuple[str, Sequence[Any]]]


def shown_by(ledger: Ledger, key: QueryKey) -> View:
    """Return what one query shows."""
    return ledger.views([key])[key]


class Killed(BaseException):
    """The process would be dead from here on."""


@contextmanager
def recorded(kill_at: int | None = None) -> Iterator[Statements]:
    """Yield the statements and commits so far, with one set of parameters each.

    Raise ``Killed`` before the one with the number ``kill_at``, from 0.
    """
    done: Statements = []

    def step(what: str, parameters: Sequence[Any]) -> None:
        done.append((what, parameters))
        if kill_at is not None and len(done) > kill_at:
            raise Killed

    def statement(*given: Any) -> None:
        _, _, text, parameters, _, many = given
        step(text, parameters[0] if many else parameters)

    def commit(_connection: Any) -> None:
        step("COMMIT", ())

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


class LedgerDriver:
    """A ledger and its queries; closed where its block is left, however that is left.

    ``spec`` is the first query, which is meant wherever none is named.
    """

    def __init__(
        self,
        folder: Path,
        *specs: QuerySpec,
        clock: VirtualClock | None = None,
        families: Mapping[str, Family] = NORMALISED,
        postgresql: str | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock or VirtualClock()
        self.families = families
        self._highest: dict[tuple[str, tuple[str, ...]], float] = {}
        self._kills = count(1)
        self._path, self._postgresql = folder / "ledger.db", postgresql
        if postgresql is None and not self._path.exists():
            shutil.copy(_empty_ledger(), self._path)
        self.open(*(specs or [spec()]))

    @property
    def url(self) -> str:
        return self._postgresql or f"sqlite:///{self._path}"

    def open(self, *specs: QuerySpec) -> None:
        """Open the ledger as at a start, perhaps with other queries."""
        self.ledger = Ledger(self.url, clock=self.clock, families=self.families)
        self.ledger.ensure_sound()  # what is copied as it lies must not move meanwhile
        self.sync(*(specs or self.specs))

    def sync(self, *specs: QuerySpec, **renames: str) -> None:
        """Make these the queries, as a reload does."""
        self.ledger.sync_queries(specs, renames)
        self.specs = specs
        self.spec = specs[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self.ledger.close()

    def reopen(self, *specs: QuerySpec) -> None:
        """Stop cleanly and start again, perhaps with other queries."""
        self.close()
        self.open(*specs)

    def kill(self) -> None:
        """Go on with the files as they lie on disk now, which is what a killed process leaves.

        On PostgreSQL a minute is over, so that claims have expired.
        """
        if self._postgresql:
            self.ledger._opened.close()
            self.open()
            with self.transaction() as tx:
                tx.execute(sa.update(query).values(claim_expires_ms=0))
                tx.execute(sa.update(replica).values(seen_ms=0))
            return
        left = self.folder / f"left-{next(self._kills)}.db"
        for suffix in ("", "-wal"):
            source = Path(f"{self._path}{suffix}")
            if source.exists():
                shutil.copy(source, f"{left}{suffix}")
        self.close()
        self._path = left
        self.open()

    def claim(self, target: str | None = None) -> Claim:
        """Claim the query that was due first, waiting until one is; those of others are held."""
        due_ms = self.ledger.next_due_ms()
        assert due_ms is not None
        self.clock.advance(max(0, due_ms - self.clock.now_ms()) / 1000)
        claim = self.ledger.claim()
        assert claim is not None
        if target in {None, claim.target}:
            return claim
        self.end(claim, held=True)
        return self.claim(target)

    def window(self, claim: Claim) -> Window:
        """Return what a poll or a slice of ``claim`` reads now."""
        (claimed,) = [each for each in self.specs if each.key == (claim.target, claim.query)]
        if claim.past is not None:
            return past_window(claimed, claim.past, self.clock.now_ms())
        return poll_window(claimed, claim, self.clock.now_ms())

    def read_slice(self, hours: Hours | None = None, **reading: Any) -> Applied | None:
        """Apply a complete read of the next slice, as ``poll`` does; None: there is none due."""
        claim = self.ledger.claim_slice()
        if claim is None:
            return None
        window = self.window(claim)
        inside = [row for row in _rows(hours or {}) if window.holds(row[1])]
        parts: dict[str, Any] = {"window": window, "counts": inside} | reading
        applied = self.apply(claim, Reading(**parts), of_past=True)
        self.ledger.end_slice(claim)
        return applied

    def poll(
        self, hours: Hours | None = None, *, claim: Claim | None = None, **reading: Any
    ) -> Applied:
        """Apply a complete read and end the poll; keys are hour starts, or channel and hour start.

        ``reading`` are other parts of the reading; without ``claim`` what is due is claimed.
        """
        claim = claim or self.claim()
        counts = _rows(hours or {})
        parts: dict[str, Any] = {"window": self.window(claim), "counts": counts} | reading
        return self.apply_last(claim, Reading(**parts))

    def apply(self, claim: Claim, reading: Reading, **ending: Any) -> Applied:
        """Apply a reading; the poll goes on."""
        return self.ledger.apply(claim, reading, started_ms=self.clock.now_ms(), **ending)

    def apply_last(self, claim: Claim, reading: Reading) -> Applied:
        """Apply a reading and end the poll."""
        applied = self.apply(claim, reading, next_poll_ms=self.clock.now_ms() + 1)
        if applied.held:
            self.end(claim, held=True)
        return applied

    def end(self, claim: Claim, *, held: bool = False) -> None:
        """End a poll whose readings are applied, or of which one is held back."""
        now_ms = self.clock.now_ms()
        if held:
            self.ledger.end_poll(claim, next_poll_ms=now_ms + 1)
        else:
            self.apply_last(claim, Reading(Window(now_ms, now_ms), gauges_only=True))

    def fail(self, claim: Claim) -> None:
        """End a poll that was not."""
        self.ledger.fail(claim, Retry(self.clock.now_ms() + 1, 0, "closed"), reason="server")

    def view(self, spec: QuerySpec | None = None) -> View:
        return shown_by(self.ledger, (spec or self.spec).key)

    def shown(
        self, family: str = RECEIVED, spec: QuerySpec | None = None
    ) -> dict[tuple[str, ...], float]:
        """Return what is shown of ``family`` by the labels after provider and target.

        Fails where a counter fell.
        """
        found = {each.labels: each.value for each in self.view(spec).shown if each.family == family}
        for labels, value in found.items() if family.endswith("_total") else ():
            assert value >= self._highest.get((family, labels), 0), f"{family} {labels} fell"
            self._highest[family, labels] = value
        return {labels[2:]: value for labels, value in found.items()}

    def counters(self) -> dict[str, float]:
        """Return the counter of each channel, once every new series was seen at its held value."""
        self.shown()
        self.confirm_zero_scraped()
        return {labels[2]: value for labels, value in self.shown().items()}

    def counter(self, channel: str = "") -> float:
        return self.counters()[channel]

    def rows(self, table: sa.Table) -> int:
        """Return how many rows ``table`` has."""
        with self.transaction() as tx:
            return tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    def compact(self) -> None:
        """Drop what is old, all at once."""
        deque(self.ledger.compact(), maxlen=0)

    def confirm_zero_scraped(self) -> None:
        """Let a scrape have carried every held value."""
        views = [shown_by(self.ledger, each.key) for each in self.specs]
        self.ledger.confirm_zero_scraped([number for view in views for number, _ in view.pending])

    def overhang(self) -> float:
        return self.view().state.overhang.get(RECEIVED, 0.0)

    def counted(self, name: str, **labels: str) -> float:
        """Return a persisted self counter, over the labels that are not given."""
        return sum(
            value
            for (found, own), value in self.ledger.self_counts().items()
            if found == f"chatbot_exporter_{name}" and labels.items() <= dict(own).items()
        )

    def dropped(self) -> set[str]:
        """Return why label sets had no place of their own."""
        counts = self.ledger.self_counts()
        return {dict(labels)["reason"] for name, labels in counts if "_dropped_series" in name}

    def numbers(self) -> dict[str, Numbers]:
        """Return what the ledger holds of the counter of each channel, shown or not."""
        columns = f"labels, c, overhang, written_off FROM series WHERE family = '{RECEIVED}'"
        if self._postgresql:
            with self.transaction() as tx:
                rows = tx.exec_driver_sql(f"SELECT {columns}").all()
        else:
            with closing(sqlite3.connect(self._path)) as file:
                rows = file.execute(f"SELECT {columns}").fetchall()
        return {json.loads(labels)["channel"]: Numbers(*numbers) for labels, *numbers in rows}

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Yield a transaction of the ledger, to look at its rows or to change them."""
        with self.ledger._opened.engine.begin() as tx:
            yield tx


def engagement_of(driver: LedgerDriver, page: MetricsPage | None = None) -> EngagementGauges:
    """Return the engagement of the bots of a ledger's queries, shown on ``page``."""
    families = {each.name: each for each in (*ENGAGEMENT, HISTORY_WEEKS, HOLIDAY)}
    gauges = EngagementGauges(
        ledger=driver.ledger,
        page=page or MetricsPage(families),
        clock=driver.clock,
        offload=inline,
        computing=inline,
    )
    gauges.restart({each.key: each for each in driver.specs})
    return gauges


def _rows(hours: Hours) -> list[CountRow]:
    places = [(key if isinstance(key, tuple) else ("", key), n) for key, n in hours.items()]
    return [(received(channel), start_ms, n) for (channel, start_ms), n in places]
