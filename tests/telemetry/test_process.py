"""The process's own metrics are what prometheus-client's collector shows."""

import re

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from exporter.telemetry.counters import Process, Telemetry

VALUE = re.compile(rb"(?m)^(process_\w+) \S+$")


def reference() -> bytes:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def values(page: bytes) -> dict[str, float]:
    families = text_string_to_metric_families(page.decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_lines_are_the_collectors() -> None:
    page = Process().render(openmetrics=False)

    assert VALUE.sub(rb"\1", page) == VALUE.sub(rb"\1", reference())
    assert len(VALUE.findall(page)) == 6


def test_figures_are_the_collectors() -> None:
    shown = values(Telemetry().exposed(openmetrics=False))

    for name, value in values(reference()).items():
        assert shown[name] == pytest.approx(value, rel=0.05, abs=0.1), name


def test_processor_time_is_of_the_moment() -> None:
    telemetry = Telemetry()
    before = values(telemetry.exposed(openmetrics=False))["process_cpu_seconds_total"]

    while values(reference())["process_cpu_seconds_total"] < before + 0.05:
        pass

    assert values(telemetry.exposed(openmetrics=False))["process_cpu_seconds_total"] > before + 0.04


def test_where_there_is_no_proc_there_is_nothing() -> None:
    assert Process("/nowhere").render(openmetrics=True) == b""
