"""A real Prometheus on loopback over the demo's history."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.dashboards.promtool import DEADLINE_S, Build, needed
from tests.e2e.processes import ROOT, free_port, wait_for

GRAFANA = {"$__rate_interval": "1h", "$__interval": "1h", "$__range": "2h"}


class Server:
    """Prometheus over a folder of blocks, started anew when there are new ones."""

    def __init__(
        self, folder: Path, step_s: int, build: Build = "installed", features: str = ""
    ) -> None:
        self._folder, self._step_s = folder, step_s
        self._build: Build = build
        self._features = features
        self._settings = folder / "prometheus.yml"
        self._settings.write_text("global: {scrape_interval: 1h}\n", encoding="utf-8")

    def load(self, files: Sequence[Path]) -> None:
        """Take in files of OpenMetrics with instants."""
        for file in files:
            command = ("create-blocks-from", "openmetrics", "-q", str(file), str(self._data))
            _promtool(self._build, *command)

    @contextmanager
    def running(self) -> Iterator[httpx.Client]:
        """Start Prometheus over all blocks; yield a client of its API."""
        port = free_port()
        command = [
            needed("prometheus", self._build),
            f"--config.file={self._settings}",
            f"--storage.tsdb.path={self._data}",
            f"--enable-feature={self._features}",
            "--storage.tsdb.retention.time=10y",
            f"--query.lookback-delta={self._step_s}s",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with started(command, port) as client:
            yield client

    @property
    def _data(self) -> Path:
        return self._folder / "data"


@contextmanager
def started(command: Sequence[str], port: int, folder: Path = ROOT) -> Iterator[httpx.Client]:
    """Start a server in ``folder``; yield a client once it is ready, and end it with the block."""
    with (
        subprocess.Popen(  # noqa: S603 - Prometheus and its kin
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            wait_for(lambda: process.poll() is not None or is_ready(client), DEADLINE_S)
            assert process.poll() is None, f"{command} ended"
            yield client
        finally:
            process.terminate()


def is_ready(client: httpx.Client) -> bool:
    """Say whether a server of the kind answers queries."""
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False


@contextmanager
def alertmanager(settings: Path, folder: Path) -> Iterator[httpx.Client]:
    """Start Alertmanager on loopback; yield a client of its API."""
    port = free_port()
    command = [
        needed("alertmanager"),
        f"--config.file={settings}",
        f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with started(command, port) as client:
        yield client


def asked(client: httpx.Client, expr: str, at_s: int) -> list[Any]:
    """Return the result of an instant query; its error fails the test."""
    return _result(client, "query", {"query": expr, "time": str(at_s)})


def ranged(client: httpx.Client, expr: str, span: tuple[int, int], step_s: int) -> list[Any]:
    """Return the result of a query over a span."""
    times = {"start": str(span[0]), "end": str(span[1]), "step": str(step_s)}
    return _result(client, "query_range", {"query": expr, **times})


def substituted(expr: str, grafana: dict[str, str]) -> str:
    """Return the query with Grafana's variables in place, those of boards as all."""
    for name, value in grafana.items():
        expr = expr.replace(name, value)
    return re.sub(r'"\$\w+"', '".*"', expr)


def _result(client: httpx.Client, kind: str, data: dict[str, str]) -> list[Any]:
    body = client.post(f"/api/v1/{kind}", data=data).json()
    assert body["status"] == "success", f"{body.get('error')}: {data['query']}"
    result: list[Any] = body["data"]["result"]
    return result


def _promtool(build: Build, *arguments: str) -> None:
    command = [needed("promtool", build), "tsdb", *arguments]
    subprocess.run(  # noqa: S603 - promtool itself
        command, check=True, capture_output=True, timeout=DEADLINE_S
    )
