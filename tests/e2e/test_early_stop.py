"""A program that is stopped while it starts: no traceback, nothing left, and soon."""

import signal
import threading
from pathlib import Path

import pytest

from tests.e2e.processes import SETTINGS, end, free_port, program, wait_for

pytestmark = pytest.mark.slow
PROMPT_S = 4
STOPPABLE_S = 30


def catches_term(pid: int) -> bool:
    """Say whether the process handles SIGTERM itself, which is the first thing the program does."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("after_s", [0, 0.5, 1, 2, 4])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_is_stopped_while_it_starts(
    number: signal.Signals, after_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with program("demo", "--listen", f"127.0.0.1:{free_port()}") as process:
        wait_for(lambda: catches_term(process.pid), STOPPABLE_S, every=0.01)
        threading.Event().wait(after_s)

        code, seconds, said = end(process, number)

    assert (code, seconds < PROMPT_S) == (0, True), (code, seconds, said)
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after_s", [0, 0.5, 2])
def test_a_reload_while_it_starts_does_not_end_a_run(after_s: float, tmp_path: Path) -> None:
    (tmp_path / "exporter.yaml").write_text(SETTINGS.format(port=0, vendor="http://127.0.0.1:9"))
    with program("run", "--config", str(tmp_path / "exporter.yaml")) as process:
        wait_for(lambda: catches_term(process.pid), STOPPABLE_S, every=0.01)
        threading.Event().wait(after_s)
        process.send_signal(signal.SIGHUP)
        wait_for((tmp_path / "ledger.db").exists, STOPPABLE_S)

        code, _, said = end(process, signal.SIGTERM)

    assert code == 0, said


def test_a_check_that_is_interrupted_is_not_called_good(tmp_path: Path) -> None:
    with program("check-config", str(tmp_path / "none.yaml")) as process:
        wait_for(lambda: catches_term(process.pid), STOPPABLE_S, every=0.01)

        code, _, said = end(process, signal.SIGINT)

    assert code == 1
    assert "Traceback" not in said
