"""What scrapes cost, whole HTTP path, beside a Go exporter and prometheus_client.

All servers run at once; each round asks every one of them, in an order of its own.
"""

import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from tests.benchmarks.filled import fill, settings
from tests.benchmarks.processes import OPENMETRICS, TEXT, Server, exporter, running
from tests.benchmarks.table import Row

GO = "client_golang"
PYTHON = "prometheus_client"
OURS = 100
"""So many scrapes of ours are measured together, one of a peer."""

Found = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to show: ``sources`` of ``each`` series, and as many for the peers."""

    sources: int = 1000
    each: int = 100
    rounds: int = 5

    @property
    def series(self) -> int:
        """Return how many series there are."""
        return self.sources * self.each


def build_go(folder: Path) -> Path | None:
    """Build the Go peer; say aloud why not, where it cannot be."""
    if (go := shutil.which("go")) is None:
        click.echo("skipped: the Go peer, since there is no go here", err=True)
        return None
    program = folder / GO
    command = [go, "build", "-o", str(program), "."]
    told = subprocess.run(  # noqa: S603 - the go found on PATH
        command,
        cwd=Path(__file__).parent / "peers" / GO,
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode:
        click.echo(f"skipped: the Go peer cannot be built: {told.stderr}", err=True)
        return None
    return program


@contextlib.contextmanager
def peers(size: Size, folder: Path) -> Iterator[dict[str, Server]]:
    """Run the peers that can be had."""
    commands = {PYTHON: [sys.executable, "-m", "tests.benchmarks.peers.client", str(size.series)]}
    if program := build_go(folder):
        commands[GO] = [str(program), "-series", str(size.series)]
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(running(each)) for name, each in commands.items()}


@contextlib.contextmanager
def board(size: Size) -> Iterator[Server]:
    """Run our web room on a board that changes on command."""
    command = [sys.executable, "-m", "tests.benchmarks.board", str(size.sources), str(size.each)]
    with running(command) as server:
        yield server


def after_change(server: Server, sources: int, accept: str = TEXT) -> tuple[float, float]:
    """Change so many sources, then scrape; return processor and wall milliseconds of both."""
    server.ask(f"next {sources}")
    cpu, wall = server.cpu_s(), time.perf_counter()
    server.ask("go")
    server.scrape(accept=accept)
    spent = time.perf_counter() - wall
    return (server.cpu_s() - cpu) * 1000, spent * 1000


def measured(ours: Mapping[str, Server], others: Mapping[str, Server], size: Size) -> Found:
    """Return milliseconds of every round by ``name/what``: of a processor, and on the wall.

    ``ours`` are two servers, since one keeps ready what it was asked for: ``text`` and ``om``.
    """
    acts: dict[str, Callable[[], tuple[float, float]]] = {
        "ours/gzip": lambda: ours["text"].scrapes(OURS),
        "ours/plain": lambda: _plain(ours["text"]),
        "ours/openmetrics": lambda: ours["om"].scrapes(OURS, accept=OPENMETRICS),
        "ours/all": lambda: after_change(ours["text"], size.sources),
        "ours/one": lambda: after_change(ours["text"], 1),
        "ours/om-all": lambda: after_change(ours["om"], size.sources, OPENMETRICS),
        "ours/om-one": lambda: after_change(ours["om"], 1, OPENMETRICS),
    }
    for name, server in others.items():
        acts |= {
            f"{name}/gzip": partial(server.scrapes, 1),
            f"{name}/plain": partial(server.scrapes, 1, gzip=False),
            f"{name}/openmetrics": partial(server.scrapes, 1, accept=OPENMETRICS),
        }
    for act in acts.values():
        act()
    found: Found = defaultdict(list)
    rng = random.Random(3)  # noqa: S311 - the order of a round
    for _ in range(size.rounds):
        for name in rng.sample(sorted(acts), len(acts)):
            cpu, wall = acts[name]()
            found[name].append(cpu)
            found[f"{name} wall"].append(wall)
    return found


def _plain(server: Server) -> tuple[float, float]:
    """Scrape plainly, but for the first scrape, which renders what changed before."""
    server.scrape(gzip=False)
    return server.scrapes(OURS, gzip=False)


def rows(size: Size, folder: Path) -> Iterator[Row]:
    """Yield the rows of scrapes and of changes."""
    with board(size) as text, board(size) as om, peers(size, folder) as others:
        found = measured({"text": text, "om": om}, others, size)
    for peer in others:
        for act, theirs, words, goal in ACTS:
            yield Row(
                f"{words}, {size.series:,} series",
                "ms CPU",
                found[f"ours/{act}"],
                peer,
                found[f"{peer}/{theirs}"],
                least_ratio=goal if peer == GO else None,
                extra={
                    "wall ms": found[f"ours/{act} wall"],
                    "peer wall ms": found[f"{peer}/{theirs} wall"],
                },
            )


ACTS = (
    ("gzip", "gzip", "scrape, gzip", 1000),
    ("plain", "plain", "scrape, plain", 120),
    ("all", "gzip", "everything changed, then a scrape, gzip", 8),
    ("one", "gzip", "one source of 1,000 changed, then a scrape, gzip", 60),
    ("openmetrics", "openmetrics", "scrape, OpenMetrics, gzip", None),
    ("om-all", "openmetrics", "everything changed, then a scrape, OpenMetrics, gzip", None),
    (
        "om-one",
        "openmetrics",
        "one source of 1,000 changed, then a scrape, OpenMetrics, gzip",
        None,
    ),
)
"""What is done, what a peer does beside it, in words, the goal against the Go peer."""


def memory_rows(size: Size, folder: Path) -> Iterator[Row]:
    """Yield what memory the whole exporter takes, idle, filled, and scraped by 16 at once."""
    places = {name: folder / name for name in ("idle", "filled")}
    for place in places.values():
        place.mkdir()
    idle = settings(places["idle"], 1)
    targets = 100
    each = size.series // targets
    filled = settings(places["filled"], targets)
    fill(filled, each)
    with exporter(idle) as server:
        server.scrape()
        empty = server.memory("VmRSS")
    with exporter(filled) as server, peers(size, folder) as others:
        everyone = {"ours": server, **others}
        for each_server in everyone.values():
            each_server.scrape()
        resident = server.memory("VmRSS")
        peaks = {}
        for gzip in (True, False):
            for name, each_server in everyone.items():
                each_server.together(16, gzip=gzip)
                peaks[name, gzip] = each_server.memory("VmHWM") / 2**20
    for gzip, words in ((True, "gzip"), (False, "gzip, then plain")):
        for peer in others:
            yield Row(
                f"peak RSS, {size.series:,} series, 16 scrapes at once, {words}",
                "MiB",
                [peaks["ours", gzip]],
                peer,
                [peaks[peer, gzip]],
                least_ratio=4 if peer == GO else None,
            )
    yield Row(
        "resident memory a series, exporter over its idle",
        "B",
        [(resident - empty) / size.series],
        most=450,
        extra={"idle MiB": [empty / 2**20], "filled MiB": [resident / 2**20]},
    )
