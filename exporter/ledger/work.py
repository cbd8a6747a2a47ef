"""One reading on its way into the ledger, and the self counters it moves."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from operator import itemgetter

import msgspec
import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler

from exporter.ledger.repeats import LastReading
from exporter.ledger.rows import Claim
from exporter.ledger.tables import self_counter
from exporter.model.query import QuerySpec
from exporter.model.samples import Family, Reading, SelfCount


@dataclass(slots=True)
class Work:
    """One reading on its way into the ledger; ``key`` is the installation's, for sketches.

    ``before`` is what the query was told last, ``told`` what it is told now, to be known once
    that is committed. ``first``: no part of this poll came before. ``label_rules_changed``: the label_rules is
    another than at the last poll. ``crowded``: some label sets had no place of their own.
    """

    tx: sa.Connection
    claim: Claim
    spec: QuerySpec
    reading: Reading
    now_ms: int
    started_ms: int
    families: Mapping[str, Family]
    first: bool = True
    key: bytes | None = None
    before: LastReading | None = None
    told: LastReading | None = None
    label_rules_changed: bool = False
    crowded: bool = False
    counted: dict[SelfCount, float] = field(default_factory=lambda: defaultdict(float))

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a persisted self counter of this query."""
        if amount:
            own = {"provider": self.spec.provider, "target": self.spec.target} | labels
            self.counted[f"chatbot_exporter_{name}", tuple(sorted(own.items()))] += amount

    def count_dropped(self, dropped: Mapping[tuple[str, str], int]) -> None:
        """Count label sets that had no place of their own, by family and reason."""
        for (family, reason), number in dropped.items():
            self.count("dropped_series_total", number, family=family, reason=reason)

    def left_in_all(self, table: sa.Table) -> Callable[[], int]:
        """Return what tells how many rows all targets may still add to ``table``; it asks once.

        Series out of sight keep their places.
        """

        @cache
        def left() -> int:
            number = self.tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            return self.spec.total_cap - number

        return left

    def count_query(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a persisted self counter that has the label ``query``."""
        self.count(name, amount, query=self.spec.name, **labels)


def execute_rows(
    tx: sa.Connection,
    statement: sa.Update,
    names: tuple[str, ...],
    rows: Sequence[tuple[float, ...]],
) -> None:
    """Execute ``statement`` for each of ``rows``: its parameters ``names``, in their order there.

    SQLAlchemy would look at each parameter of each row, which costs as much as the statement.
    """
    compiled = _compiled(statement, tx.dialect)
    if compiled.positiontup is None:
        tx.exec_driver_sql(str(compiled), [dict(zip(names, row, strict=True)) for row in rows])
    else:
        placed = itemgetter(*map(names.index, compiled.positiontup))
        tx.exec_driver_sql(str(compiled), list(map(placed, rows)))


@lru_cache(maxsize=8)
def _compiled(statement: sa.Update, dialect: sa.Dialect) -> SQLCompiler:
    return statement.compile(dialect=dialect)


def add_self_counts(tx: sa.Connection, counted: Mapping[SelfCount, float]) -> None:
    """Add to the persisted self counters, in the transaction that caused them."""
    for (name, labels), amount in counted.items():
        text = msgspec.json.encode(dict(labels), order="sorted").decode()
        mine = (self_counter.c.name == name) & (self_counter.c.labels == text)
        added = sa.update(self_counter).where(mine).values(v=self_counter.c.v + amount)
        if tx.execute(added).rowcount == 0:
            tx.execute(sa.insert(self_counter).values(name=name, labels=text, v=amount))
