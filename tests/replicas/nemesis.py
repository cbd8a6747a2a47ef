"""What goes wrong, one replica or the database at a time, chosen by a seed."""

import random
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from exporter.ledger import engine
from tests.e2e.processes import CLOCK, ROOT, pause, wait_for
from tests.replicas.checks import Outage
from tests.replicas.cluster import STARTS_WITHIN_S, Cluster, Replica
from tests.support.postgresql import standby_of

Nemesis = Callable[[Cluster, Replica, float], None]
"""Breaks something for so many seconds, and mends it."""
Broken = tuple[str, int, float]
"""Which nemesis, the number of the replica that it hits, and for how many seconds."""

REPLAYED_S = 3
MIGRATION = '''"""A later version."""

import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    later = sa.Column("later_{number}", sa.Integer(), server_default="0", nullable=False)
    op.add_column("replica", later)
'''


def kill(made: Cluster, replica: Replica, seconds: float) -> None:
    """End the process in the middle of a poll, and start it again."""
    _await_request(made, replica)
    began_s = CLOCK.monotonic()
    replica.send(signal.SIGKILL)
    pause(seconds)
    _started(made, replica, "kill", began_s)


def stop(made: Cluster, replica: Replica, seconds: float) -> None:
    """Stop the process cleanly, and start it again."""
    replica.send(signal.SIGTERM)
    began_s = CLOCK.monotonic()
    pause(seconds)
    _started(made, replica, "stop", began_s)


def freeze(made: Cluster, replica: Replica, seconds: float) -> None:
    """Let the process stand still in the middle of a poll."""
    _await_request(made, replica)
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
    """Let nothing pass between the replica and the database; it says that it is not ready."""
    for way in replica.ways:
        way.silent.set()
    began_s = CLOCK.monotonic()
    pause(seconds)
    ready = replica.ask("/-/ready")
    _noted(made, replica, "cut", began_s)
    for way in replica.ways:
        way.silent.clear()
    assert ready in {None, httpx.codes.SERVICE_UNAVAILABLE}


def slow(made: Cluster, replica: Replica, seconds: float) -> None:
    """Let what passes between the replica and the database be late."""
    began_s = CLOCK.monotonic()
    for way in replica.ways:
        way.delay_s = 0.05
    pause(seconds)
    for way in replica.ways:
        way.delay_s = 0.0
    _noted(made, replica, "slow", began_s)


def reload(made: Cluster, replica: Replica, seconds: float) -> None:
    """Change what a target means on this replica; then on all, one after another."""
    began_s = CLOCK.monotonic()
    for number, each in enumerate([replica, *(r for r in made.replicas if r is not replica)]):
        each.write(settle=f"{1 + int(began_s) % 40}h")
        if each.runs:
            each.ask("/-/reload", "POST")
        pause(seconds if number == 0 else 0)
    _noted(made, replica, "reload", began_s)


def crash(made: Cluster, _replica: Replica, seconds: float) -> None:
    """End the database as a crash would, and start it again."""
    began_s = CLOCK.monotonic()
    made.primary.stop()
    pause(seconds)
    made.primary.start()
    made.outages.append(Outage("", "crash", began_s, CLOCK.monotonic()))


def pooler(made: Cluster, _replica: Replica, seconds: float) -> None:
    """End the pooler, and start it again."""
    assert made.pooler is not None
    began_s = CLOCK.monotonic()
    made.pooler.stop()
    pause(min(seconds, 5))
    made.pooler.lead_to(made.primary.port)
    made.outages.append(Outage("", "pooler", began_s, CLOCK.monotonic()))


def promote_synchronous(made: Cluster, _replica: Replica, seconds: float) -> None:
    """End the primary; a standby that has all that was committed takes its place."""
    promote(made, seconds, synchronous=True)


def promote_asynchronous(made: Cluster, _replica: Replica, seconds: float) -> None:
    """End the primary; a standby that lacks the last seconds takes its place."""
    promote(made, seconds, synchronous=False)


def promote(made: Cluster, seconds: float, *, synchronous: bool) -> None:
    """Make a new standby of the primary, and then the primary of it."""
    standby = made.stack.enter_context(standby_of(made.primary, synchronous=synchronous))
    pause(seconds)
    if not synchronous:  # it learns of nothing more, and becomes the primary all the same
        standby.stop()
        pause(REPLAYED_S)
    began_s = CLOCK.monotonic()
    made.primary.stop()
    if not synchronous:
        standby.start()
    standby.promote()
    made.primary = standby
    if made.pooler is not None:
        made.pooler.lead_to(standby.port)
    made.outages.append(Outage("", "promotion", began_s, CLOCK.monotonic()))


