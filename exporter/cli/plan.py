"""``plan``: previews API usage."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from exporter.cli.settings import DEFAULT_FILE, read_settings, targets_of
from exporter.format import span
from exporter.model.query import QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS
from exporter.providers.base.plugin import Target

UNKNOWN = "unknown"
MILLISECONDS = 1000
MOST_ROWS = 3


@dataclass(frozen=True, slots=True)
class PlannedQuery:
    """What one query takes. ``calls`` of a poll is the least; ``rows`` is None where unknown.

    ``pages`` is how many rows a page holds, where there are pages.
    """

    target: str
    query: str
    every_ms: int
    calls: int
    rows: int | None
    pages: int | None

    @property
    def more(self) -> str:
        """Return ``+`` where more rows than a page holds take more calls."""
        return "+" if self.pages and (self.rows is None or self.rows > self.pages) else ""

    @property
    def per_hour(self) -> float:
        """Return the least number of calls per hour."""
        return self.calls * HOUR_MS / self.every_ms

    @property
    def per_day(self) -> float:
        """Return the least number of calls per day."""
        return self.calls * DAY_MS / self.every_ms


@click.command("plan", short_help="Preview API usage.")
@click.argument("file", default=DEFAULT_FILE)
def command(file: str) -> None:
    """Preview the API usage of FILE (default: exporter.yaml); calls no provider.

    Shows calls per target and query, per hour and day, rows where they can be known, known
    limits, and what the first start costs.
    """
    click.echo("\n".join(_text(targets_of(read_settings(file)))))


def lines_of(target: Target, sharing: Counter[str]) -> list[PlannedQuery]:
    """Return a line for each query of ``target``; targets of one account take turns.

    ``sharing`` is how many queries spend from each budget.
    """
    return [_line(query.spec, sharing) for query in target.queries]


def _line(spec: QuerySpec, sharing: Counter[str]) -> PlannedQuery:
    every_ms = spec.interval_ms
    if spec.budget is not None:
        turn_ms = (spec.budget.period_ms + spec.budget.margin_ms) * sharing[spec.budget.name]
        every_ms = max(every_ms + spec.budget.margin_ms, turn_ms)
    return PlannedQuery(
        target=spec.target,
        query=spec.name,
        every_ms=every_ms,
        calls=spec.cost.calls * _stretches(spec),
        rows=_rows(spec),
        pages=spec.cost.page_rows,
    )


def _stretches(spec: QuerySpec) -> int:
    """Return in how many parts a poll reads its lookback and the bucket that is open."""
    if spec.stream or spec.span_ms is None:
        return 1
    return max(1, math.ceil((spec.lookback_ms + spec.granularity_ms) / spec.span_ms))


def _rows(spec: QuerySpec) -> int | None:
    cost = spec.cost
    if cost.rows is None or cost.listed or not spec.granularity_ms:
        return cost.rows
    return cost.rows * (math.ceil(spec.lookback_ms / spec.granularity_ms) + 1)


def budgets(targets: Sequence[Target]) -> Counter[str]:
    """Return how many queries spend from each call budget, by its name."""
    return Counter(
        query.spec.budget.name
        for target in targets
        for query in target.queries
        if query.spec.budget is not None
    )


def _text(targets: Sequence[Target]) -> Iterator[str]:
    sharing = budgets(targets)
    plan = {target.name: lines_of(target, sharing) for target in targets}
    yield from _table([line for lines in plan.values() for line in lines])
    yield ""
    for target in targets:
        yield from _about(target, plan[target.name], sharing)
    yield ""
    yield from _first_start(targets, plan)


def _table(lines: Sequence[PlannedQuery]) -> Iterator[str]:
    rows = [("TARGET", "QUERY", "EVERY", "CALLS/POLL", "CALLS/HOUR", "CALLS/DAY", "ROWS/POLL")]
    rows += [_cells(line) for line in lines]
    hour, day = sum(line.per_hour for line in lines), sum(line.per_day for line in lines)
    more = max((line.more for line in lines), default="")
    rows.append(("all", "", "", "", _number(hour) + more, _number(day) + more, ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        left = [text.ljust(width) for text, width in zip(row[:3], widths, strict=False)]
        right = [text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True)]
        yield "  ".join(left + right).rstrip()


def _cells(line: PlannedQuery) -> tuple[str, str, str, str, str, str, str]:
    more = line.more
    return (
        line.target,
        line.query,
        span(line.every_ms / MILLISECONDS),
        f"{line.calls}{more}",
        _number(line.per_hour) + more,
        _number(line.per_day) + more,
        UNKNOWN if line.rows is None else str(line.rows),
    )


def _about(target: Target, lines: Sequence[PlannedQuery], sharing: Counter[str]) -> Iterator[str]:
    paged = [line for line in lines if line.pages and line.rows is None]
    if paged:
        yield (
            f"{target.name}: + means more calls for more rows: one for each {paged[0].pages} "
            f"of a poll ({', '.join(line.query for line in paged[:MOST_ROWS])}"
            f"{', …' if len(paged) > MOST_ROWS else ''})"
        )
    for note in dict.fromkeys(query.spec.cost.note for query in target.queries):
        if note:
            yield f"{target.name}: {note}"
    for query in target.queries:
        yield from _limit(query.spec, sharing)
    rate = target.requests_per_second
    needed = sum(line.per_hour for line in lines) / 3600
    if not rate:
        yield f"{target.name}: no limit on requests per second"
    elif needed > rate:
        yield (
            f"{target.name}: cannot keep up: {needed:.2g} requests/s are needed, "
            f"requests_per_second is {rate:g}; lengthen interval or raise it"
        )
    else:
        yield f"{target.name}: {needed:.2g} of {rate:g} requests/s at least"


def _limit(spec: QuerySpec, sharing: Counter[str]) -> Iterator[str]:
    if spec.budget is None:
        return
    turns = sharing[spec.budget.name]
    period = span(spec.budget.period_ms / MILLISECONDS)
    others = f"; {turns} queries share the account and take turns" if turns > 1 else ""
    yield (
        f"{spec.target}: the provider allows one call per {period} and account: kept, "
        f"each call is spent before it leaves{others}"
    )


def _first_start(
    targets: Sequence[Target], plan: Mapping[str, list[PlannedQuery]]
) -> Iterator[str]:
    calls = sum(line.calls for lines in plan.values() for line in lines)
    slowest = max(
        (
            sum(line.calls for line in plan[target.name]) / target.requests_per_second
            for target in targets
            if target.requests_per_second
        ),
        default=0.0,
    )
    yield (
        f"A first start asks for everything once: {calls} calls at least, "
        f"not done before {span(slowest)} at the targets' requests_per_second."
    )
    yield "What it reads is the baseline; counters start at 0 (start: history counts it)."


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 or value.is_integer() else f"{value:.1f}"  # noqa: PLR2004
