"""The program as its operator meets it: it starts, answers, refuses and ends."""

import contextlib
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.e2e.processes import end, free_port, hanging_vendor, page, program, wait_for, written

pytestmark = pytest.mark.slow
STARTS_WITHIN_S = 30
ENDS_WITHIN_S = 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_with_0_while_a_vendor_hangs(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    with hanging_vendor() as vendor, running(tmp_path, port, vendor) as p:
        wait_for(lambda: "polls_total" in (page(port) or ""), STARTS_WITHIN_S)

        code, seconds, said = end(p, number)

    assert (code, seconds < ENDS_WITHIN_S) == (0, True), (code, seconds, said)
    assert "Traceback" not in said
    assert "canary" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_demo_ends_with_0_and_leaves_nothing(number: signal.Signals) -> None:
    port = free_port()
    with program("demo", "--listen", f"127.0.0.1:{port}") as p:
        wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)

        code, seconds, said = end(p, number)

    assert (code, seconds < ENDS_WITHIN_S) == (0, True), (code, seconds, said)
    assert "Traceback" not in said


def test_metrics_answer_before_the_first_poll_has_ended(tmp_path: Path) -> None:
    port = free_port()
    with hanging_vendor() as vendor, running(tmp_path, port, vendor) as p:
        wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)
        shown = page(port) or ""
        end(p, signal.SIGTERM)

    assert 'chatbot_exporter_polls_total{provider="flowxo",target="promo"' in shown
    assert "chatbot_exporter_target_up{" not in shown
    assert "chatbot_exporter_last_success_timestamp_seconds{" not in shown


def test_the_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    port = free_port()
    with hanging_vendor() as vendor, running(tmp_path, port, vendor) as p:
        wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)
        modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in tmp_path.glob("ledger.db*")}
        end(p, signal.SIGTERM)

    assert modes["ledger.db"] == 0o600
    assert set(modes.values()) == {0o600}, modes


def test_a_second_process_on_one_ledger_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with hanging_vendor() as vendor, running(tmp_path, port, vendor) as p:
        wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)
        listen = f"127.0.0.1:{free_port()}"
        with program("run", "--config", str(tmp_path / "exporter.yaml"), "--listen", listen) as two:
            said = refusal(two)
        end(p, signal.SIGTERM)

    assert "ledger" in said


@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_port_in_use_is_refused(command: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, hanging_vendor() as vendor:
        port = taken.getsockname()[1]
        listen = ["--listen", f"127.0.0.1:{port}"]
        if command == "run":
            listen += ["--config", written(tmp_path, port, vendor)]
        with program(command, *listen) as process:
            said = refusal(process)

    assert str(port) in said


def running(
    folder: Path, port: int, vendor: str
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return program("run", "--config", written(folder, port, vendor))


def refusal(process: subprocess.Popen[str]) -> str:
    """Return the sentence with which a process gave up."""
    said, _ = process.communicate(timeout=STARTS_WITHIN_S)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    return next(line for line in said.splitlines() if line.startswith("Error: "))
