"""The exporter's own metrics: the families, and their counters.

Counters with target labels are kept here and exported with the target's series; metrics of the
process as a whole are left to prometheus-client.
"""

import itertools
import os
import platform
import re
import resource
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter import __version__
from exporter.logs import SINK
from exporter.model.samples import Family, MetricType, SelfCount

PREFIX = "chatbot_exporter_"
PROCESS_METRICS = frozenset(
    {
        *("process_cpu_seconds_total", "process_start_time_seconds", "python_info"),
        *("process_virtual_memory_bytes", "process_resident_memory_bytes"),
        *("process_open_fds", "process_max_fds"),
    }
)
"""What the client library's collectors show besides the exporter's own families."""


def _family(kind: MetricType, name: str, cap: int, help_: str, *labels: str) -> Family:
    """Return a family, given its name without prefix and the maximum series of a target or query."""
    return Family(PREFIX + name, kind, help_, labels, cap)


_counter = partial(_family, MetricType.COUNTER)
_gauge = partial(_family, MetricType.GAUGE)
_histogram = partial(_family, MetricType.HISTOGRAM)
_TARGET = ("provider", "target")
_QUERY = (*_TARGET, "query")

FAMILIES: tuple[Family, ...] = (
    _gauge("build_info", 1, "Build information; value is always 1.", "version", "revision", "python_version"),
    _gauge("target_info", 1, "Effective per-query settings; value is always 1.", *_QUERY, "granularity", "timezone"),
    _gauge("target_up", 1, "1 if the last completed poll of the query succeeded, else 0.", *_QUERY),
    _counter("polls_total", 1, "Polls started.", *_QUERY),
    _counter("poll_failures_total", 12, "Polls that failed, by error class.", *_QUERY, "reason"),
    _counter("polls_skipped_total", 5, "Poll slots skipped, by reason.", *_QUERY, "reason"),
    _histogram("poll_duration_seconds", 12, "Duration of complete polls including paging and commit.", "provider"),
    _counter("api_requests_total", 9, "HTTP requests sent to provider APIs, by status class or transport error.", *_TARGET, "code"),
    _histogram("api_request_duration_seconds", 12, "Duration of single HTTP requests to provider APIs.", "provider"),
    _counter("throttled_total", 1, "Requests refused by the provider for rate reasons.", *_TARGET),
    _gauge("budget_tokens", 2, "Tokens left in the persisted rate budget.", *_TARGET, "budget"),
    _gauge("blocked_until_timestamp_seconds", 1, "Time before which no request will be sent (budget, Retry-After, backoff or circuit), 0 if none.", *_TARGET),
    _gauge("circuit_open", 1, "1 while the circuit breaker is open or half open.", *_TARGET),
    _gauge("last_attempt_timestamp_seconds", 1, "Start of the last poll, as a Unix timestamp.", *_QUERY),
    _gauge("last_success_timestamp_seconds", 1, "End of the last successful poll, as a Unix timestamp.", *_QUERY),
    _gauge("next_poll_timestamp_seconds", 1, "Planned start of the next poll, as a Unix timestamp.", *_QUERY),
    _gauge("expected_lag_seconds", 1, "Delay after the end of a period until its data are normally settled and published.", *_QUERY),
    _gauge("data_end_timestamp_seconds", 1, "Instant up to which data is settled and complete, as a Unix timestamp.", *_QUERY),
    _gauge("cursor_timestamp_seconds", 1, "Event-stream watermark or start of the oldest unsettled bucket, as a Unix timestamp.", *_QUERY),
    _counter("revisions_total", 4, "Bucket values that changed after first being read.", *_QUERY, "direction", "stage"),
    _counter("retracted_total", 1, "Units by which providers lowered already-read buckets.", *_QUERY),
    _gauge("overhang", 20, "Units by which exported counters currently exceed provider truth.", *_TARGET, "family"),
    _counter("written_off_total", 20, "Overhang units made permanent so that counters could resume growing.", *_TARGET, "family"),
    _counter("provider_resets_total", 1, "Detected provider-side data resets that caused a rebase.", *_QUERY),
    _gauge("quarantined", 1, "1 while a suspicious response is held back awaiting confirmation.", *_QUERY),
    _counter("coverage_gaps_total", 1, "Time ranges that can no longer be read from the provider.", *_QUERY),
    _counter("coverage_gap_seconds_total", 1, "Total length of unreadable time ranges.", *_QUERY),
    _gauge("audit_timestamp_seconds", 1, "End of the last complete audit, as a Unix timestamp.", *_QUERY),
    _gauge("audit_buckets", 3, "Buckets compared by the last audit, by result (equal, different, missing).", *_QUERY, "result"),
    _gauge("audit_difference", 20, "Sum of absolute differences that the last audit found, before they were applied.", *_TARGET, "family"),
    _gauge("history_days", 1, "Days of history read before the first poll.", *_QUERY),
    _counter("duplicate_events_total", 1, "Events read again and discarded by id.", *_QUERY),
    _counter("late_events_total", 2, "Events older than the previous watermark when first read.", *_QUERY, "outcome"),
    _gauge("series", 60, "Series currently exported, by family.", "family"),
    _gauge("series_limit", 60, "Configured series limit, by family.", "family"),
    _counter("dropped_series_total", 20, "New label sets folded or dropped.", *_TARGET, "family", "reason"),
    _counter("schema_drift_total", 5, "Response fields that did not match the adapter's schema.", *_QUERY, "kind"),
    _counter("clock_steps_total", 1, "Steps of the wall clock that were noticed and corrected."),
    _counter("log_lines_dropped_total", 1, "Log lines that could not be written."),
    _gauge("ledger_size_bytes", 1, "Ledger size on disk."),
    _gauge("ledger_rows", 10, "Ledger rows, by table.", "table"),
    _histogram("ledger_commit_duration_seconds", 12, "Duration of ledger commits."),
    _gauge("ledger_last_commit_timestamp_seconds", 1, "Time of the last ledger commit."),
    _counter("ledger_errors_total", 5, "Ledger operations that failed.", "operation"),
    _gauge("ledger_schema_version", 1, "Ledger schema version in use."),
    _gauge("ledger_reachable", 1, "1 if the ledger answered the last check."),
    _gauge("superseded_queries", 1, "Queries that another replica has newer settings of, which this one leaves to it. PostgreSQL only."),
    _gauge("claims", 1, "Queries this replica holds a claim on."),
    _counter("claims_lost_total", 1, "Claims that expired or were taken over before their poll could commit."),
    _gauge("config_last_reload_successful", 1, "1 if the last configuration load succeeded."),
    _gauge("config_last_reload_success_timestamp_seconds", 1, "Time of the last successful configuration load."),
)  # fmt: skip
"""Every self metric, in the catalogue's order."""

