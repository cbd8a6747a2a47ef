"""Why a series shows what it shows: the ledger's rows as an account that a person can add up."""

import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from exporter.config.values import suggestion
from exporter.explain.reader import Explanation, QueryReader
from exporter.explain.selector import parse
from exporter.ledger import engine
from exporter.ledger.hours import MEASURES
from exporter.ledger.tables import query
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import Family
from exporter.telemetry.counters import PREFIX

EVERY = range(sys.maxsize)


@dataclass(frozen=True, slots=True)
class Explanations:
    """Some of a selector's series: at most ``most`` of ``total``, from number ``first`` on.

    ``note`` says why there is none, where there is none.
    """

    selector: str
    now_ms: int
    first: int
    most: int
    total: int
    series: tuple[Explanation, ...]
    note: str = ""

    @property
    def last(self) -> int:
        """Return the number of the last series here."""
        return self.first + len(self.series) - 1


class Explainer:
    """Explains series from the ledger at ``url``, read only, beside the exporter that writes it.

    ``families`` are all that can be exported, by name. Raises ``LedgerError`` and, of a text that
    is no selector, ``SelectorError``.
    """

    def __init__(
        self,
        url: str,
        specs: Mapping[QueryKey, QuerySpec],
        families: Mapping[str, Family],
        now_ms: int,
    ) -> None:
        self._engine = engine.read_only(url)
        self._specs = specs
        self._families = families
        self._now_ms = now_ms

    def close(self) -> None:
        """Let go of the ledger."""
        self._engine.dispose()

    def answer(self, text: str, first: int, most: int) -> Explanations:
        """Return the accounts of ``most`` series that the selector ``text`` asks for.

        ``first`` is the number of the first of them, from 1.
        """
        every = list(self.find(text, range(first - 1, first - 1 + most)))
        found = tuple(each for each in every if each is not None)
        note = "" if every else why_nothing(text, self._families)
        return Explanations(text, self._now_ms, first, most, len(every), found, note)

    def find(self, text: str, page: range = EVERY) -> Iterator[Explanation | None]:
        """Yield the series that ``text`` asks for, one after another, those of a query as of one instant.

        Of those whose number, from 0, is not in ``page``, only that there is one: None. What is in
        a page is read at once; ``EVERY`` series may be too many for that. Between two queries no
        transaction is open: SQLite cannot shorten its write-ahead log while somebody reads an older
        state.
        """
        wanted = parse(text)
        with engine.reading(self._engine) as tx:
            engine.check_schema(self._engine)
            ids = tx.scalars(sa.select(query.c.id).order_by(query.c.target, query.c.name)).all()
        numbers = itertools.count()
        for query_id in ids:
            with engine.reading(self._engine) as tx:
                row = tx.execute(sa.select(query).where(query.c.id == query_id)).one_or_none()
                if row is None or not wanted.may_match(
                    {"target": row.target, "provider": row.provider}
                ):
                    continue
                spec = self._specs.get((row.target, row.name)) if row.state == "active" else None
                reader = QueryReader(tx, row, spec, self._families, wanted.matches, self._now_ms)
                found = (load() if next(numbers) in page else None for load in reader.series())
                if page is EVERY:
                    yield from found
                part = [*found]
            yield from part


def why_nothing(text: str, families: Mapping[str, Family]) -> str:
    """Return why no series matches the selector ``text``, by the name that it begins with."""
    name = text.strip().partition("{")[0].strip()
    if not name:
        return "No series matches: no query has read one with these labels."
    if name.startswith("chatbot_engagement"):
        counters = ", else of ".join(MEASURES)
        return (
            f"No series of a provider: {name} is computed from the settled hours of {counters}. "
            "Explain that counter instead."
        )
    if name not in families:
        hint = suggestion(name, families) or "see chatbot-exporter metrics"
        return f"No series matches: there is no such metric family; {hint}"
    if name.startswith(PREFIX):
        return (
            f"No series matches: {name} is the exporter's own, so there is nothing of a provider "
            "to add up; its value is on /metrics."
        )
    return f"No series matches: no query has read one of {name} with these labels."
