"""Lines of the exposition formats, and the cached blocks of bytes that hold them."""

import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from typing import TypeVar

import msgspec

from exporter.exposition.gzip import Packed, pack
from exporter.format import ESCAPES, label_pattern, number
from exporter.ledger.rows import Shown
from exporter.model.samples import SECOND_MS, Family, MetricType

T = TypeVar("T")
Owner = tuple[str, str]
Labels = tuple[str, ...]

SIZE = 8
"""Bytes of a packed number."""

BLOCK_LINES = 400
"""About 64 KiB, rendered and compressed again when one line changes."""

_IN_TEMPLATES = ESCAPES | {ord("%"): "%%"}
_decode = msgspec.msgpack.Decoder(tuple[list[Labels], list[int | None]]).decode


class SeriesSet:
    """The series that an owner shows; ``slices`` has their lines, sorted by family and labels.

    Labels and creation times are kept encoded in their original order, in a tenth of the memory.
    """

    __slots__ = ("_names", "_numbers", "_order", "_series", "slices")

    def __init__(self, shown: Sequence[Shown], families: Mapping[str, Family]) -> None:
        names, labels, _, created = columns(shown)
        order = sorted(range(len(shown)), key=[*zip(names, labels, strict=True)].__getitem__)
        self._order = None if order == list(range(len(order))) else array("I", order)
        self._names = tuple(map(sys.intern, names))
        self._numbers = struct.Struct(f"{len(shown)}d")
        self._series = msgspec.msgpack.encode((labels, created))
        self.slices: list[FamilySlice] = []
        for name, same in groupby(self._ordered(names)):
            start = self.slices[-1].stop if self.slices else 0
            stop = start + len(list(same))
            self.slices.append(FamilySlice(self, families[name], start, stop))

    def fits(
        self, names: tuple[str, ...], labels: Sequence[Labels], created: Sequence[int | None]
    ) -> bool:
        """Return whether these are exactly the same series, in the same order as at first."""
        return names == self._names and msgspec.msgpack.encode((labels, created)) == self._series

    def take(self, values: Sequence[float]) -> None:
        """Set the ``values`` of all lines, given in the original order of the series."""
        packed = self._numbers.pack(*self._ordered(values))
        whole = all(map(float.is_integer, self._numbers.unpack(packed)))
        for family_slice in self.slices:
            here = packed[SIZE * family_slice.start : SIZE * family_slice.stop]
            if family_slice.values != here:
                family_slice.values, family_slice.whole = here, whole
                family_slice.shard.stale = True

    def render(self, *, openmetrics: bool) -> None:
        """Render the template of every family's lines."""
        encoded = _decode(self._series)
        labels, created = self._ordered(encoded[0]), self._ordered(encoded[1])
        for family_slice in self.slices:
            here = slice(family_slice.start, family_slice.stop)
            born = created[here] if openmetrics else ()
            family_slice.templates[openmetrics] = _template(family_slice.family, labels[here], born)

    def shown(self) -> Iterator[Shown]:
        """Yield the samples in the order of the lines."""
        encoded = _decode(self._series)
        labels, created = self._ordered(encoded[0]), self._ordered(encoded[1])
        for family_slice in self.slices:
            values = memoryview(family_slice.values).cast("d")
            for at, value in enumerate(values, start=family_slice.start):
                yield Shown(family_slice.family.name, labels[at], value, created[at])

    def _ordered(self, column: Sequence[T]) -> Sequence[T]:
        return column if self._order is None else [column[i] for i in self._order]


class FamilySlice:
    """The lines of one family in a set of series, from ``start`` up to ``stop``.

    ``templates`` has these lines by format, with ``%d`` for the values; None until a format is
    first requested. ``values`` are packed, eight bytes each; ``whole``: no value of the set has a
    fraction.
    """

    __slots__ = ("_series_set", "family", "shard", "start", "stop", "templates", "values", "whole")

    def __init__(self, series_set: SeriesSet, family: Family, start: int, stop: int) -> None:
        self._series_set = series_set
        self.family = family
        self.shard = Shard()
        self.start = start
        self.stop = stop
        self.templates: list[bytes | None] = [None, None]
        self.values = b""
        self.whole = True

    def template(self, *, openmetrics: bool) -> bytes:
        """Return the template; if it is missing, render those of the whole set."""
        if self.templates[openmetrics] is None:
            self._series_set.render(openmetrics=openmetrics)
        return self.templates[openmetrics] or b""


@dataclass(slots=True, eq=False)
class Block:
    """Some lines of one family, immutable; ``plain`` renders them (True: as OpenMetrics)."""

    plain: Callable[[bool], bytes]
    _packed: dict[bool, Packed] = field(default_factory=dict)

    def packed(self, *, openmetrics: bool) -> Packed:
        """Return the block deflated; cached, because this is what scrapers request."""
        found = self._packed.get(openmetrics)
        if found is None:
            found = self._packed[openmetrics] = pack(self.plain(openmetrics))
        return found


