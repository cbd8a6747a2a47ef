"""Values as text: numbers and labels for samples, instants and durations for people."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

NEVER = "never"
DAY, MINUTE, SECOND = "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S UTC"
ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
"""How the exposition formats escape label values."""
_CONTROLS = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if chr(n) not in "\t\n"}
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_PRECISE_S = 10


def span(seconds: float) -> str:
    """Return ``seconds`` in the two largest units that matter: ``45 s``, ``2 h 5 min``."""
    left = abs(seconds)
    if round(left, 3) < 1:
        return f"{left * 1000:.0f} ms"
    if round(left, 1) < _PRECISE_S:
        return f"{left:.1f} s"
    left, parts = round(left), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:.0f} {unit}")
    return " ".join(parts[:2])


def age(at_ms: int | None, now_ms: int) -> str:
    """Return how far ``at_ms`` is from ``now_ms``: ``5 min ago``, ``in 20 s``, ``never``."""
    if at_ms is None:
        return NEVER
    seconds = (now_ms - at_ms) // 1000
    if seconds == 0:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(seconds)}"


def stamp(at_ms: int | None, precision: str = SECOND) -> str:
    """Return the instant in UTC; empty if there is none."""
    if at_ms is None:
        return ""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime(precision)


def exact_sum(values: Iterable[float]) -> float:
    """Return the decimal sum of numbers as they are written: 0.1 and 0.2 add up to 0.3."""
    return float(sum(Decimal(str(value)) for value in values))


def number(value: float) -> str:
    """Return ``value`` as a sample line shows it; whole numbers have no fraction."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``number`` with its noun: ``1 call``, ``2 calls``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def render_labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return ``{name="value",…}`` with values escaped; empty if there are no labels."""
    return label_pattern(names) % tuple([value.translate(ESCAPES) for value in values])


def label_pattern(names: tuple[str, ...]) -> str:
    """Return ``{name="%s",…}``, to be filled with escaped values; empty if there are no labels."""
    return "{" + ",".join([f'{name}="%s"' for name in names]) + "}" if names else ""


def printable(text: str) -> str:
    """Return ``text`` for a terminal, without control characters, which could command it."""
    return text.translate(_CONTROLS)


def columns(rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Yield ``rows`` as lines of a table; columns after the first ``left`` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        pairs = enumerate(zip(row, widths, strict=True))
        cells = [text.ljust(width) if n < left else text.rjust(width) for n, (text, width) in pairs]
        yield "  ".join(cells).rstrip()
