"""What a benchmark found: values of several rounds, goals, and the table of both."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Rounds = Sequence[float]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: our value of each round, the peer's of the same rounds, one goal.

    ``least_ratio`` is how many times less than the peer's ours must be, ``most`` and ``least`` are
    bounds of our own median; ``more`` says that more is better. ``extra`` are other values of the
    same rounds.
    """

    what: str
    unit: str
    ours: Rounds
    peer: str = ""
    theirs: Rounds = ()
    least_ratio: float | None = None
    most: float | None = None
    least: float | None = None
    more: bool = False
    extra: Mapping[str, Rounds] = field(default_factory=dict)

    def unjudged(self) -> "Row":
        """Return the row without its goal, which is set for another size."""
        return replace(self, least_ratio=None, most=None, least=None)

    @property
    def ratio(self) -> float | None:
        """Return the median of how many times better ours was in a round; None without a peer."""
        pairs = list(zip(self.theirs, self.ours, strict=False))
        if self.more:
            pairs = [(ours, theirs) for theirs, ours in pairs]
        return statistics.median(worse / better for worse, better in pairs) if pairs else None

    @property
    def met(self) -> bool | None:
        """Say whether the goal is met; None where there is none, or the peer is missing."""
        if self.least_ratio is not None:
            return None if self.ratio is None else self.ratio >= self.least_ratio
        median = statistics.median(self.ours)
        if self.most is not None:
            return median <= self.most
        return None if self.least is None else median >= self.least

    @property
    def goal(self) -> str:
        words = [(self.most, "≤ {:g} " + self.unit), (self.least, "≥ {:g} " + self.unit)]
        words.append((self.least_ratio, "≥ {:g} times less"))
        return next((word.format(bound) for bound, word in words if bound is not None), "-")


def judged(found: Mapping[str, float], *lines: tuple[str, str, str, float]) -> Iterator[Row]:
    """Yield a row for each of ``lines``: a value's name, words, unit and upper bound."""
    extra = {name: [value] for name, value in found.items()}
    for name, words, unit, most in lines:
        yield Row(words, unit, [found[name]], most=most, extra=extra)


def as_table(rows: Iterable[Row]) -> str:
    lines = ["| what | goal | ours | peer | times better | |", "|---|---|---|---|---|---|"]
    for row in rows:
        theirs = f"{row.peer}: {spread(row.theirs)} {row.unit}" if row.theirs else "-"
        ratio = "-" if row.ratio is None else f"{row.ratio:,.1f}"
        verdict = {True: "met", False: "**missed**", None: ""}[row.met]
        ours = f"{spread(row.ours)} {row.unit}"
        lines.append(f"| {row.what} | {row.goal} | {ours} | {theirs} | {ratio} | {verdict} |")
    return "\n".join(lines)


def as_document(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [asdict(row) | {"ratio": row.ratio, "met": row.met, "goal": row.goal} for row in rows]


def spread(values: Rounds) -> str:
    """Return the median, and the range where there was more than one round."""
    median = _short(statistics.median(values))
    if len(values) == 1:
        return median
    return f"{median} [{_short(min(values))}-{_short(max(values))}]"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread_ms(times: Sequence[float]) -> dict[str, float]:
    """Return percentiles of milliseconds by name."""
    ordered = sorted(times)
    p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    return {"p50_ms": p50, "p99_ms": p99, "longest_ms": ordered[-1]}
