"""What scrapes cost, whole HTTP path, beside a Go exporter, prometheus_client and query-exporter.

All servers run at once; each round asks every one of them, in an order of its own.
"""

import contextlib
import random
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from tests.benchmarks.filled import fill, settings
from tests.benchmarks.processes import (
    OPENMETRICS,
    TEXT,
    Server,
    exporter,
    failure,
    program,
    running,
    scrape,
)
from tests.benchmarks.table import Row
from tests.e2e.processes import free_port, wait_for

GO = "client_golang"
PYTHON = "prometheus_client"
TARGETS = 100
OURS = 100
"""So many scrapes of ours are measured together, one of a peer."""

QUERY_EXPORTER = "5.0.2"
QUERIED = 10_000
CONFIG = """
databases: {db: {dsn: "sqlite://"}}
metrics:
  chatbot_things_received:
    type: gauge
    description: Messages received from end users.
    labels: [provider, target, project, bot_environment, channel]
queries:
  all:
    databases: [db]
    metrics: [chatbot_things_received]
    interval: 3600
    sql: >
      with recursive numbers(at) as
        (select 0 union all select at + 1 from numbers where at < 9999)
      select 'flowxo' as provider, printf('shop-%04d', at / 5) as target,
        'project-' || (at / 5 % 50) as project, 'production' as bot_environment,
        'channel-' || (at % 5) as channel, at as chatbot_things_received from numbers
"""

PEERS = Path(__file__).parent / "peers"
Cost = tuple[float, float]
"""Milliseconds of a processor, and on the wall."""
Key = tuple[str, object]
"""Who is asked, and for what: an act of ours, a form of a peer's."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to show: ``sources`` of ``each`` series, and as many for the peers."""

    sources: int = 1000
    each: int = 100
    rounds: int = 5

    @property
    def series(self) -> int:
        return self.sources * self.each


def build_go(folder: Path) -> Path | None:
    """Build the Go peer; say aloud why not, where it cannot be."""
    if (go := shutil.which("go")) is None:
        click.echo("skipped: the Go peer, since there is no go here", err=True)
        return None
    if told := failure(go, "build", "-o", folder / GO, ".", folder=PEERS / GO):
        click.echo(f"skipped: the Go peer cannot be built: {told}", err=True)
        return None
    return folder / GO


@contextlib.contextmanager
def peers(size: Size, folder: Path) -> Iterator[dict[str, Server]]:
    commands = {PYTHON: [sys.executable, "-m", "tests.benchmarks.peers.client", str(size.series)]}
    if built := build_go(folder):
        commands[GO] = [str(built), "-series", str(size.series)]
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(running(each)) for name, each in commands.items()}


def board(size: Size) -> contextlib.AbstractContextManager[Server]:
    """Run our web room on a page that changes on command."""
    numbers = str(size.sources), str(size.each)
    return running([sys.executable, "-m", "tests.benchmarks.board", *numbers])


@dataclass(frozen=True, slots=True)
class Act:
    """What is done in a round: to us, to a peer beside it; ``goal`` is that against the Go peer."""

    words: str
    goal: float | None = None
    sources: int = 0
    gzip: bool = True
    accept: str = TEXT

    @property
    def form(self) -> tuple[bool, str]:
        """Return what a peer is asked for, once for all acts that ask for the same."""
        return self.gzip, self.accept

    def ours(self, server: Server) -> Cost:
        """Return what a scrape of ours costs, together with the change where there is one."""
        if not self.sources:
            server.scrape(gzip=self.gzip, accept=self.accept)  # renders what changed before
            return server.scrapes(OURS, gzip=self.gzip, accept=self.accept)
        server.ask(f"next {self.sources}")
        cpu, wall = server.cpu_s(), time.perf_counter()
        server.ask("go")
        server.scrape(accept=self.accept)
        spent = time.perf_counter() - wall
        return (server.cpu_s() - cpu) * 1000, spent * 1000


def acts(size: Size) -> tuple[Act, ...]:
    every, om = size.sources, OPENMETRICS
    words = "everything changed, then a scrape", "one source of 1,000 changed, then a scrape"
    return (
        Act("scrape, gzip", 1000),
        Act("scrape, plain", 120, gzip=False),
        Act(f"{words[0]}, gzip", 8, every),
        Act(f"{words[1]}, gzip", 60, 1),
        Act("scrape, OpenMetrics, gzip", accept=om),
        Act(f"{words[0]}, OpenMetrics, gzip", sources=every, accept=om),
        Act(f"{words[1]}, OpenMetrics, gzip", sources=1, accept=om),
    )


