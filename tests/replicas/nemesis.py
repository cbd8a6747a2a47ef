"""What goes wrong, one replica or the database at a time, chosen by a seed."""

import random
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

import httpx

from tests.e2e.processes import CLOCK, pause, wait_for
from tests.replicas.checks import Outage
from tests.replicas.cluster import STARTS_WITHIN_S, Cluster, Replica

Nemesis = Callable[[Cluster, Replica, float], None]
"""Breaks something for so many seconds, and mends it."""


def kill(made: Cluster, replica: Replica, seconds: float) -> None:
    """End the process at once, and start it again."""
    began_s = CLOCK.monotonic()
    replica.send(signal.SIGKILL)
    pause(seconds)
    _started(made, replica, "kill", began_s)


def stop(made: Cluster, replica: Replica, seconds: float) -> None:
    """Stop the process cleanly, and start it again."""
    began_s = CLOCK.monotonic()
    replica.send(signal.SIGTERM)
    pause(seconds)
    _started(made, replica, "stop", began_s)


def freeze(made: Cluster, replica: Replica, seconds: float) -> None:
    """Let the process stand still."""
    began_s = CLOCK.monotonic()
    replica.send(signal.SIGSTOP)
    pause(seconds)
    replica.send(signal.SIGCONT)
    _noted(made, replica, "freeze", began_s)


def step(_made: Cluster, replica: Replica, seconds: float) -> None:
    """Set the machine's clock by a minute and a half."""
    replica.step(90 if replica.ahead_s <= 0 else -90)
    pause(seconds)


def cut(made: Cluster, replica: Replica, seconds: float) -> None:
    """Let nothing pass between the replica and the database."""
    began_s = CLOCK.monotonic()
    for way in replica.ways:
        way.silent.set()
    pause(seconds)
    for way in replica.ways:
        way.silent.clear()
    _noted(made, replica, "cut", began_s)


def reload(made: Cluster, replica: Replica, seconds: float) -> None:
    """Change what a target means on this replica; then on all, one after another."""
    began_s = CLOCK.monotonic()
    for number, each in enumerate([replica, *(r for r in made.replicas if r is not replica)]):
        each.write(settle=f"{1 + int(began_s) % 50}h")
        if each.process is not None and each.process.poll() is None:
            with suppress(httpx.TransportError):
                httpx.post(f"http://127.0.0.1:{each.port}/-/reload", timeout=20)
        pause(seconds if number == 0 else 0)
    _noted(made, replica, "reload", began_s)


def crash(made: Cluster, _replica: Replica, seconds: float) -> None:
    """End the database as a crash would, and start it again."""
    began_s = CLOCK.monotonic()
    made.primary.stop()
    pause(seconds)
    made.primary.start()
    made.outages.append(Outage("", "crash", began_s, CLOCK.monotonic()))


NEMESES: Mapping[str, Nemesis] = {
    each.__name__: each for each in (kill, stop, freeze, step, cut, reload, crash)
}


def choose(rng: random.Random, made: Cluster) -> tuple[str, Replica, float]:
    """Return a nemesis, whom it hits, and for how long."""
    name = rng.choice(sorted(NEMESES))
    longest_s = {"freeze": 90, "cut": 60, "kill": 40}.get(name, 15)
    return name, rng.choice(made.replicas), rng.uniform(1, longest_s)


def _started(made: Cluster, replica: Replica, kind: str, began_s: float) -> None:
    replica.start()
    wait_for(lambda: replica.scrape() is not None, STARTS_WITHIN_S)
    _noted(made, replica, kind, began_s)


def _noted(made: Cluster, replica: Replica, kind: str, began_s: float) -> None:
    made.outages.append(Outage(replica.name, kind, began_s, CLOCK.monotonic()))
