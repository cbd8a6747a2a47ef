"""Rendering: what queries show becomes stored bytes, rewritten only where something changed.

A family is a row of blocks; a block holds the lines of some owners (a query, or the exporter
itself), rendered and compressed once. A poll rewrites the blocks of its own lines; a scrape joins
stored bytes. Formats: text 0.0.4 and OpenMetrics 1.0.0
(https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter

from exporter.ledger.rows import Shown
from exporter.lines import BLOCK_BYTES, Block, Lines, Owner, Shelf
from exporter.packing import Packed, close, join, pack
from exporter.samples import Family

EOF = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class Page:
    """Everything shown at one moment; ``pending`` are series shown at their held value.

    Each form is put together once, when it is first asked for.
    """

    blocks: tuple[Block, ...] = ()
    pending: frozenset[int] = frozenset()
    _plain: dict[bool, bytes] = field(default_factory=dict)
    _packed: dict[bool, Packed] = field(default_factory=dict)

    def plain(self, *, openmetrics: bool) -> bytes:
        """Return all lines."""
        found = self._plain.get(openmetrics)
        if found is None:
            parts = [block.plain(openmetrics=openmetrics) for block in self.blocks]
            found = self._plain[openmetrics] = b"".join(parts)
        return found

    def packed(self, *, openmetrics: bool) -> Packed:
        """Return all lines, deflated."""
        found = self._packed.get(openmetrics)
        if found is None:
            parts = [block.packed(openmetrics=openmetrics) for block in self.blocks]
            found = self._packed[openmetrics] = join(parts)
        return found


class Board:
    """What is shown now. Owners put their samples in; ``publish`` swaps the page atomically.

    ``fresh`` gives what is new at every scrape (the process's own metrics), by format.
    """

    def __init__(
        self,
        families: Mapping[str, Family],
        fresh: Callable[[bool], bytes] = lambda _om: b"",
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._families = families
        self._fresh = fresh
        self._block_bytes = block_bytes
        self._shelves: dict[str, Shelf] = {}
        self._held: dict[Owner, set[str]] = {}
        self._pending: dict[Owner, frozenset[int]] = {}
        self._page = Page()
        self._asked: set[bool] = set()
        self._carried: set[int] = set()
        self._carrying = threading.Lock()

    def put(self, owner: Owner, shown: Iterable[Shown], pending: Iterable[int] = ()) -> None:
        """Show exactly ``shown`` for ``owner`` from the next ``publish`` on."""
        by_family: dict[str, list[Shown]] = {}
        for name, samples in groupby(shown, itemgetter(0)):
            by_family.setdefault(name, []).extend(samples)
        for name in self._held.get(owner, set()) - by_family.keys():
            self._shelves[name].remove(owner)
        for name, rows in by_family.items():
            shelf = self._shelves.get(name)
            if shelf is None:
                shelf = self._shelves[name] = Shelf(self._families[name], self._block_bytes)
            shelf.put(owner, Lines.of(rows))
        self._held[owner] = set(by_family)
        self._pending[owner] = frozenset(pending)

    def remove(self, owner: Owner) -> None:
        """Show nothing of ``owner`` any more."""
        self.put(owner, ())
        del self._pending[owner], self._held[owner]

    def publish(self) -> None:
        """Make what was put the page that scrapes see, compressed as it was asked for."""
        shelves = (shelf for _, shelf in sorted(self._shelves.items()))
        blocks = tuple(chain.from_iterable(shelf.blocks() for shelf in shelves))
        for openmetrics in list(self._asked):
            for block in blocks:
                block.packed(openmetrics=openmetrics)
        self._page = Page(blocks, frozenset().union(*self._pending.values()))

    def scrape(self, *, openmetrics: bool, gzip: bool) -> bytes:
        """Return the body of one scrape, and note which held values it carried."""
        page = self._page
        last = self._fresh(openmetrics) + (EOF if openmetrics else b"")
        if gzip:
            self._asked.add(openmetrics)
            body = close(join([page.packed(openmetrics=openmetrics), pack(last)]))
        else:
            body = page.plain(openmetrics=openmetrics) + last
        with self._carrying:
            self._carried |= page.pending
        return body

    def carried(self) -> frozenset[int]:
        """Return the series whose held value some scrape has carried."""
        with self._carrying:
            self._carried &= frozenset().union(*self._pending.values())
            return frozenset(self._carried)
