"""Rendering: what queries show becomes stored bytes, rewritten only where something changed.

A family is one segment: its HELP and TYPE, then one chunk of lines from each owner (a query, or
the exporter itself) in a fixed order. A poll rewrites its own chunks; a scrape joins segments.
Formats: text 0.0.4 and OpenMetrics 1.0.0 (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

import gzip
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from exporter.ledger.rows import Shown
from exporter.samples import Family, Kind

Owner = tuple[str, str]
GZIP_LEVEL = 1
EOF = b"# EOF\n"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


@dataclass(frozen=True, slots=True)
class Chunk:
    """One owner's lines of one family, in both formats."""

    text: bytes
    openmetrics: bytes


@dataclass(slots=True)
class Segment:
    """One family in one format; compressed once, when first asked for.

    Compressed segments are gzip members of their own: joined, they are one valid gzip body
    (RFC 1952, section 2.2).
    """

    plain: bytes
    _packed: bytes | None = None

    @property
    def packed(self) -> bytes:
        """Return the segment as a gzip member."""
        if self._packed is None:
            self._packed = gzip.compress(self.plain, GZIP_LEVEL, mtime=0)
        return self._packed


@dataclass(frozen=True, slots=True)
class Page:
    """Everything shown at one moment; ``pending`` are series shown at their held value."""

    text: tuple[Segment, ...] = ()
    openmetrics: tuple[Segment, ...] = ()
    pending: frozenset[int] = frozenset()
    bodies: dict[tuple[bool, bool], bytes] = field(default_factory=dict)

    def body(self, *, openmetrics: bool, packed: bool) -> bytes:
        """Return all segments in one piece, joined once for each format."""
        stored = self.bodies.get((openmetrics, packed))
        if stored is None:
            segments = self.openmetrics if openmetrics else self.text
            stored = b"".join(s.packed if packed else s.plain for s in segments)
            self.bodies[openmetrics, packed] = stored
        return stored


class Board:
    """What is shown now. Owners put their samples in; ``publish`` swaps the page atomically."""

    def __init__(
        self, families: Mapping[str, Family], fresh: Callable[[bool], bytes] = lambda _om: b""
    ) -> None:
        self._families = families
        self._fresh = fresh
        self._chunks: dict[str, dict[Owner, Chunk]] = {}
        self._pending: dict[Owner, frozenset[int]] = {}
        self._segments: dict[str, tuple[Segment, Segment]] = {}
        self._dirty: set[str] = set()
        self._page = Page()
        self._carried: set[int] = set()
        self._carrying = threading.Lock()

    def put(self, owner: Owner, shown: Iterable[Shown], pending: Iterable[int] = ()) -> None:
        """Show exactly ``shown`` for ``owner`` from the next ``publish`` on."""
        by_family: dict[str, list[Shown]] = {}
        for sample in shown:
            by_family.setdefault(sample.family, []).append(sample)
        held = {name for name, chunks in self._chunks.items() if owner in chunks}
        for name in held | by_family.keys():
            self._put_chunk(owner, name, by_family.get(name, []))
        self._pending[owner] = frozenset(pending)

    def remove(self, owner: Owner) -> None:
        """Show nothing of ``owner`` any more."""
        self.put(owner, ())
        del self._pending[owner]

    def publish(self) -> None:
        """Make what was put the page that scrapes see."""
        for name in self._dirty:
            self._render(name)
        self._dirty.clear()
        names = sorted(self._segments)
        self._page = Page(
            text=tuple(self._segments[name][0] for name in names),
            openmetrics=tuple(self._segments[name][1] for name in names),
            pending=frozenset().union(*self._pending.values()),
        )

    def scrape(self, *, openmetrics: bool, gzip: bool) -> bytes:
        """Return the body of one scrape, and note which held values it carried."""
        page = self._page
        body = page.body(openmetrics=openmetrics, packed=gzip)
        last = Segment(self._fresh(openmetrics) + (EOF if openmetrics else b""))
        if page.pending:
            with self._carrying:
                self._carried |= page.pending
        return body + (last.packed if gzip else last.plain)

    def carried(self) -> frozenset[int]:
        """Return the series whose held value some scrape has carried."""
        with self._carrying:
            self._carried &= frozenset().union(*self._pending.values())
            return frozenset(self._carried)

    def _put_chunk(self, owner: Owner, name: str, samples: list[Shown]) -> None:
        chunks = self._chunks.setdefault(name, {})
        if not samples:
            chunks.pop(owner, None)
            self._dirty.add(name)
            return
        chunk = render_chunk(self._families[name], samples)
        if chunks.get(owner) != chunk:
            chunks[owner] = chunk
            self._dirty.add(name)

    def _render(self, name: str) -> None:
        chunks = [chunk for _, chunk in sorted(self._chunks[name].items())]
        if not chunks:
            del self._chunks[name]
            self._segments.pop(name, None)
            return
        family = self._families[name]
        self._segments[name] = (
            Segment(header(family, family.name) + b"".join(chunk.text for chunk in chunks)),
            Segment(
                header(family, openmetrics_name(family))
                + b"".join(chunk.openmetrics for chunk in chunks)
            ),
        )


def openmetrics_name(family: Family) -> str:
    """Return the family's name in OpenMetrics metadata, where counters drop ``_total``."""
    return family.name.removesuffix("_total") if family.kind is Kind.COUNTER else family.name


def header(family: Family, name: str) -> bytes:
    """Return the HELP and TYPE lines of ``family`` under ``name``."""
    help_ = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {help_}\n# TYPE {name} {family.kind}\n".encode()


def render_chunk(family: Family, samples: list[Shown]) -> Chunk:
    """Return the lines of ``samples``, by label values in order."""
    text: list[str] = []
    openmetrics: list[str] = []
    stem = openmetrics_name(family)
    for sample in sorted(samples, key=lambda shown: shown.labels):
        labels = render_labels(family.labels, sample.labels)
        line = f"{family.name}{labels} {render_value(sample.value)}\n"
        text.append(line)
        openmetrics.append(line)
        if family.kind is Kind.COUNTER and sample.created_ms is not None:
            openmetrics.append(f"{stem}_created{labels} {sample.created_ms / 1000:.3f}\n")
    return Chunk("".join(text).encode(), "".join(openmetrics).encode())


def render_labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return ``{name="value",…}`` with values escaped; nothing where there are no labels."""
    if not names:
        return ""
    pairs = zip(names, values, strict=True)
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs) + "}"


def render_value(value: float) -> str:
    """Return ``value`` as Prometheus reads it, whole numbers without a fraction."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