def upgrade(made: Cluster, replica: Replica, seconds: float) -> None:
    """Bring a version with a newer schema to one replica after another; older ones refuse it."""
    began_s = CLOCK.monotonic()
    root = _next_version(replica.folder, replica.root)
    for number, each in enumerate(made.replicas):
        each.send(signal.SIGTERM)
        if number == 1:
            each.start()
            assert each.process is not None
            assert each.process.wait(STARTS_WITHIN_S) == 1
            assert "is newer than this program" in each.log[-2_000:]
        each.root = root
        _started(made, each, "upgrade", CLOCK.monotonic())
        pause(seconds / len(made.replicas))
    made.outages.append(Outage("", "upgrade", began_s, CLOCK.monotonic()))


def _next_version(folder: Path, before: Path) -> Path:
    """Return a folder with the program and one more migration."""
    number = len(list((before / "exporter/ledger/migrations/versions").glob("0*.py"))) + 1
    root = folder / f"version-{number}"
    shutil.copytree(
        ROOT / "exporter", root / "exporter", ignore=shutil.ignore_patterns("__pycache__")
    )
    versions = root / "exporter/ledger/migrations/versions"
    for each in range(int(engine.NEWEST) + 1, number + 1):
        text = MIGRATION.format(number=each, before=each - 1)
        (versions / f"{each:04}_later.py").write_text(text, "utf-8")
    source = root / "exporter/ledger/engine.py"
    newest = f'NEWEST = "{engine.NEWEST}"'
    assert newest in source.read_text("utf-8")
    source.write_text(source.read_text("utf-8").replace(newest, f'NEWEST = "{number}"'), "utf-8")
    return root


NEMESES: Mapping[str, Nemesis] = {
    each.__name__: each
    for each in (
        kill, stop, freeze, step, cut, slow, reload, crash, pooler, promote_synchronous,
        promote_asynchronous, upgrade,
    )
}  # fmt: skip
OFTEN = ("kill", "freeze")
BESIDE = ("kill", "stop", "freeze", "step", "cut", "slow")
"""What may happen to a second replica: what only the dead have seen cannot be kept."""
ALONE = frozenset({"reload", "upgrade", "promote_asynchronous"})
SHORT_MIX: Sequence[Sequence[Broken]] = (
    [("step", 2, 0.0), ("kill", 0, 33.0), ("freeze", 1, 34.0)],
    [("stop", 1, 1.0)],
    [("cut", 0, 4.0), ("slow", 2, 4.0)],
    [("reload", 2, 1.0)],
    [("crash", 0, 1.0)],
    [("pooler", 0, 1.0)],
)


def choose(rng: random.Random) -> list[Broken]:
    """Return what to break at once, on three replicas."""
    first, second, _ = rng.sample(range(3), 3)
    broken = [_chosen(rng, [*sorted(NEMESES), *OFTEN], first)]
    if broken[0][0] not in ALONE and rng.random() < 1 / 3:
        broken.append(_chosen(rng, BESIDE, second))
    return broken


def _chosen(rng: random.Random, names: Sequence[str], number: int) -> Broken:
    name = rng.choice(names)
    shortest_s, longest_s = {"freeze": (30, 90), "cut": (4, 60), "kill": (1, 40)}.get(name, (1, 15))
    return name, number, round(rng.uniform(shortest_s, longest_s), 1)


def together(made: Cluster, *broken: Broken) -> None:
    """Break several things at once."""
    with ThreadPoolExecutor() as executor:
        running = [
            executor.submit(NEMESES[name], made, made.replicas[number], seconds)
            for name, number, seconds in broken
        ]
    for each in running:
        each.result()


def _await_request(made: Cluster, replica: Replica) -> None:
    """Return when a request of the replica is under way, so that it has a claim; or in 10 s."""
    end_s = CLOCK.monotonic() + 10
    while not made.log.under_way[replica.name] and CLOCK.monotonic() < end_s:
        pause(0.01)


def _started(made: Cluster, replica: Replica, kind: str, began_s: float) -> None:
    replica.start()
    wait_for(replica.answers, STARTS_WITHIN_S)
    _noted(made, replica, kind, began_s)


def _noted(made: Cluster, replica: Replica, kind: str, began_s: float) -> None:
    made.outages.append(Outage(replica.name, kind, began_s, CLOCK.monotonic()))
