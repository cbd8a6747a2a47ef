"""Lines of the exposition formats, and the blocks of bytes that they are kept in."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from exporter.ledger.rows import Shown
from exporter.packing import Packed, pack
from exporter.samples import Family, Kind

Owner = tuple[str, str]

BLOCK_BYTES = 64 * 1024
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


@dataclass(slots=True)
class Lines:
    """One owner's samples of one family, by label values in order.

    ``labels`` are as they came, ``values`` in order (``order`` is empty where they came in order). ``stems`` are the lines up to their values,
    rendered once for a set of series; ``births`` what OpenMetrics adds to a counter's line.
    """

    labels: list[tuple[str, ...]]
    values: list[float]
    created: list[int | None]
    order: list[int] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    births: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, samples: Sequence[Shown]) -> "Lines":
        """Return the lines of ``samples``, not rendered yet."""
        _, labels, values, created = zip(*samples, strict=True)
        return cls(list(labels), list(map(float, values)), list(created))

    def adopt(self, older: "Lines | None", family: Family) -> None:
        """Take the stems of ``older`` where the series are the same, else render them."""
        if older and (older.labels, older.created) == (self.labels, self.created):
            self.labels, self.created = older.labels, older.created
            self.order, self.stems, self.births = older.order, older.stems, older.births
        else:
            self._render(family)
        if self.order:
            self.values = [self.values[i] for i in self.order]

    def _render(self, family: Family) -> None:
        order = sorted(range(len(self.labels)), key=self.labels.__getitem__)
        pairs = [render_labels(family.labels, self.labels[i]) for i in order]
        self.stems = [f"{family.name}{labels} " for labels in pairs]
        if family.kind is Kind.COUNTER:
            stem = openmetrics_name(family)
            self.births = [
                "" if at_ms is None else f"{stem}_created{labels} {at_ms / 1000:.3f}\n"
                for labels, at_ms in zip(pairs, [self.created[i] for i in order], strict=True)
            ]
        self.order = [] if order == list(range(len(order))) else order

    def text(self) -> str:
        """Return the lines in text format 0.0.4."""
        numbers = render_values(self.values)
        return "".join([f"{s}{n}\n" for s, n in zip(self.stems, numbers, strict=True)])

    def openmetrics(self) -> str:
        """Return the lines in OpenMetrics: counters say when they were created."""
        if not self.births:
            return self.text()
        rows = zip(self.stems, render_values(self.values), self.births, strict=True)
        return "".join([f"{s}{n}\n{birth}" for s, n, birth in rows])


@dataclass(slots=True)
class Block:
    """Some owners' lines of one family, immutable; each form is made when it is first needed."""

    family: Family
    lines: tuple[Lines, ...]
    first: bool
    _packed: dict[bool, Packed] = field(default_factory=dict)

    def plain(self, *, openmetrics: bool) -> bytes:
        """Return the block's lines; the first block of a family begins with HELP and TYPE."""
        if openmetrics:
            head = header(self.family, openmetrics_name(self.family))
            body = "".join([lines.openmetrics() for lines in self.lines])
        else:
            head = header(self.family, self.family.name)
            body = "".join([lines.text() for lines in self.lines])
        return ((head if self.first else "") + body).encode()

    def packed(self, *, openmetrics: bool) -> Packed:
        """Return the block's lines deflated; kept, since this is what scrapers ask for."""
        found = self._packed.get(openmetrics)
        if found is None:
            found = self._packed[openmetrics] = pack(self.plain(openmetrics=openmetrics))
        return found


class Shelf:
    """All lines of one family, spread by target over blocks of about 64 KiB."""

    def __init__(self, family: Family, block_bytes: int = BLOCK_BYTES) -> None:
        self._family = family
        self._block_bytes = block_bytes
        self._owners: dict[Owner, Lines] = {}
        self._spread = 1
        self._blocks: dict[int, Block] = {}
        self._dirty: set[int] = set()

    def put(self, owner: Owner, lines: Lines) -> None:
        """Show ``lines`` for ``owner``."""
        older = self._owners.get(owner)
        lines.adopt(older, self._family)
        if older and older.stems is lines.stems and older.values == lines.values:
            return
        self._owners[owner] = lines
        self._dirty.add(self._place(owner))

    def remove(self, owner: Owner) -> None:
        """Show nothing of ``owner``."""
        self._dirty.add(self._place(owner))
        del self._owners[owner]

    def blocks(self) -> list[Block]:
        """Return the blocks in order, those rebuilt that changed."""
        if self._dirty:
            self._respread()
            self._rebuild()
        return [block for _, block in sorted(self._blocks.items())]

    def _place(self, owner: Owner) -> int:
        return zlib.crc32(owner[0].encode()) % self._spread

    def _respread(self) -> None:
        """Use more blocks as the family grows; never fewer, so that bytes are seldom moved."""
        number = sum(len(lines.stems) for lines in self._owners.values())
        sample = next((lines.stems[0] for lines in self._owners.values() if lines.stems), "")
        wanted = number * (len(sample) + 8) // self._block_bytes + 1
        if wanted > 2 * self._spread or (self._spread == 1 and wanted > 1):
            self._spread = wanted
            self._blocks.clear()
            self._dirty = set(range(wanted))

    def _rebuild(self) -> None:
        changed: dict[int, list[Owner]] = {place: [] for place in self._dirty}
        for owner in self._owners:
            place = self._place(owner)
            if place in changed:
                changed[place].append(owner)
        had_first = min(self._blocks, default=None)
        for place, owners in changed.items():
            self._blocks.pop(place, None)
            if owners:
                lines = tuple(self._owners[owner] for owner in sorted(owners))
                self._blocks[place] = Block(self._family, lines, first=False)
        self._dirty.clear()
        self._move_header(had_first)

    def _move_header(self, had_first: int | None) -> None:
        """Let the first block, and no other, begin with HELP and TYPE."""
        now_first = min(self._blocks, default=None)
        for place in {had_first, now_first} - {None}:
            block = self._blocks.get(place) if place is not None else None
            if block is not None and place is not None and block.first != (place == now_first):
                self._blocks[place] = Block(self._family, block.lines, first=place == now_first)


def openmetrics_name(family: Family) -> str:
    """Return the family's name in OpenMetrics metadata, where counters drop ``_total``."""
    return family.name.removesuffix("_total") if family.kind is Kind.COUNTER else family.name


def header(family: Family, name: str) -> str:
    """Return the HELP and TYPE lines of ``family`` under ``name``."""
    help_ = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {help_}\n# TYPE {name} {family.kind}\n"


def render_labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return ``{name="value",…}`` with values escaped; nothing where there are no labels."""
    if not names:
        return ""
    pairs = zip(names, values, strict=True)
    return "{" + ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs]) + "}"


def render_values(values: list[float]) -> list[int] | list[float] | list[str]:
    """Return ``values`` as they are to be printed, whole numbers without a fraction."""
    if all(map(float.is_integer, values)):
        return list(map(int, values))
    return [str(int(v)) if v.is_integer() else repr(v) for v in values]
