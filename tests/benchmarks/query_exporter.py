"""The peer query-exporter on as many series from SQLite: memory, and what one scrape costs.

It is installed in an environment of its own, and skipped aloud where it cannot be.
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tests.benchmarks.filled import fill, settings
from tests.benchmarks.processes import Server, exporter, failure, program, scrape
from tests.benchmarks.table import Row

VERSION = "5.0.2"
SERIES = 10_000
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


def installed(folder: Path) -> Path | None:
    """Install query-exporter; return its program, or say aloud why it is not there."""
    pip = (folder / "venv/bin/pip", "install", "-q", f"query-exporter=={VERSION}")
    for command in ((sys.executable, "-m", "venv", folder / "venv"), pip):
        if told := failure(*command):
            click.echo(f"skipped: query-exporter cannot be installed: {told}", err=True)
            return None
    return folder / "venv/bin/query-exporter"


@contextlib.contextmanager
def serving(installed: Path, folder: Path) -> Iterator[Server]:
    """Run it until it shows all rows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = folder / "config.yaml"
    config.write_text(CONFIG, "utf-8")
    command = [str(installed), "-H", "127.0.0.1", "-p", str(port), "-L", "error"]
    with program([*command, "--config", str(config)]) as process:
        server = Server(process, f"127.0.0.1:{port}")
        _until_filled(server)
        yield server


def _until_filled(server: Server) -> None:
    pause, end = threading.Event(), time.perf_counter() + 60
    while time.perf_counter() < end:
        with contextlib.suppress(OSError):
            if scrape(server.connect(), gzip=False) > SERIES * 50:
                return
        pause.wait(0.2)
    raise TimeoutError("query-exporter shows nothing")


def rows(folder: Path, rounds: int = 5) -> Iterator[Row]:
    peers = installed(folder)
    if peers is None:
        return
    file = settings(folder, 10)
    fill(file, SERIES // 10)
    with serving(peers, folder) as peer, exporter(file) as ours:
        scrape(ours.connect())
        found = [(ours.scrapes(20)[0], peer.scrapes(2)[0]) for _ in range(rounds)]
        memory = [each.memory("VmRSS") / 2**20 for each in (ours, peer)]
    mine, theirs = zip(*found, strict=True)
    name = f"query-exporter {VERSION}"
    yield Row(f"scrape, gzip, {SERIES:,} series", "ms CPU", mine, name, theirs)
    yield Row(f"resident memory, {SERIES:,} series", "MiB", memory[:1], name, memory[1:])
