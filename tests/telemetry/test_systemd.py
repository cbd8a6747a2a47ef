"""What systemd hears of a service that watches itself."""

import os
import resource
import socket
from pathlib import Path

from exporter.telemetry.systemd import ALIVE, notify


def test_the_state_reaches_the_socket_that_systemd_names(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))

        notify(ALIVE, {"NOTIFY_SOCKET": str(tmp_path / "notify")})

        assert systemd.recv(100) == b"WATCHDOG=1"


def test_an_abstract_socket_is_found_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0chatbot-exporter-test")

        notify(ALIVE, {"NOTIFY_SOCKET": "@chatbot-exporter-test"})

        assert systemd.recv(100) == b"WATCHDOG=1"


def test_without_systemd_and_with_a_socket_that_is_gone_nothing_fails(tmp_path: Path) -> None:
    notify(ALIVE, {})
    notify(ALIVE, {"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_with_no_file_to_open_nothing_fails(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        notify(ALIVE, {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(lowest)
