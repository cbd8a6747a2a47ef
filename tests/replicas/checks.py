"""What must hold over all replicas, checked on logs: pure, so that forged logs can test them.

Instants are seconds of the harness's monotonic clock.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Self

ALONE_S = 15.0
"""How long a replica may take until it shows series again; it may wait for a silent connection."""
TOGETHER_S = 40.0
"""How long all may take on a new run of the database: up to 30 s they wait for each other."""

Series = str
"""A sample's name with its labels, as the page writes it."""

_LINE = re.compile(r"^([a-z_]+(?:\{.*\})?) (\S+)$")
_OF_THE_LEDGER = re.compile(
    "chatbot_exporter_(retracted|revisions|provider_resets|coverage_gaps|schema_drift)_total"
)


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One request as a vendor saw it, of the replica whose settings lead there."""

    target: str
    replica: str
    began_s: float
    ended_s: float
    path: str = ""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One scrape of one replica."""

    replica: str
    began_s: float
    ended_s: float
    samples: Mapping[Series, float]

    @property
    def is_blind(self) -> bool:
        """Say whether the page has series of the process only."""
        return not any(is_of_a_target(series) for series in self.samples)

    def of_targets(self) -> Self:
        """Return it without the series of the process, which are most of them."""
        kept = {n: v for n, v in self.samples.items() if is_of_a_target(n) or is_counter(n)}
        return replace(self, samples=kept)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which something was broken; ``replica`` is empty where that was the database."""

    replica: str
    kind: str
    began_s: float
    ended_s: float


def parsed(page: str) -> dict[Series, float]:
    """Return the samples of a text page; fail where a series is on it twice."""
    samples: dict[Series, float] = {}
    for line in page.splitlines():
        if found := _LINE.match(line):
            series, value = found.groups()
            assert series not in samples, f"twice on one page: {series}"
            samples[sys.intern(series)] = float(value)
    return samples


def is_of_a_target(series: Series) -> bool:
    """Say whether the sample is what a vendor reported."""
    return series.startswith("chatbot_") and not series.startswith("chatbot_exporter_")


def is_counter(series: Series) -> bool:
    """Say whether the sample counts what happened at a target, so that replicas must agree."""
    name = series.partition("{")[0]
    return name.endswith("_total") and (is_of_a_target(series) or bool(_OF_THE_LEDGER.match(name)))


def overlapping(requests: Iterable[SentRequest]) -> list[str]:
    """R1: return requests of two replicas that were under way at one target at one moment."""
    wrong, latest = [], dict[str, SentRequest]()
    for each in sorted(requests, key=lambda request: request.began_s):
        before = latest.get(each.target)
        if before and before.replica != each.replica and each.began_s < before.ended_s:
            wrong.append(f"{each.target}: {each} while {before}")
        if before is None or each.ended_s > before.ended_s:
            latest[each.target] = each
    return wrong


def overspent(requests: Iterable[SentRequest], period_s: float) -> list[str]:
    """R1: return calls of one budget that came sooner than ``period_s`` after the one before."""
    sent = sorted(requests, key=lambda request: request.began_s)
    return [
        f"{after} only {after.began_s - before.began_s:.1f} s after {before}"
        for before, after in pairwise(sent)
        if after.began_s - before.began_s < period_s
    ]


def fallen(scrapes: Iterable[Scrape]) -> list[str]:
    """R2: return counters that a scrape showed lower than one answered before it was asked for."""
    asked = sorted(scrapes, key=lambda scrape: scrape.began_s)
    answered = sorted(asked, key=lambda scrape: scrape.ended_s)
    highest: dict[Series, tuple[float, str]] = {}
    wrong, at = [], 0
    for each in asked:
        while answered[at].ended_s < each.began_s:
            for series, value in answered[at].samples.items():
                if is_counter(series) and value >= highest.get(series, (0.0, ""))[0]:
                    highest[series] = value, answered[at].replica
            at += 1
        for series, value in each.samples.items():
            before = highest.get(series)
            if before and value < before[0]:
                wrong.append(
                    f"{series}: {value} on {each.replica} at {each.began_s:.2f} "
                    f"after {before[0]} on {before[1]}"
                )
    return wrong


def inexact(
    pages: Mapping[str, Mapping[Series, float]], truth: Mapping[Series, float]
) -> list[str]:
    """R3: return counters that are not the truth on the page of some replica."""
    return [
        f"{series} is {page.get(series)} on {replica} instead of {value}"
        for replica, page in pages.items()
        for series, value in truth.items()
        if page.get(series) != value
    ]


def increase(samples: Iterable[float]) -> float:
    """Return by how much a counter rose, as Prometheus sees it: one that fell began at 0 again."""
    return sum(after - before if after >= before else after for before, after in pairwise(samples))


def unverified(scrapes: Iterable[Scrape], outages: Sequence[Outage]) -> list[str]:
    """R10: return pages with series of a target of replicas that were cut off from the ledger."""
    cut = [each for each in outages if each.kind == "cut"]
    return [
        f"{scrape.replica} showed series at {scrape.began_s:.2f}, cut off since {each.began_s:.2f}"
        for scrape in scrapes
        for each in cut
        if scrape.replica == each.replica
        and each.began_s < scrape.began_s
        and scrape.ended_s < each.ended_s
    ]


def is_calm(it: Scrape | Outage, outages: Iterable[Outage]) -> bool:
    """Say whether nothing else was broken at the time of ``it``, or lately."""
    return not any(
        each is not it
        and each.began_s <= it.ended_s
        and it.began_s <= each.ended_s + (ALONE_S if each.replica else TOGETHER_S)
        for each in outages
    )


def blind_in_calm(scrapes: Sequence[Scrape], outages: Sequence[Outage]) -> tuple[int, int]:
    """R10: return how many scrapes were blind though nothing was broken, and of how many."""
    of_replica = {
        name: [each for each in outages if each.replica in {"", name}]
        for name in {each.replica for each in scrapes}
    }
    calm = [each for each in scrapes if is_calm(each, of_replica[each.replica])]
    return sum(each.is_blind for each in calm), len(calm)


def takeovers(requests: Iterable[SentRequest], outages: Iterable[Outage]) -> dict[str, list[float]]:
    """Return for each kind of outage of a replica how long its targets were not asked, in seconds.

    Its targets are those that it was the last to ask before.
    """
    by_target: defaultdict[str, list[SentRequest]] = defaultdict(list)
    for each in sorted(requests, key=lambda request: request.began_s):
        by_target[each.target].append(each)
    found: defaultdict[str, list[float]] = defaultdict(list)
    for outage in outages:
        for sent in by_target.values():
            before = [each for each in sent if each.began_s <= outage.began_s]
            after = [each for each in sent if each.began_s > outage.began_s]
            if outage.replica and before and before[-1].replica == outage.replica and after:
                found[outage.kind].append(after[0].began_s - outage.began_s)
    return found


def late(requests: Iterable[SentRequest], outages: Sequence[Outage], limit_s: float) -> list[str]:
    """R4: return targets that nobody asked for longer than ``limit_s``, but for the database.

    A replica that fails between its claim and its first request has sent nothing, so a target may
    wait twice as long where another replica than its last one failed while it waited.
    """
    asked: defaultdict[str, list[SentRequest]] = defaultdict(list)
    for each in sorted(requests, key=lambda request: request.began_s):
        asked[each.target].append(each)
    down = [(each.began_s, each.ended_s + limit_s) for each in outages if not each.replica]
    wrong = []
    for last, following in chain.from_iterable(map(pairwise, asked.values())):
        before, after = last.began_s, following.began_s
        meanwhile = [each for each in outages if before < each.began_s < after]
        twice = any(each.replica not in {"", last.replica} for each in meanwhile)
        excused = any(start < after and before < end for start, end in down)
        if after - before > limit_s * (1 + twice) and not excused:
            wrong.append(f"not asked for {after - before:.1f} s after {last}: {meanwhile}")
    return wrong
