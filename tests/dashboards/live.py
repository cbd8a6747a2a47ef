"""Real servers on loopback: Prometheus over the demo's history, and its kin."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.dashboards.promtool import DEADLINE_S, Build, needed
from tests.e2e.processes import ROOT, free_port, wait_for
from tests.packaging.programs import said

GRAFANA = {"$__rate_interval": "1h", "$__interval": "1h", "$__range": "2h"}


@contextmanager
def prometheus(
    folder: Path,
    files: Sequence[Path],
    step_s: int,
    build: Build = "installed",
    features: str = "",
) -> Iterator[httpx.Client]:
    """Start Prometheus over files of OpenMetrics with instants; yield a client of its API."""
    settings, data = folder / "prometheus.yml", folder / "data"
    settings.write_text("global: {scrape_interval: 1h}\n", encoding="utf-8")
    for file in files:
        promtool = needed("promtool", build)
        said(promtool, "tsdb", "create-blocks-from", "openmetrics", "-q", file, data)
    command = [
        needed("prometheus", build),
        f"--config.file={settings}",
        f"--storage.tsdb.path={data}",
        f"--enable-feature={features}",
        "--storage.tsdb.retention.time=10y",
        f"--query.lookback-delta={step_s}s",
    ]
    with started(command) as client:
        yield client


@contextmanager
def started(
    command: Sequence[str], port: int | None = None, folder: Path = ROOT
) -> Iterator[httpx.Client]:
    """Start a server in ``folder``; yield a client once it is ready, and end it with the block."""
    address = f"127.0.0.1:{port or free_port()}"
    listening = [*command, f"--web.listen-address={address}"]
    with (
        subprocess.Popen(  # noqa: S603 - Prometheus and its kin
            listening, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        httpx.Client(base_url=f"http://{address}", timeout=60) as client,
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
