"""The process's own metrics are those of prometheus-client's collector; what systemd hears of it."""

import re
import socket
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from exporter.telemetry.counters import Process, Telemetry
from exporter.telemetry.systemd import ALIVE, notify
from tests.support.limits import open_files

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


@pytest.mark.parametrize("address", ["{folder}/notify", "@chatbot-exporter-test"])
def test_the_state_reaches_the_socket_that_systemd_names(tmp_path: Path, address: str) -> None:
    path = address.format(folder=tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path.replace("@", "\0"))

        notify(ALIVE, {"NOTIFY_SOCKET": path})

        assert systemd.recv(100) == b"WATCHDOG=1"


def test_without_systemd_and_with_a_socket_that_is_gone_nothing_fails(tmp_path: Path) -> None:
    notify(ALIVE, {})
    notify(ALIVE, {"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_with_no_file_to_open_nothing_fails(tmp_path: Path) -> None:
    with open_files(3):
        notify(ALIVE, {"NOTIFY_SOCKET": str(tmp_path / "notify")})


def test_a_scrape_with_no_file_to_open_answers_without_the_process() -> None:
    telemetry = Telemetry()

    with open_files(3):
        page = telemetry.exposed(openmetrics=False)

    assert b"process_" not in page
    assert b"chatbot_exporter_build_info" in page
    assert b"process_open_fds" in telemetry.exposed(openmetrics=False)
