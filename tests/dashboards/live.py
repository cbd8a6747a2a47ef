"""A real Prometheus on loopback, over data of the shape that the exporter has."""

import itertools
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from dashboards.source.tuning import Tuning
from exporter.catalog import entries
from exporter.providers import KINDS
from exporter.samples import Family, Kind
from tests.dashboards.promtool import DEADLINE_S, needed

NOW_S = 1_772_712_000  # 2026-03-05T12:00:00Z
STEP_S = 60
SPAN_S = 2 * 3600
WEEK_S = 7 * 86_400
JOB = {"job": "chatbot-exporter", "instance": "localhost:10877"}
BOT = {"target": "shop", "project": "bot", "bot_environment": ""}
CHOICES = {
    "window": ("hour", "day", "rolling_7d"),
    "period": ("hour", "day"),
    "rating": ("positive", "negative"),
    "granularity": ("hour",),
    "reason": ("auth", "throttled", "schema"),
    "channel": ("", "web"),
}
INSTANTS = ("_timestamp_seconds",)


def families() -> list[tuple[Family, str]]:
    """Return every family of the catalogue with each provider that feeds it."""
    pairs = []
    for entry in entries(KINDS):
        sources = KINDS if entry.sources == ("exporter",) else entry.sources
        pairs += [(entry.family, source) for source in sources]
    return pairs


def lines() -> Iterator[str]:
    """Yield OpenMetrics with instants: two hours up to ``NOW_S``."""
    seen: set[str] = set()
    for family, provider in families():
        for labels in _labels(family, provider):
            for name, slope in _samples(family):
                series = rendered(name, labels)
                if series not in seen:
                    seen.add(series)
                    yield from _course(series, slope)
    yield from _recorded()
    yield from _prometheus_own()
    yield "# EOF\n"


def rendered(name: str, labels: Mapping[str, str]) -> str:
    """Return a series as text."""
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


@contextmanager
def prometheus(folder: Path) -> Iterator[httpx.Client]:
    """Start Prometheus over ``lines()``; yield a client of its API."""
    _import(folder)
    settings = folder / "prometheus.yml"
    settings.write_text("global: {scrape_interval: 1h}\n", encoding="utf-8")
    port = _free_port()
    command = [
        needed("prometheus"),
        f"--config.file={settings}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stderr is not None
        try:
            assert any("ready to receive web requests" in line for line in process.stderr)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                yield client
        finally:
            process.terminate()
            process.stderr.read()


def asked(client: httpx.Client, expr: str) -> list[Any]:
    """Return the result of an instant query at ``NOW_S``; its error fails the test."""
    answer = client.post("/api/v1/query", data={"query": expr, "time": str(NOW_S)})
    body = answer.json()
    assert body["status"] == "success", f"{body.get('error')}: {expr}"
    result: list[Any] = body["data"]["result"]
    return result


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _import(folder: Path) -> None:
    source = folder / "history.om"
    source.write_text("".join(lines()), encoding="utf-8")
    command = [needed("promtool"), "tsdb", "create-blocks-from", "openmetrics", "-q"]
    subprocess.run(  # noqa: S603 - promtool itself
        [*command, str(source), str(folder / "data")],
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )


def _labels(family: Family, provider: str) -> Iterator[dict[str, str]]:
    own = {"provider": provider} | BOT
    values = [CHOICES.get(name, (own.get(name, f"some-{name}"),)) for name in family.labels]
    for chosen in itertools.product(*values):
        yield JOB | dict(zip(family.labels, chosen, strict=True))


def _samples(family: Family) -> Iterator[tuple[str, float]]:
    """Yield the sample names of a family, and by how much each grows in a minute."""
    match family.kind:
        case Kind.COUNTER:
            yield family.name, 1.0
        case Kind.HISTOGRAM:
            yield f"{family.name}_count", 1.0
            yield f"{family.name}_sum", 0.4
            yield f"{family.name}_bucket", 1.0
        case Kind.GAUGE:
            yield family.name, STEP_S if family.name.endswith(INSTANTS) else 0.0


def _course(series: str, slope: float) -> Iterator[str]:
    """Yield a series that stands still, grows, or is an instant an hour and a half ago."""
    if "_bucket{" in series:
        yield from _buckets(series, slope)
        return
    last = {0.0: 40, 1.0: 500, float(STEP_S): NOW_S - 5_400}.get(slope, 200)
    for instant in range(NOW_S - SPAN_S, NOW_S + 1, STEP_S):
        value = last + slope * (instant - NOW_S) / STEP_S
        yield f"{series} {value!r} {instant}\n"


def _buckets(series: str, slope: float) -> Iterator[str]:
    for bound, share in (("0.5", 0.6), ("5", 0.95), ("+Inf", 1.0)):
        named = series.replace("}", f',le="{bound}"}}')
        for instant in range(NOW_S - SPAN_S, NOW_S + 1, STEP_S):
            yield f"{named} {share * (slope * (instant - NOW_S) / STEP_S + 500):g} {instant}\n"


def _recorded() -> Iterator[str]:
    """Yield what the rules would have recorded, also at the same hours of earlier weeks."""
    values = {
        "bot:chatbot_engagement:hour": 40,
        "bot:chatbot_weekly_users:last": 90,
        "bot:chatbot_fallback_share:ratio6h": 0.1,
        "bot:chatbot_fallback_base:sum6h": 200,
        "bot:chatbot_handover_share:ratio24h": 0.1,
        "bot:chatbot_handover_base:sum24h": 200,
    }
    for window in (drop.window for drop in Tuning().drops):
        values |= {
            f"bot:chatbot_engagement:{window}": 40,
            f"bot:chatbot_engagement_expected:{window}": 42,
            f"bot:chatbot_engagement_weeks:{window}": 4,
            f"bot:chatbot_engagement_surprise:{window}": -0.5,
            f"bot:chatbot_engagement_deviation:{window}": 0.5,
            f"bot:chatbot_engagement_scale:{window}": 1,
            f"bot:chatbot_engagement_score:{window}": -0.5,
        }
    for week in range(4, -1, -1):
        for name, value in values.items():
            for provider in KINDS:
                series = rendered(name, {"provider": provider} | BOT)
                for instant in range(NOW_S - week * WEEK_S - 1_800, NOW_S - week * WEEK_S + 1, 300):
                    yield f"{series} {value} {instant}\n"


def _prometheus_own() -> Iterator[str]:
    firing = {"alertname": "ChatbotDataStale", "alertstate": "firing", "target": "shop"}
    constant = {
        "up": JOB,
        "scrape_samples_post_metric_relabeling": JOB,
        "scrape_duration_seconds": JOB,
        "process_resident_memory_bytes": JOB,
        "process_open_fds": JOB,
        "process_max_fds": JOB,
    }
    for name, labels in constant.items():
        yield from _course(rendered(name, labels), 0)
    for provider in KINDS:
        yield from _course(rendered("ALERTS", firing | {"provider": provider}), 0)
    yield from _course(rendered("process_cpu_seconds_total", JOB), 1)
    group = {"job": "prometheus", "rule_group": "rules.yaml;chatbot-engagement.records"}
    yield from _course(rendered("prometheus_rule_evaluation_failures_total", group), 1)
