"""``plan``: previews API usage."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from exporter.cli.settings import (
    config_option,
    file_argument,
    load_settings,
    settings_file,
    targets_of,
)
from exporter.format import columns, counted, span
from exporter.model.query import QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, SECOND_MS
from exporter.polling.schedule import in_turns
from exporter.providers.base.plugin import Target

MOST_ROWS = 3
_HEAD = ("TARGET", "QUERY", "EVERY", "CALLS/POLL", "CALLS/HOUR", "CALLS/DAY", "ROWS/POLL")


@dataclass(frozen=True, slots=True)
class PlannedQuery:
    """The cost of one query: at least ``calls`` per poll; ``rows`` is None if unknown.

    ``past`` is the number of calls that history takes after the first poll of a first start.
    """

    spec: QuerySpec
    every_ms: int
    calls: int
    rows: int | None
    past: int

    @property
    def more(self) -> str:
        """Return ``+`` if the rows may not fit into one page and then take more calls."""
        page = self.spec.cost.page_rows
        return "+" if page is not None and (self.rows is None or self.rows > page) else ""

    def in_time(self, time_ms: int) -> float:
        """Return the minimum number of calls in ``time_ms``."""
        return self.calls * time_ms / self.every_ms


@click.command("plan", short_help="Preview API usage.")
@file_argument
@config_option
def command(given: str | None, file: str) -> None:
    """Preview the API usage of FILE (default: exporter.yaml); calls no provider, needs no secrets.

    Shows calls per target and query, hour and day, the number of rows if it can be known, known
    limits, and the cost of the first start.
    """
    targets = targets_of(load_settings(settings_file(given, file), resolve=False))
    click.echo("\n".join(_text(targets)))


def planned(targets: Sequence[Target]) -> dict[str, list[PlannedQuery]]:
    """Return the cost of each query, by target; queries that share a call budget take turns."""
    specs = in_turns(query.spec for target in targets for query in target.queries)
    return {
        target.name: [_planned(spec) for spec in specs if spec.target == target.name]
        for target in targets
    }


def _sharing(targets: Sequence[Target]) -> Counter[str]:
    """Return the number of queries that share each call budget, by name."""
    budgets = (query.spec.budget for target in targets for query in target.queries)
    return Counter(budget.name for budget in budgets if budget is not None)


def _planned(spec: QuerySpec) -> PlannedQuery:
    every_ms = spec.interval_ms + (spec.budget.margin_ms if spec.budget else 0)
    parts = 1
    if not spec.stream and spec.span_ms is not None:  # the lookback and the open bucket
        parts = max(1, math.ceil((spec.lookback_ms + spec.granularity_ms) / spec.span_ms))
    rows = spec.cost.rows
    if rows is not None and not spec.cost.listed:
        rows *= math.ceil(spec.lookback_ms / spec.granularity_ms) + 1
    return PlannedQuery(spec, every_ms, spec.cost.calls * parts, rows, _slices(spec))


def _slices(spec: QuerySpec) -> int:
    """Return the number of slices of the past; 0 with a call budget: polls read the past, too."""
    past_ms = (spec.initial_lookback_ms or 0) - spec.lookback_ms
    if past_ms <= 0 or spec.budget is not None:
        return 0
    return math.ceil(past_ms / (spec.slice_ms or spec.span_ms or past_ms))


def _text(targets: Sequence[Target]) -> Iterator[str]:
    sharing, plan = _sharing(targets), planned(targets)
    every = [each for queries in plan.values() for each in queries]
    more = max((each.more for each in every), default="")
    hour, day = (_number(sum(q.in_time(ms) for q in every)) + more for ms in (HOUR_MS, DAY_MS))
    total = ("all", "", "", "", hour, day, "")
    yield from columns([_HEAD, *map(_cells, every), total], left=3)
    yield ""
    for target in targets:
        yield from _about(target, plan[target.name], sharing)
    yield ""
    rates = {each.name: each.requests_per_second for each in targets if each.requests_per_second}
    first, past = sum(each.calls for each in every), sum(each.past for each in every)
    soonest = max((sum(q.calls for q in plan[n]) / rate for n, rate in rates.items()), default=0.0)
    known = max((sum(q.past for q in plan[n]) / rate for n, rate in rates.items()), default=0.0)
    paced = (
        f", taking at least {span(soonest)} at the targets' requests_per_second" if rates else ""
    )
    yield f"A first start reads everything once: at least {counted(first, 'call')}{paced}."
    if past:
        paced = f", in about {span(known)}" if rates else ""
        yield (
            f"Then it reads initial_lookback in at least {counted(past, 'call')}, newest first{paced}; "
            "live polls go first. An audit reads it again once a day."
        )
    yield "What it reads is the baseline; counters start at 0 (start: history counts it)."


def _cells(each: PlannedQuery) -> tuple[str, ...]:
    return (
        each.spec.target,
        each.spec.name,
        span(each.every_ms / SECOND_MS),
        f"{each.calls}{each.more}",
        _number(each.in_time(HOUR_MS)) + each.more,
        _number(each.in_time(DAY_MS)) + each.more,
        "unknown" if each.rows is None else str(each.rows),
    )


def _about(target: Target, plan: Sequence[PlannedQuery], sharing: Counter[str]) -> Iterator[str]:
    paged = [each.spec for each in plan if each.spec.cost.page_rows and each.rows is None]
    if paged:
        yield (
            f"{target.name}: + means more calls for more rows: one per {paged[0].cost.page_rows} "
            f"rows of a poll ({', '.join(s.name for s in paged[:MOST_ROWS])}"
            f"{', …' if len(paged) > MOST_ROWS else ''})"
        )
    for note in dict.fromkeys(query.spec.cost.note for query in target.queries):
        if note:
            yield f"{target.name}: {note}"
    for query in target.queries:
        if query.spec.budget is not None:
            turns = sharing[query.spec.budget.name]
            period = span(query.spec.budget.period_ms / SECOND_MS)
            others = f"; {turns} queries share the account and take turns" if turns > 1 else ""
            yield (
                f"{target.name}: the provider allows one call per {period} and account; the "
                f"exporter keeps to that and counts each call before sending it{others}"
            )
    rate = target.requests_per_second
    needed = sum(each.in_time(HOUR_MS) for each in plan) / 3600
    if not rate:
        yield f"{target.name}: no limit on requests per second"
    elif needed > rate:
        yield (
            f"{target.name}: cannot keep up: it needs {needed:.2g} requests/s, but "
            f"requests_per_second is {rate:g}; lengthen interval or raise requests_per_second"
        )
    else:
        yield f"{target.name}: at least {needed:.2g} of {rate:g} requests/s"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 or value.is_integer() else f"{value:.1f}"  # noqa: PLR2004
