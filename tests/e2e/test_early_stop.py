"""A program that is stopped, also while it starts: no traceback, nothing left, and soon."""

import signal
from pathlib import Path

import pytest

from tests.e2e.processes import SETTINGS, end, free_port, page, pause, program, wait_for

PROMPT_S = 4
STOPPABLE_S = 30


def catches_term(pid: int) -> bool:
    """Return whether the process handles SIGTERM itself, which the program does first of all."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


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
        wait_for(lambda: catches_term(process.pid), STOPPABLE_S, every=0.01)
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
        wait_for(lambda: catches_term(process.pid), STOPPABLE_S, every=0.01)
        process.send_signal(signal.SIGHUP)
        wait_for((tmp_path / "ledger.db").exists, STOPPABLE_S)

        code, _, output = end(process, signal.SIGTERM)

    assert code == 0, output


def test_an_interrupted_check_fails(tmp_path: Path) -> None:
    with program("check-config", str(tmp_path / "none.yaml")) as process:
        wait_for(lambda: catches_term(process.pid), STOPPABLE_S, every=0.01)

        code, _, output = end(process, signal.SIGINT)

    assert code == 1
    assert "Traceback" not in output
