"""Renders what queries show into cached bytes, rewritten only where something changed.

A family is a sequence of blocks; a block holds the lines of some owners (a query, or the exporter
itself). A poll replaces the blocks with its own lines. The next scrape renders and compresses them
and joins them with the cached bytes. Formats: text 0.0.4 and OpenMetrics 1.0.0
(https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from exporter.exposition.blocks import BLOCK_LINES, Block, FamilyPage, Owner, SeriesSet, columns
from exporter.exposition.gzip import Packed, begin, finish, pack
from exporter.ledger.rows import Shown
from exporter.model.samples import Family

EOF = b"# EOF\n"
PART_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything shown at one moment; ``pending`` are series shown at their held value.

    Each format is rendered once, when it is first requested.
    """

    blocks: tuple[Block, ...] = ()
    pending: frozenset[int] = frozenset()
    _plain: dict[bool, list[bytes]] = field(default_factory=dict)
    _packed: dict[bool, Packed] = field(default_factory=dict)

    def plain(self, *, openmetrics: bool) -> list[bytes]:
        """Return all lines, in parts of about a megabyte."""
        found = self._plain.get(openmetrics)
        if found is None:
            found = self._plain[openmetrics] = [
                b"".join([block.plain(openmetrics) for block in self.blocks[at : at + PART_BLOCKS]])
                for at in range(0, len(self.blocks), PART_BLOCKS)
            ]
        return found

    def packed(self, *, openmetrics: bool) -> Packed:
        """Return all lines as the first part of a gzip body."""
        found = self._packed.get(openmetrics)
        if found is None:
            parts = [block.packed(openmetrics=openmetrics) for block in self.blocks]
            found = self._packed[openmetrics] = begin(parts)
        return found


class MetricsPage:
    """The page shown now. Owners put their samples in; ``publish`` swaps the page atomically.

    ``fresh`` returns the lines that change with every scrape (process metrics); True: OpenMetrics.
    """

    def __init__(
        self,
        families: Mapping[str, Family],
        fresh: Callable[[bool], bytes] = lambda _om: b"",
        block_lines: int = BLOCK_LINES,
    ) -> None:
        self._families = families
        self._fresh = fresh
        self._block_lines = block_lines
        self._family_pages: dict[str, FamilyPage] = {}
        self._series_sets: dict[Owner, SeriesSet] = {}
        self._pending: dict[Owner, frozenset[int]] = {}
        self._page = Snapshot()
        self._scraped: set[int] = set()
        self._scraping = threading.Lock()

    def put(self, owner: Owner, shown: Iterable[Shown], pending: Iterable[int] = ()) -> None:
        """Show exactly ``shown`` for ``owner`` from the next ``publish`` on."""
        rows = tuple(shown)
        names, labels, values, created = columns(rows)
        series_set = self._series_sets.get(owner)
        if series_set is None or not series_set.fits(names, labels, created):
            self._clear(owner)
            series_set = self._series_sets[owner] = SeriesSet(rows, self._families)
            for family_slice in series_set.slices:
                self._family_page(family_slice.family).add(owner, family_slice)
        series_set.take(values)
        self._pending.pop(owner, None)
        if waiting := frozenset(pending):
            self._pending[owner] = waiting

    def shown(self, owner: Owner) -> list[Shown]:
        """Return what ``owner`` shows."""
        series_set = self._series_sets.get(owner)
        return [] if series_set is None else list(series_set.shown())

    def remove(self, owner: Owner) -> None:
        """Show nothing of ``owner`` from the next ``publish`` on."""
        self._clear(owner)
        self._pending.pop(owner, None)

    def publish(self) -> None:
        """Show all samples that were put, at once, from the next scrape on."""
        blocks = tuple(
            chain.from_iterable(
                family_page.blocks(self._families[name])
                for name, family_page in sorted(self._family_pages.items())
            )
        )
        page = Snapshot(blocks) if blocks != self._page.blocks else self._page
        self._page = replace(page, pending=frozenset().union(*self._pending.values()))

    def scrape(self, *, openmetrics: bool, gzip: bool) -> list[bytes]:
        """Return the body of one scrape in parts, and record which held values it carried.

        Cached parts are sent as they are: joining megabytes costs more than sending them.
        Called on the server's own thread and never for ``HEAD``; it must not block.
        """
        page = self._page
        last = self._fresh(openmetrics) + (EOF if openmetrics else b"")
        if gzip:
            body = finish(page.packed(openmetrics=openmetrics), pack(last))
        else:
            body = [*page.plain(openmetrics=openmetrics), last]
        with self._scraping:
            self._scraped |= page.pending
        return body

    def scrape_process(self, *, openmetrics: bool, gzip: bool) -> list[bytes]:
        """Return the body of a scrape with nothing but the metrics of the process."""
        body = self._fresh(openmetrics) + (EOF if openmetrics else b"")
        return finish(begin([]), pack(body)) if gzip else [body]

    def scraped_zeros(self) -> frozenset[int]:
        """Return the pending series whose held value a scrape has carried."""
        with self._scraping:
            self._scraped &= frozenset().union(*self._pending.values())
            return frozenset(self._scraped)

    def _clear(self, owner: Owner) -> None:
        series_set = self._series_sets.pop(owner, None)
        for family_slice in series_set.slices if series_set else ():
            self._family_page(family_slice.family).remove(owner)

    def _family_page(self, family: Family) -> FamilyPage:
        found = self._family_pages.get(family.name)
        if found is None:
            found = self._family_pages[family.name] = FamilyPage(self._block_lines)
        return found