def rows(size: Size, folder: Path) -> Iterator[Row]:
    done = acts(size)
    # Two servers of ours, since one keeps ready what it was asked for.
    with board(size) as text, board(size) as om, peers(size, folder) as others:
        calls: dict[Key, Callable[[], Cost]] = {
            ("ours", act): partial(act.ours, om if act.accept == OPENMETRICS else text)
            for act in done
        }
        for name, server in others.items():
            for gzip, accept in {act.form for act in done}:
                calls[name, (gzip, accept)] = partial(server.scrapes, 1, gzip=gzip, accept=accept)
        found = measured(calls, size.rounds)
    for peer in others:
        for act in done:
            cpu, wall = zip(*found["ours", act], strict=True)
            peer_cpu, peer_wall = zip(*found[peer, act.form], strict=True)
            yield Row(
                f"{act.words}, {size.series:,} series",
                "ms CPU",
                cpu,
                peer,
                peer_cpu,
                least_ratio=act.goal if peer == GO else None,
                extra={"wall ms": wall, "peer wall ms": peer_wall},
            )


def measured(calls: Mapping[Key, Callable[[], Cost]], rounds: int) -> dict[Key, list[Cost]]:
    """Return what each call cost in every round; the rounds have orders of their own."""
    for call in calls.values():
        call()
    found: defaultdict[Key, list[Cost]] = defaultdict(list)
    rng = random.Random(3)  # noqa: S311 - the order of a round
    for _ in range(rounds):
        for key in rng.sample(list(calls), len(calls)):
            found[key].append(calls[key]())
    return found


def memory_rows(size: Size, folder: Path) -> Iterator[Row]:
    """Yield what memory the whole exporter takes, idle, filled, and scraped by 16 at once."""
    for name in ("idle", "filled"):
        (folder / name).mkdir()
    idle, filled = settings(folder / "idle", 1), settings(folder / "filled", TARGETS)
    fill(filled, size.series // TARGETS)
    with exporter(idle) as server:
        server.scrape()
        empty = server.memory("VmRSS")
    with exporter(filled) as server, peers(size, folder) as others:
        everyone = {"ours": server, **others}
        for each in everyone.values():
            each.scrape()
        resident = server.memory("VmRSS")
        peaks = {}
        for gzip in (True, False):
            for name, each in everyone.items():
                each.together(16, gzip=gzip)
                peaks[name, gzip] = [each.memory("VmHWM") / 2**20]
    for gzip, words in ((True, "gzip"), (False, "gzip, then plain")):
        for peer in others:
            yield Row(
                f"peak RSS, {size.series:,} series, 16 scrapes at once, {words}",
                "MiB",
                peaks["ours", gzip],
                peer,
                peaks[peer, gzip],
                least_ratio=4 if peer == GO else None,
            )
    yield Row(
        "resident memory a series, exporter over its idle",
        "B",
        [(resident - empty) / size.series],
        most=450,
        extra={"idle MiB": [empty / 2**20], "filled MiB": [resident / 2**20]},
    )


def query_exporter(folder: Path) -> Path | None:
    """Install it in an environment of its own; return its program, or say aloud why it is not there."""
    pip = (folder / "venv/bin/pip", "install", "-q", f"query-exporter=={QUERY_EXPORTER}")
    for command in ((sys.executable, "-m", "venv", folder / "venv"), pip):
        if told := failure(*command):
            click.echo(f"skipped: query-exporter cannot be installed: {told}", err=True)
            return None
    return folder / "venv/bin/query-exporter"


@contextlib.contextmanager
def serving(program_: Path, folder: Path) -> Iterator[Server]:
    """Run it until it shows all rows."""
    port, config = free_port(), folder / "config.yaml"
    config.write_text(CONFIG, "utf-8")
    command = [str(program_), "-H", "127.0.0.1", "-p", str(port), "-L", "error"]
    with program([*command, "--config", str(config)]) as process:
        server = Server(process, f"127.0.0.1:{port}")

        def filled() -> bool:
            with contextlib.suppress(OSError):
                return scrape(server.connect(), gzip=False) > QUERIED * 50
            return False

        wait_for(filled, 60, every=0.2)
        yield server


def query_exporter_rows(folder: Path, rounds: int = 5) -> Iterator[Row]:
    """Yield what the peer query-exporter takes on as many series from SQLite: memory, and scrapes."""
    peers = query_exporter(folder)
    if peers is None:
        return
    file = settings(folder, 10)
    fill(file, QUERIED // 10)
    with serving(peers, folder) as peer, exporter(file) as ours:
        scrape(ours.connect())
        found = [(ours.scrapes(20)[0], peer.scrapes(2)[0]) for _ in range(rounds)]
        memory = [each.memory("VmRSS") / 2**20 for each in (ours, peer)]
    mine, theirs = zip(*found, strict=True)
    name = f"query-exporter {QUERY_EXPORTER}"
    yield Row(f"scrape, gzip, {QUERIED:,} series", "ms CPU", mine, name, theirs)
    yield Row(f"resident memory, {QUERIED:,} series", "MiB", memory[:1], name, memory[1:])
