"""R6 on real processes: a standby becomes the primary, with all that was committed or without."""

import random
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.processes import CLOCK, pause
from tests.replicas.checks import Outage
from tests.replicas.cluster import cluster, observed, traffic
from tests.replicas.test_mix import STRICT, verify
from tests.support.postgresql import server, standby_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_200),
    pytest.mark.skipif(shutil.which("initdb") is None, reason="no PostgreSQL on this machine"),
    pytest.mark.skipif(not STRICT, reason="a minute each: `make test-replicas` runs them"),
]


@pytest.mark.parametrize("synchronous", [True, False])
def test_a_failover_takes_no_counter_back(tmp_path: Path, synchronous: bool) -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(server())
        standby = stack.enter_context(standby_of(primary, synchronous=synchronous))
        made = stack.enter_context(cluster(tmp_path, primary, standby, number=2))
        stack.enter_context(observed(made, tmp_path))

        with traffic(made, random.Random(1)):  # noqa: S311 - what happens at the vendors
            pause(5)
            if not synchronous:  # it learns of nothing more, and becomes the primary all the same
                standby.stop()
                pause(8)
            began_s = CLOCK.monotonic()
            primary.stop()
            if not synchronous:
                standby.start()
            standby.promote()
            made.outages.append(Outage("", "failover", began_s, CLOCK.monotonic()))
            pause(8)

        verify(made, polling=1)
