"""R1 to R5, R7 and R8 on real processes: three exporters, a pooler, and what goes wrong."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import CLOCK, pause, wait_for
from tests.replicas import checks
from tests.replicas.cluster import (
    STARTS_WITHIN_S,
    Cluster,
    cluster,
    shown_by,
    totals,
    traffic,
    wait_until_polled,
)
from tests.replicas.nemesis import NEMESES, choose
from tests.support.postgresql import pgbouncer, server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("REPLICAS" not in os.environ, reason="minutes long: make test-replicas"),
    pytest.mark.skipif(
        not (shutil.which("initdb") and shutil.which("pgbouncer")),
        reason="no PostgreSQL or no pgbouncer on this machine",
    ),
]
TAKEOVER_S = 35.0
SHORT_MIX = (
    ("step", 0, 1), ("kill", 0, 2), ("crash", 1, 1), ("stop", 1, 1), ("step", 2, 1), ("reload", 2, 2),
    ("cut", 0, 6), ("freeze", 1, 34),
)  # fmt: skip


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with (
        server() as primary,
        pgbouncer(primary) as pooler,
        cluster(tmp_path, primary, [pooler]) as made,
    ):
        wait_for(lambda: len({each.replica for each in made.scrapes}) == 3, STARTS_WITHIN_S)
        wait_until_polled(made)
        yield made


def verify(made: Cluster, since_ms: int) -> None:
    """Fail where a rule was broken, or where nothing was seen that could have broken it."""
    wait_until_polled(made)
    sums = {replica.name: totals(shown_by(replica)) for replica in made.replicas}
    requests, scrapes = list(made.requests), list(made.scrapes)

    print(len(requests), "requests", len(scrapes), "scrapes", made.blind, "blind")  # noqa: T201
    print(checks.takeovers(requests, made.outages))  # noqa: T201
    assert checks.overlapping(requests) == []
    assert checks.fallen(scrapes) == []
    assert checks.inexact(sums, made.count_on(since_ms)) == []
    assert checks.late(requests, made.outages, TAKEOVER_S) == []
    assert {each.replica for each in requests} == {each.name for each in made.replicas}
    assert min(made.count_on(since_ms).values()) > 20
    assert len(scrapes) > 30


@pytest.mark.skipif("MINUTES" not in os.environ, reason="`make test-replicas` runs it")
def test_a_chosen_mix(three: Cluster) -> None:
    seed = os.environ.get("SEED", "1")
    rng = random.Random(seed)  # noqa: S311 - what goes wrong
    since_ms, end_s = (
        three.vendors.clock.now_ms(),
        CLOCK.monotonic() + 60 * float(os.environ["MINUTES"]),
    )

    with traffic(three, random.Random(seed)):  # noqa: S311 - what happens at the vendors
        while CLOCK.monotonic() < end_s:
            name, replica, seconds = choose(rng, three)
            print(f"{name} {replica.name} {seconds:.0f} s")  # noqa: T201
            NEMESES[name](three, replica, seconds)
            pause(rng.uniform(1, 5))

    verify(three, since_ms)


def test_a_short_mix(three: Cluster) -> None:
    rng = random.Random(os.environ.get("SEED", "1"))  # noqa: S311 - what happens at the vendors
    since_ms = three.vendors.clock.now_ms()

    with traffic(three, rng):
        for name, at, seconds in SHORT_MIX:
            NEMESES[name](three, three.replicas[at], seconds)

    verify(three, since_ms)