class Shard:
    """The lines of some owners; ``stale`` when ``block`` no longer matches them."""

    __slots__ = ("_order", "block", "slices", "stale")

    def __init__(self) -> None:
        self.slices: dict[Owner, FamilySlice] = {}
        self.block: Block | None = None
        self.stale = False
        self._order: list[FamilySlice] = []

    def put(self, owner: Owner, family_slice: FamilySlice) -> None:
        """Show these lines from now on."""
        self.slices[owner] = family_slice
        family_slice.shard = self
        self.stale = True
        self._order = []

    def remove(self, owner: Owner) -> FamilySlice:
        """Remove the lines of ``owner`` and return them."""
        self.stale = True
        self._order = []
        return self.slices.pop(owner)

    def refresh(self) -> None:
        """Rebuild the block if it is stale."""
        if self.stale:
            self.stale = False
            slices = self._order = self._order or [
                family_slice for _, family_slice in sorted(self.slices.items())
            ]
            values = [family_slice.values for family_slice in slices]
            whole = all(family_slice.whole for family_slice in slices)
            self.block = Block(partial(_filled, slices, values, whole)) if slices else None


class FamilyPage:
    """All lines of one family, spread over blocks by target; the first block is HELP and TYPE."""

    def __init__(self, block_lines: int = BLOCK_LINES) -> None:
        self._family: Family | None = None
        self._block_lines = block_lines
        self._number = 0
        self._shards = [Shard()]

    def add(self, owner: Owner, family_slice: FamilySlice) -> None:
        """Show ``family_slice`` for ``owner``, which must not show anything here yet."""
        self._number += family_slice.stop - family_slice.start
        self._shard(owner).put(owner, family_slice)

    def remove(self, owner: Owner) -> None:
        """Show nothing of ``owner``."""
        family_slice = self._shard(owner).remove(owner)
        self._number -= family_slice.stop - family_slice.start

    def blocks(self, family: Family) -> list[Block]:
        """Return the blocks in order, rebuilding stale ones; none if there are no lines.

        ``family`` may have another help text than before, since a reload replaces own families.
        """
        if family != self._family:
            self._family, self._head = family, Block(partial(header, family))
        self._redistribute()
        for shard in self._shards:
            shard.refresh()
        blocks = [shard.block for shard in self._shards if shard.block is not None]
        return [self._head, *blocks] if blocks else []

    def _shard(self, owner: Owner) -> Shard:
        return self._shards[zlib.crc32(owner[0].encode()) % len(self._shards)]

    def _redistribute(self) -> None:
        """Use more blocks as the family grows, but never fewer, so that lines rarely move."""
        wanted = self._number // self._block_lines + 1
        if wanted > 2 * len(self._shards) or (len(self._shards) == 1 and wanted > 1):
            before, self._shards = self._shards, [Shard() for _ in range(wanted)]
            for owner, family_slice in chain.from_iterable(
                shard.slices.items() for shard in before
            ):
                self._shard(owner).put(owner, family_slice)


def columns(
    shown: Sequence[Shown],
) -> tuple[tuple[str, ...], tuple[Labels, ...], tuple[float, ...], tuple[int | None, ...]]:
    """Return the names, labels, values and creation times of ``shown`` as columns."""
    names, labels, values, created = zip(*shown, strict=True) if shown else ((), (), (), ())
    return names, labels, values, created


def openmetrics_name(family: Family) -> str:
    """Return the family's name in OpenMetrics metadata, where counters drop ``_total``."""
    return family.name.removesuffix("_total") if family.kind is MetricType.COUNTER else family.name


def header(family: Family, openmetrics: bool) -> bytes:  # noqa: FBT001 - a renderer's argument
    """Return the HELP and TYPE lines of ``family``."""
    name = openmetrics_name(family) if openmetrics else family.name
    help_ = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {help_}\n# TYPE {name} {family.kind}\n".encode()


def _template(family: Family, labels: Sequence[Labels], created: Sequence[int | None]) -> bytes:
    """Return the lines of one family; ``created`` adds the ``_created`` lines of counters."""
    everything = "".join(chain.from_iterable(labels))
    if any(mark in everything for mark in '\\\n"%'):
        labels = [tuple([value.translate(_IN_TEMPLATES) for value in each]) for each in labels]
    pairs = label_pattern(family.labels)
    line = f"{family.name}{pairs} %%d\n"
    if family.kind is not MetricType.COUNTER or not created:
        return "".join([line % each for each in labels]).encode()
    birth = f"{openmetrics_name(family)}_created{pairs} "
    return "".join(
        [
            line % each + ("" if at_ms is None else f"{birth % each}{at_ms / SECOND_MS:.3f}\n")
            for each, at_ms in zip(labels, created, strict=True)
        ]
    ).encode()


def _filled(
    slices: Sequence[FamilySlice],
    values: Sequence[bytes],
    whole: bool,  # noqa: FBT001 - what a block keeps
    openmetrics: bool,  # noqa: FBT001 - as ``Block`` calls it
) -> bytes:
    template = b"".join(
        [
            family_slice.templates[openmetrics] or family_slice.template(openmetrics=openmetrics)
            for family_slice in slices
        ]
    )
    numbers = memoryview(b"".join(values)).cast("d").tolist()
    if whole:
        return template % tuple(map(float.__trunc__, numbers))
    return template.replace(b" %d\n", b" %b\n") % tuple(
        [number(value).encode() for value in numbers]
    )
