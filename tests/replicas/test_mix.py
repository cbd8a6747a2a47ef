"""R1 to R5 and R7 to R10 on real processes: exporters, a pooler, and what goes wrong.

CI runs the short mix on a machine that does other things, too: there a takeover may last longer and
scrapes may be blind more often than `make test-replicas` allows. What is wrong is wrong everywhere.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import pytest

from exporter.model.samples import HOUR_MS
from tests.e2e.processes import CLOCK, pause, wait_for
from tests.replicas import checks
from tests.replicas.checks import SentRequest
from tests.replicas.cluster import (
    BUDGETED,
    FAMILIES,
    STARTS_WITHIN_S,
    Cluster,
    cluster,
    increases,
    observed,
    totals,
    traffic,
    wait_until_polled,
)
from tests.replicas.nemesis import SHORT_MIX, choose, together
from tests.support.postgresql import pgbouncer, server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_200),  # two minutes on a machine that does nothing else
    pytest.mark.skipif(
        not (shutil.which("initdb") and shutil.which("pgbouncer")),
        reason="no PostgreSQL or no pgbouncer on this machine",
    ),
]
STRICT = "REPLICAS" in os.environ
TAKEOVER_S = 35.0 if STRICT else 90.0
AT_ONCE_S = 15.0 if STRICT else 25.0
"""A process that starts on a busy machine, and up to a second in which a replica idles."""
MOST_BLIND = 0.1 if STRICT else 0.5
SEED = os.environ.get("SEED", "1")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with (
        server() as primary,
        pgbouncer(primary) as pooler,
        cluster(tmp_path, primary, pooler=pooler) as made,
        observed(made, tmp_path),
    ):
        yield made


def verify(made: Cluster, *, polling: int = 2) -> None:
    """Fail where a rule was broken, or where nothing was seen that could have broken it.

    ``polling`` replicas have polled, at least: where none stops, one whose clock is a millisecond ahead
    is always the first to see what is due.
    """
    sums = {name: totals(scrape) for name, scrape in wait_until_polled(made).items()}
    requests, scrapes, outages = list(made.log.requests), list(made.scrapes), made.outages
    shown = [each for each in scrapes if not each.is_blind]
    budgeted = [each for each in requests if each.target == BUDGETED]
    polled = [each for each in requests if each.target in FAMILIES]
    stops = [each for each in outages if each.kind == "stop" and checks.is_calm(each, outages)]

    blind, calm = checks.blind_in_calm(scrapes, outages)
    report(made, polled)
    assert checks.overlapping(requests) == []
    once = [each for each in budgeted if "statistics" in each.path]
    assert checks.overspent(once, HOUR_MS / 1000) == []
    assert checks.fallen(shown) == []
    assert checks.inexact(sums, made.truth()) == []
    assert checks.unverified(shown, outages) == []
    wait_for(lambda: increases(made) == made.truth(), STARTS_WITHIN_S)
    assert checks.late(polled, outages, TAKEOVER_S) == []
    assert max(checks.takeovers(polled, stops).get("stop", [0.0])) < AT_ONCE_S
    assert blind <= MOST_BLIND * calm
    assert once
    assert len({each.replica for each in polled}) >= polling
    assert min(made.truth().values()) > 20
    assert len(shown) > 30


def report(made: Cluster, polled: Sequence[SentRequest]) -> None:
    """Print what was done, and how long targets were not asked."""
    blind = sum(each.is_blind for each in made.scrapes)
    print(len(made.scrapes), "scrapes,", blind, "blind,", len(made.log.requests), "calls")  # noqa: T201
    print(*checks.blind_in_calm(made.scrapes, made.outages), "blind of those in calm")  # noqa: T201
    print(dict(Counter(each.kind for each in made.outages)))  # noqa: T201
    for kind, seconds in checks.takeovers(polled, made.outages).items():
        print(f"takeover {kind}: p50 {median(seconds):.1f} s, max {max(seconds):.1f} s")  # noqa: T201


@pytest.mark.timeout(0)  # as many minutes as are chosen
@pytest.mark.skipif("MINUTES" not in os.environ, reason="`make test-replicas` runs it")
def test_a_chosen_mix(three: Cluster) -> None:
    rng = random.Random(SEED)  # noqa: S311 - what goes wrong
    end_s = CLOCK.monotonic() + 60 * float(os.environ["MINUTES"])

    with traffic(three, random.Random(SEED), every_s=3):  # noqa: S311 - what happens at the vendors
        while CLOCK.monotonic() < end_s:
            broken = choose(rng)
            print(*broken, flush=True)  # noqa: T201
            together(three, *broken)
            pause(rng.uniform(1, 5))

    verify(three)


def test_a_short_mix(three: Cluster) -> None:
    rng = random.Random(SEED)  # noqa: S311 - what happens at the vendors, and who is hit
    rng.shuffle(three.replicas)

    with traffic(three, rng):
        for broken in SHORT_MIX:
            together(three, *broken)

    verify(three)
