"""What a benchmark found: figures of several rounds, goals, and the table of both."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Rounds = Sequence[float]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: our figure of each round, the peer's of the same rounds, a goal.

    ``least_ratio`` is how many times less than the peer's ours must be, ``most`` and ``least`` are
    bounds of our own figure, of which ``more`` says that more is better. ``extra`` are other
    figures of the same rounds (wall time, ranges).
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
    note: str = ""

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
        checks: list[tuple[float | None, Callable[[float], bool]]] = [
            (self.most, lambda bound: statistics.median(self.ours) <= bound),
            (self.least, lambda bound: statistics.median(self.ours) >= bound),
            (self.least_ratio, lambda bound: (self.ratio or 0) >= bound),
        ]
        asked = [check(bound) for bound, check in checks if bound is not None]
        missing = self.least_ratio is not None and not self.theirs
        return all(asked) if asked and not missing else None

    @property
    def goal(self) -> str:
        """Return the goal in words."""
        words = [(self.most, "≤ {:g} " + self.unit), (self.least, "≥ {:g} " + self.unit)]
        words.append((self.least_ratio, "≥ {:g} times less"))
        return ", ".join(word.format(bound) for bound, word in words if bound is not None) or "-"


def extra(found: Mapping[str, float]) -> Mapping[str, Rounds]:
    """Return all of a measurement's values as those of one round."""
    return {name: [value] for name, value in found.items()}


def as_table(rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| what | goal | ours | peer | times better | |", "|---|---|---|---|---|---|"]
    for row in rows:
        theirs = f"{row.peer}: {spread(row.theirs)} {row.unit}" if row.theirs else "-"
        ratio = "-" if row.ratio is None else f"{row.ratio:,.1f}"
        verdict = {True: "met", False: "**missed**", None: ""}[row.met]
        ours = f"{spread(row.ours)} {row.unit}"
        lines.append(f"| {row.what} | {row.goal} | {ours} | {theirs} | {ratio} | {verdict} |")
    return "\n".join(lines)


def as_document(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return what JSON keeps of the rows."""
    return [asdict(row) | {"ratio": row.ratio, "met": row.met, "goal": row.goal} for row in rows]


def spread(figures: Rounds) -> str:
    """Return the median, and the range where there was more than one round."""
    median = _short(statistics.median(figures))
    if len(figures) == 1:
        return median
    return f"{median} [{_short(min(figures))}-{_short(max(figures))}]"


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
