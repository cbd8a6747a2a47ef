"""R1 to R5 and R7 to R10 on real processes: exporters, a pooler, and what goes wrong."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from exporter.model.samples import HOUR_MS
from tests.e2e.processes import CLOCK, pause, wait_for
from tests.replicas import checks
from tests.replicas.cluster import (
    BUDGETED,
    FAMILIES,
    STARTS_WITHIN_S,
    Cluster,
    cluster,
    totals,
    traffic,
    wait_until_polled,
)
from tests.replicas.nemesis import NEMESES, choose, together
from tests.support.postgresql import pgbouncer, server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("initdb") and shutil.which("pgbouncer")),
        reason="no PostgreSQL or no pgbouncer on this machine",
    ),
]
TAKEOVER_S = 35.0
AT_ONCE_S = 15.0
"""A process that starts on a busy machine, and up to 5 s in which a replica idles."""
SHORT_MIX = (
    [("step", 2, 0.0), ("kill", 0, 33.0), ("freeze", 1, 34.0)],
    [("crash", 0, 1.0)],
    [("pooler", 0, 1.0), ("reload", 2, 1.0)],
    [("cut", 0, 4.0), ("stop", 1, 1.0)],
)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with (
        server() as primary,
        pgbouncer(primary) as pooler,
        cluster(tmp_path, primary, pooler=pooler) as made,
    ):
        wait_for(lambda: len({each.replica for each in made.scrapes}) == 3, STARTS_WITHIN_S)
        wait_until_polled(made)
        yield made


def verify(made: Cluster, since_ms: int) -> None:
    """Fail where a rule was broken, or where nothing was seen that could have broken it."""
    sums = {name: totals(scrape) for name, scrape in wait_until_polled(made).items()}
    requests, scrapes = list(made.requests), list(made.scrapes)
    budgeted = [each for each in requests if each.target == BUDGETED]
    polled = [each for each in requests if each.target in FAMILIES]
    taken_over = checks.takeovers(polled, made.outages)

    calm = [each for each in made.blind if not checks.during(each, made.outages, TAKEOVER_S)]
    print(len(scrapes), "scrapes", len(requests), "calls", len(made.blind), "blind")  # noqa: T201
    print(len(calm), "blind in calm, on", dict(Counter(each.replica for each in calm)))  # noqa: T201
    print(dict(Counter(each.kind for each in made.outages)))  # noqa: T201
    for kind, seconds in taken_over.items():
        print(f"takeover {kind}: p50 {median(seconds):.1f} s, max {max(seconds):.1f} s")  # noqa: T201
    assert checks.overlapping(requests) == []
    assert (
        checks.overspent([each for each in budgeted if "statistics" in each.path], HOUR_MS / 1000)
        == []
    )
    assert checks.fallen(scrapes) == []
    assert checks.inexact(sums, made.count_on(since_ms)) == []
    assert checks.late(polled, made.outages, TAKEOVER_S) == []
    assert checks.unverified(scrapes, made.outages) == []
    assert max(taken_over.get("stop", [0])) < AT_ONCE_S
    assert budgeted
    assert {each.replica for each in polled} == {each.name for each in made.replicas}
    assert min(made.count_on(since_ms).values()) > 20
    assert len(scrapes) > 30


@pytest.mark.skipif("MINUTES" not in os.environ, reason="`make test-replicas` runs it")
def test_a_chosen_mix(three: Cluster) -> None:
    seed = os.environ.get("SEED", "1")
    rng = random.Random(seed)  # noqa: S311 - what goes wrong
    since_ms = three.vendors.clock.now_ms()
    end_s = CLOCK.monotonic() + 60 * float(os.environ["MINUTES"])

    with traffic(three, random.Random(seed)):  # noqa: S311 - what happens at the vendors
        while CLOCK.monotonic() < end_s:
            name, replica, seconds = choose(rng, three)
            print(f"{name} {replica.name} {seconds:.0f} s", flush=True)  # noqa: T201
            NEMESES[name](three, replica, seconds)
            pause(rng.uniform(1, 5))

    verify(three, since_ms)


@pytest.mark.skipif("REPLICAS" not in os.environ, reason="two minutes: `make test-replicas`")
def test_a_short_mix(three: Cluster) -> None:
    rng = random.Random(os.environ.get("SEED", "1"))  # noqa: S311 - what happens at the vendors
    since_ms = three.vendors.clock.now_ms()

    with traffic(three, rng):
        for broken in SHORT_MIX:
            together(three, *broken)

    verify(three, since_ms)