_BY_NAME = {family.name: family for family in FAMILIES}
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_CLASSES: Mapping[MetricType, Callable[..., Any]] = {
    MetricType.COUNTER: Counter,
    MetricType.GAUGE: Gauge,
    MetricType.HISTOGRAM: partial(Histogram, buckets=_BUCKETS),
}
_EVENTS = (
    "poll_duration_seconds",
    "api_request_duration_seconds",
    "ledger_commit_duration_seconds",
    "build_info",
    "ledger_errors_total",
    "claims_lost_total",
    "clock_steps_total",
)
_STATES = (
    "ledger_size_bytes",
    "ledger_rows",
    "ledger_last_commit_timestamp_seconds",
    "ledger_schema_version",
    "claims",
    "config_last_reload_successful",
    "config_last_reload_success_timestamp_seconds",
)
"""Metrics of the process that exist from the start; others appear once they are set."""

_STAT = Path("/proc/self/stat")
_FILES = "/proc/self/fd"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()
_UTIME, _STIME, _VSIZE, _RSS = 11, 12, 20, 21
"""Fields of ``/proc/self/stat`` after the program's name (proc(5))."""


class Telemetry:
    """Counts of this process and, restored from the ledger, of earlier ones.

    Metric names are given without the prefix.
    """

    def __init__(self, revision: str = "unknown") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.counts: dict[str, dict[SelfCount, float]] = {}
        self._targets: AbstractSet[str] | None = None
        self._changes = itertools.count(1)
        self._change = 0
        self._rendered: dict[bool, tuple[int, bytes]] = {}
        self._process = Process()
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        PlatformCollector(registry=self._registry)
        for name in _EVENTS:
            self._metric(name)
        self._registry.register(_LogLines())
        for name in _STATES:
            self._metric(name)
        self.set("build_info", 1, __version__, revision, platform.python_version())
        self._metric("ledger_errors_total", "commit")  # at 0, so that the first error shows

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set the gauge ``name`` that describes the process as a whole."""
        self._metric(name, *labels).set(value)
        self._changed()

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Add a duration to the histogram ``name``."""
        self._metric(name, *labels).observe(seconds)
        self._changed()

    def increment(self, name: str, *labels: str) -> None:
        """Add 1 to the counter ``name`` that describes the process as a whole."""
        self._metric(name, *labels).inc()
        self._changed()

    def count(self, name: str, amount: float = 1, *, target: str, **labels: str) -> None:
        """Add ``amount`` to the self counter ``name`` of ``target``."""
        key = (PREFIX + name, tuple(sorted((labels | {"target": target}).items())))
        self.add({key: amount})

    def add(self, counted: Mapping[SelfCount, float]) -> None:
        """Add counts that the ledger persisted or restored."""
        for key, amount in counted.items():
            counts = self._counts_of(key)
            counts[key] = counts.get(key, 0.0) + amount

    def restore(self, counted: Mapping[SelfCount, float]) -> None:
        """Raise counts to those of the ledger, which other replicas may have raised."""
        for key, amount in counted.items():
            counts = self._counts_of(key)
            counts[key] = max(amount, counts.get(key, 0.0))  # the ledger may be an older state

    def keep(self, targets: AbstractSet[str]) -> None:
        """Drop the counts of all targets but ``targets``, and ignore what their last polls add."""
        self._targets = targets
        self.counts = {target: self.counts.get(target, {}) for target in targets}

    def _counts_of(self, key: SelfCount) -> dict[SelfCount, float]:
        target = dict(key[1])["target"]
        removed = self._targets is not None and target not in self._targets
        return {} if removed else self.counts.setdefault(target, {})

    def exposed(self, openmetrics: bool) -> bytes:  # noqa: FBT001 - the renderer's callback
        """Return the metrics of the process, without the last line.

        Memory and CPU time are read for each scrape; the rest is rendered when it has changed.
        """
        change = self._change  # before rendering, so that what changes meanwhile is not lost
        seen, body = self._rendered.get(openmetrics, (-1, b""))
        if seen != change:
            body = _generate(self._registry, openmetrics)
            self._rendered[openmetrics] = (change, body)
        return self._process.render(openmetrics=openmetrics) + body

    def _changed(self) -> None:
        """Make the next scrape render again; called after a change, from several threads."""
        self._change = next(self._changes)

    def _metric(self, name: str, *labels: str) -> Any:
        """Return the metric ``name``, or its child of ``labels``; create it on first use."""
        metric = self._metrics.get(name)
        if metric is None:
            family = _BY_NAME[PREFIX + name]
            metric = self._metrics[name] = _CLASSES[family.kind](
                family.name, family.help, family.labels, registry=self._registry
            )
        return metric.labels(*labels) if labels else metric


