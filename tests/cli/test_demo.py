"""What the demo says, also where it cannot start."""

import socket
from pathlib import Path

import pytest
import yaml

from exporter.cli import demo
from exporter.clock import SystemClock
from exporter.errors import MachineError
from exporter.simulator import SIMULATORS
from exporter.simulator.traffic import Traffic
from tests.web.authority import self_signed


def test_a_simulator_that_cannot_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_address: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "create_server", refuse)

    ready = demo._simulate("flowxo", SIMULATORS["flowxo"](SystemClock(), Traffic(None)))

    with pytest.raises(MachineError, match=r"simulator of flowxo cannot start: .*Too many"):
        ready.result(timeout=10)


def test_the_demo_greets_with_the_scheme_that_it_serves(tmp_path: Path) -> None:
    pair, file = self_signed(tmp_path, "here"), tmp_path / "web.yaml"
    inline = {"cert": pair.cert.read_text(), "key": pair.key.read_text()}
    file.write_text(yaml.safe_dump({"tls_server_config": inline}))
    assert "https://127.0.0.1:1" in demo.welcome("127.0.0.1:1", file)

    file.write_text("# tls_server_config: {cert_file: a.pem}\nbasic_auth_users: {}\n")
    assert "https:" not in demo.welcome("127.0.0.1:1", file)
    assert "http://127.0.0.1:1" in demo.welcome("127.0.0.1:1", None)
