"""A program that is stopped, also while it starts: no traceback, nothing left, and soon."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.processes import SETTINGS, end, free_port, page, pause, program, wait_for

PROMPT_S = 10
STOPPABLE_S = 30


def wait_until_stoppable(process: subprocess.Popen[str]) -> None:
    """Return once the process handles SIGTERM itself, which the program does first of all."""

    def catches_term() -> bool:
        assert process.poll() is None, process.communicate()[0]
        lines = Path(f"/proc/{process.pid}/status").read_text("utf-8").splitlines()
        (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    wait_for(catches_term, STOPPABLE_S, every=0.01)


@pytest.mark.parametrize(
    ("number", "after_s"),
    [
        (signal.SIGTERM, 0),
        (signal.SIGINT, 0.5),
        (signal.SIGTERM, 2),
        (signal.SIGINT, None),
    ],
)
def test_a_demo_is_stopped_while_it_starts_and_once_it_serves(
    number: signal.Signals, after_s: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    port = free_port()
    with program("demo", "--listen", f"127.0.0.1:{port}") as process:
        wait_until_stoppable(process)
        if after_s is None:
            wait_for(lambda: page(port) is not None, STOPPABLE_S)
        pause(after_s or 0)

        code, seconds, output = end(process, number)

    assert (code, seconds < PROMPT_S) == (0, True), (code, seconds, output)
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


def test_a_reload_while_it_starts_does_not_end_a_run(tmp_path: Path) -> None:
    (tmp_path / "exporter.yaml").write_text(SETTINGS.format(port=0, vendor="http://127.0.0.1:9"))
    with program("run", "--config", str(tmp_path / "exporter.yaml")) as process:
        wait_until_stoppable(process)
        process.send_signal(signal.SIGHUP)
        wait_for((tmp_path / "ledger.db").exists, STOPPABLE_S)

        code, _, output = end(process, signal.SIGTERM)

    assert code == 0, output


def test_an_interrupted_check_fails(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "exporter.yaml")  # nobody writes it, so the check lasts
    with program("check-config", str(tmp_path / "exporter.yaml")) as process:
        wait_until_stoppable(process)

        code, _, output = end(process, signal.SIGINT)

    assert code == 1
    assert "Traceback" not in output