class _LogLines(Collector):
    """The number of lost log lines, read when it is rendered."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = _BY_NAME[f"{PREFIX}log_lines_dropped_total"]
        yield CounterMetricFamily(family.name, family.help, value=SINK.dropped)


class Process:
    """Renders memory, CPU time and open files; nothing if there is no ``/proc``.

    Names, help and format come from prometheus-client's collector, which runs once. The values are
    read here, since the collector would take a third of the time of a scrape.
    """

    def __init__(self, proc: str = "/proc") -> None:
        registry = CollectorRegistry()
        ProcessCollector(proc=proc, registry=registry)
        changing = re.compile(rb"^(process_(?!start_time)\w+) \S+$", re.MULTILINE)
        self._templates = [
            changing.sub(rb"\1 %(\1)b", _generate(registry, openmetrics))
            for openmetrics in (False, True)
        ]

    def render(self, *, openmetrics: bool) -> bytes:
        """Return the lines of one scrape; none where no file can be opened to read the values."""
        template = self._templates[openmetrics]
        try:
            return template % _values() if template else b""
        except OSError:
            return b""


def _values() -> dict[bytes, bytes]:
    fields = _STAT.read_bytes().rpartition(b") ")[2].split()
    cpu_s = (int(fields[_UTIME]) + int(fields[_STIME])) * _TICK_S
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        b"process_cpu_seconds_total": b"%.2f" % cpu_s,
        b"process_virtual_memory_bytes": fields[_VSIZE],
        b"process_resident_memory_bytes": b"%d" % (int(fields[_RSS]) * _PAGE),
        b"process_open_fds": b"%d" % len(os.listdir(_FILES)),  # noqa: PTH208 - no object per file
        b"process_max_fds": b"%d" % most,
    }


def _generate(registry: CollectorRegistry, openmetrics: bool) -> bytes:  # noqa: FBT001 - by position
    if openmetrics:
        body: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
        return body.removesuffix(b"# EOF\n")
    return generate_latest(registry)
