"""Real processes: exporters on one PostgreSQL, vendors that log, and who scrapes them in turn."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.simulator import SIMULATORS
from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from exporter.web.app import TEXT
from tests.e2e.processes import CLOCK, ROOT, free_port, wait_for
from tests.e2e.test_prometheus import Prometheus, prometheus
from tests.faults.bench import happened
from tests.replicas import shifted
from tests.replicas.checks import Outage, Scrape, increase, parsed
from tests.replicas.shifted import FILE
from tests.replicas.vendors import VendorLog, logged
from tests.support.postgresql import PASSWORD, Pooler, PostgreSQL, Way, way_to
from tests.support.served import ServedVendors, answering, document

LAUNCHER = Path(shifted.__file__)
FAMILIES = {
    "flowxo": {"chatbot_messages_received_total", "chatbot_messages_sent_total"},
    "inkeep": {"chatbot_conversations_started_total"},
}
BUDGETED = "xenioo"
"""A target that may be asked once an hour: it counts too little in a test to be compared."""
HAPPENING = (Kind.MESSAGE_RECEIVED, Kind.MESSAGE_SENT, Kind.CONVERSATION_STARTED)
LAST_SUCCESS = "chatbot_exporter_last_success_timestamp_seconds"
QUERIES = 6
"""Of the targets that are polled each second."""
STARTS_WITHIN_S = 240
SCRAPE_EVERY_S = 0.15
LONGER_THAN_ALL = "3h"
NO_LEDGER = re.compile("check that the server runs|the ledger (refused|has another server)")


@dataclass(slots=True)
class Replica:
    """One exporter: its settings, its ways to the servers, its process and its machine's clock."""

    name: str
    folder: Path
    ways: list[Way]
    settings: Callable[[str], dict[str, Any]]
    port: int = field(default_factory=free_port)
    root: Path = ROOT
    ahead_s: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    client: httpx.Client = field(default_factory=partial(httpx.Client, trust_env=False))

    def write(self, **target: Any) -> None:
        """Write the settings file; ``target`` changes the first target."""
        hosts = "&".join(f"host=127.0.0.1:{way.port}" for way in self.ways)
        url = f"postgresql://shop:{PASSWORD}@/ledger?{hosts}&target_session_attrs=read-write"
        given = self.settings(self.name)
        given["targets"][0] |= target
        given |= {"ledger": {"url": url}, "web": {"listen": f"127.0.0.1:{self.port}"}}
        (self.folder / f"{self.name}.yaml").write_text(yaml.safe_dump(given), "utf-8")

    def start(self) -> None:
        """Start the process; its machine's clock is ahead by what a file says."""
        self.step(self.ahead_s)
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", str(LAUNCHER), "run", "--config", f"{self.name}.yaml"],
                cwd=self.folder, stdout=log, stderr=log,
                env=os.environ | {"PYTHONPATH": str(self.root), FILE: str(self._ahead)},
            )  # fmt: skip

    @property
    def _ahead(self) -> Path:
        return self.folder / f"{self.name}.ahead"

    def step(self, ahead_s: int) -> None:
        """Set the machine's clock."""
        self.ahead_s = ahead_s
        written = self._ahead.with_suffix(".new")
        written.write_text(str(ahead_s), "utf-8")
        written.replace(self._ahead)  # at once: it may be read at any time

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, and wait for its end where it ends."""
        assert self.process is not None
        self.process.send_signal(number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self.process.wait(STARTS_WITHIN_S)

    @property
    def log(self) -> str:
        """Return what the process has logged."""
        return (self.folder / f"{self.name}.log").read_text("utf-8")

    @property
    def runs(self) -> bool:
        """Say whether the process has not ended."""
        return self.process is not None and self.process.poll() is None

    def answers(self) -> bool:
        """Say whether it answers a scrape; start it again where the database let it not start."""
        if not self.runs:
            why = self.log.splitlines()[-1]
            assert NO_LEDGER.search(why), f"{self.name} has ended: {self.log[-2_000:]}"
            self.start()
        return self.scrape() is not None

    def ask(self, path: str, method: str = "GET") -> int | None:
        """Return the status of an answer; None where there is none."""
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            return self.client.request(method, url, timeout=20).status_code
        except httpx.TransportError:
            return None

    def page(self, timeout_s: float = 5) -> str | None:
        """Return the page of metrics as text; None where nobody answers."""
        try:
            answer = self.client.get(f"http://127.0.0.1:{self.port}/metrics", timeout=timeout_s)
        except httpx.TransportError:
            return None
        return answer.text

    def scrape(self, timeout_s: float = 5) -> Scrape | None:
        """Return what a scrape shows now; None where nobody answers."""
        began_s = CLOCK.monotonic()
        page = self.page(timeout_s)
        if page is None:
            return None
        return Scrape(self.name, began_s, CLOCK.monotonic(), parsed(page))


@dataclass(slots=True)
class Cluster:
    """All of it, and what was seen."""

    primary: PostgreSQL
    pooler: Pooler | None
    stack: ExitStack
    vendors: ServedVendors
    replicas: list[Replica]
    log: VendorLog
    since_ms: int
    prometheus: Prometheus | None = None
    scrapes: list[Scrape] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)

    def truth(self) -> dict[str, float]:
        """Return what happened at each vendor, by family and target."""
        since_ms, to_ms = self.since_ms, self.vendors.clock.now_ms()
        return {
            _total(name, family): float(
                self.vendors.ask(
                    partial(happened, self.vendors.traffic, name, family, since_ms, to_ms)
                )
            )
            for name, families in FAMILIES.items()
            for family in families
        }


def _total(target: str, family: str) -> str:
    return f'{family}{{target="{target}"}}'


def totals(scrape: Scrape) -> dict[str, float]:
    """Return the sums of a page by family and target, named as ``Cluster.truth`` names them."""
    sums: dict[str, float] = {}
    for series, value in scrape.samples.items():
        family, _, labels = series.partition("{")
        for target, families in FAMILIES.items():
            if family in families and f'target="{target}"' in labels:
                key = _total(target, family)
                sums[key] = sums.get(key, 0.0) + value
    return sums


@contextmanager
def cluster(
    folder: Path,
    primary: PostgreSQL,
    standby: PostgreSQL | None = None,
    pooler: Pooler | None = None,
    number: int = 3,
) -> Iterator[Cluster]:
    """Run ``number`` exporters, and scrape them in turn; their ledger is behind ``pooler``, if any.

    Else they know the ``standby``, too.
    """
    ports = [each.port for each in ([pooler] if pooler else [primary, standby]) if each]
    primary.administer("DROP DATABASE IF EXISTS ledger", "CREATE DATABASE ledger OWNER shop")
    names, log = (*FAMILIES, BUDGETED), VendorLog()
    builders = logged(log, {name: SIMULATORS[name] for name in names})
    with ExitStack() as stack:
        vendors = stack.enter_context(ServedVendors(names, Traffic(None), builders=builders))

        made = Cluster(primary, pooler, stack, vendors, [], log, vendors.clock.now_ms())
        for at in range(number):
            ways = [stack.enter_context(way_to(port)) for port in ports]
            replica = Replica(f"r{at + 1}", folder, ways, partial(_settings, folder, vendors))
            replica.write()
            made.replicas.append(replica)
        stack.callback(_end, made)
        ended = threading.Event()
        threads = [threading.Thread(target=_scrape, args=(made, ended)) for _ in range(2)]
        for replica in made.replicas:
            replica.start()
        for thread in threads:
            thread.start()
        try:
            yield made
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def _settings(folder: Path, vendors: ServedVendors, replica: str) -> dict[str, Any]:
    targets = [
        {"name": name}
        | ({} if name == BUDGETED else {"interval": "1s", "slow_interval": "2s"})
        | vendors.services[name].target(f"{vendors.urls[name]}/{replica}")
        for name in (*FAMILIES, BUDGETED)
    ]
    targets[1]["queries"] = ["events", "conversations", "feedback", "escalations"]
    return document(folder, *targets, zero_hold="3s")


def _end(made: Cluster) -> None:
    for replica in made.replicas:
        replica.client.close()
        if replica.runs:
            replica.send(signal.SIGKILL)


def shown_by(replica: Replica) -> Scrape:
    """Return the next scrape of ``replica`` that carries series of vendors."""
    found: list[Scrape] = []

    def shows() -> bool:
        scrape = replica.scrape()
        if scrape is not None and not scrape.is_blind:
            found.append(scrape)
        return bool(found)

    wait_for(shows, STARTS_WITHIN_S)
    return found[0]


def _scrape(made: Cluster, ended: threading.Event) -> None:
    """Scrape as a load balancer would that knows of no health: each replica in turn."""
    turn = cycle(made.replicas)
    while not ended.wait(SCRAPE_EVERY_S):
        if scrape := next(turn).scrape(timeout_s=3):
            made.scrapes.append(scrape.of_targets())


@contextmanager
def balancer(made: Cluster) -> Iterator[int]:
    """Answer requests at a port with the page of each replica in turn; 502 where there is none."""
    turn, lock = cycle(made.replicas), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                replica = next(turn)
            page = replica.page(timeout_s=3)
            self.send_response(HTTPStatus.OK if page else HTTPStatus.BAD_GATEWAY)
            self.send_header("Content-Type", TEXT)
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write((page or "").encode())

    with answering(Handler) as port:
        yield port


@contextmanager
def observed(made: Cluster, folder: Path) -> Iterator[None]:
    """Let a Prometheus scrape the balancer; return once it has counted what happened first."""
    with balancer(made) as port, prometheus(folder, port) as made.prometheus:
        shown = {name for page in wait_until_polled(made).values() for name in totals(page)}
        server = made.prometheus  # it is to see the counters at 0, not only the harness
        wait_for(lambda: all(map(server.series, shown)), STARTS_WITHIN_S)
        at_ms = made.vendors.clock.now_ms()
        for kind in HAPPENING:
            made.vendors.ask(partial(made.vendors.traffic.add, kind, at_ms, count=3))
        wait_for(lambda: increases(made) == made.truth(), STARTS_WITHIN_S)
        yield


def increases(made: Cluster) -> dict[str, float]:
    """Return by how much Prometheus saw the counters rise, named as ``Cluster.truth`` names them."""
    assert made.prometheus is not None
    series = {name: made.prometheus.series(name, LONGER_THAN_ALL) for name in made.truth()}
    return {name: sum(map(increase, each)) for name, each in series.items()}


@contextmanager
def traffic(made: Cluster, rng: random.Random, every_s: float = 0.2) -> Iterator[None]:
    """Let things happen at the vendors while the block lasts."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(every_s):
            at_ms, n = made.vendors.clock.now_ms(), rng.randint(1, 5)
            kind = rng.choice(HAPPENING)
            made.vendors.ask(partial(made.vendors.traffic.add, kind, at_ms, count=n))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def wait_until_polled(made: Cluster) -> dict[str, Scrape]:
    """Return what each replica shows once all queries have been polled again.

    The database's clock, by which polls are dated, is that of this machine. A poll that ended two
    seconds from now began when everything was visible.
    """
    from_s = CLOCK.now_ms() / 1000 + 2
    shown: dict[str, Scrape] = {}

    def polled() -> bool:
        shown.update({replica.name: shown_by(replica) for replica in made.replicas})
        return all(_oldest_poll_s(scrape) >= from_s for scrape in shown.values())

    wait_for(polled, STARTS_WITHIN_S)
    return shown


def _oldest_poll_s(scrape: Scrape) -> float:
    found = [
        value
        for series, value in scrape.samples.items()
        if series.startswith(f"{LAST_SUCCESS}{{") and f'target="{BUDGETED}"' not in series
    ]
    return min(found, default=0.0) if len(found) >= QUERIES else 0.0
