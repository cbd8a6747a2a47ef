"""The program as its operator meets it: it starts, answers, refuses and ends, and leaves nothing."""

import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from exporter.cli.demo import MARK
from tests.benchmarks import filled
from tests.e2e.processes import (
    ended,
    free_port,
    hanging_vendor,
    page,
    pause,
    program,
    wait_for,
    written,
)

NOBODY = "http://127.0.0.1:9"
STARTS_WITHIN_S = 30
PAGE = 4096


def until_stoppable(process: subprocess.Popen[str]) -> None:
    """Return once the process handles SIGTERM itself, which the program does first of all."""

    def catches_term() -> bool:
        assert process.poll() is None, process.communicate()[0]
        lines = Path(f"/proc/{process.pid}/status").read_text("utf-8").splitlines()
        (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    wait_for(catches_term, STARTS_WITHIN_S, every=0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_with_0_while_a_vendor_hangs(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    with (
        hanging_vendor() as vendor,
        program("run", "--config", written(tmp_path, port, vendor)) as p,
    ):
        wait_for(lambda: "polls_total" in (page(port) or ""), STARTS_WITHIN_S)

        ended(p, number)


@pytest.mark.parametrize(
    ("number", "after_s"),
    [
        (signal.SIGTERM, 0),
        (signal.SIGINT, 0.5),
        (signal.SIGTERM, 2),
        (signal.SIGINT, None),
        (signal.SIGHUP, 0.5),
        (signal.SIGHUP, None),
    ],
)
def test_a_demo_is_stopped_while_it_starts_and_once_it_serves(
    number: signal.Signals, after_s: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    port = free_port()
    with program("demo", "--listen", f"127.0.0.1:{port}") as process:
        until_stoppable(process)
        if after_s is None:
            wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)
        pause(after_s or 0)

        ended(process, number)

    assert list(tmp_path.iterdir()) == []


def test_a_demo_replaces_an_earlier_demos_settings_and_no_running_ones(tmp_path: Path) -> None:
    folder, port = tmp_path / "a%41b?c", free_port()
    folder.mkdir()
    file = folder / "exporter.yaml"
    file.write_text(f"{MARK}version: 0\n")
    arguments = "demo", "--folder", str(folder), "--listen"
    with program(*arguments, f"127.0.0.1:{port}") as first:
        wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)
        mine = file.read_text()
        with program(*arguments, "127.0.0.1:0") as second:
            error = refusal(second)
        ended(first, signal.SIGTERM)

    assert f"{folder}/demo.db: another exporter runs on this ledger" in error
    assert file.read_text() == mine != f"{MARK}version: 0\n"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("there", "code", "said"),
    [
        ("settings", 2, "exporter.yaml is not a demo's; choose another folder"),
        ("folder", 1, "exporter.yaml: Is a directory"),
        ("nothing", 1, "Error: TMPDIR: No such file or directory"),
    ],
)
def test_a_demo_that_cannot_use_its_folder_says_why(
    there: str, code: int, said: str, tmp_path: Path
) -> None:
    file, start = tmp_path / "exporter.yaml", "from exporter.__main__ import main; main()"
    arguments = [] if there == "nothing" else ["--folder", str(tmp_path)]
    if there == "folder":
        file.mkdir()
    else:
        file.write_text("version: 1\n")
    nowhere = f"import tempfile; tempfile.tempdir = '{tmp_path}/none'; {start}"

    with program("demo", "--listen", "127.0.0.1:0", *arguments, python=("-c", nowhere)) as process:
        output, _ = process.communicate(timeout=STARTS_WITHIN_S)

    assert (process.returncode, said in output) == (code, True), output
    assert [path.name for path in tmp_path.iterdir()] == ["exporter.yaml"]


def test_a_reload_while_it_starts_does_not_end_a_run(tmp_path: Path) -> None:
    with program("run", "--config", written(tmp_path, 0, NOBODY)) as process:
        until_stoppable(process)
        process.send_signal(signal.SIGHUP)
        wait_for((tmp_path / "ledger.db").exists, STARTS_WITHIN_S)

        ended(process, signal.SIGTERM)


def test_a_run_without_a_standard_error_serves(tmp_path: Path) -> None:
    port = free_port()
    again = "[sys.executable, '-m', 'exporter', *sys.argv[1:]]"
    closed = f"import os, sys; os.close(2); os.execv(sys.executable, {again})"
    with program("run", "--config", written(tmp_path, port, NOBODY), python=("-c", closed)) as p:
        wait_for(lambda: p.poll() is not None or page(port) is not None, STARTS_WITHIN_S)

        ended(p, signal.SIGTERM)


def test_a_run_is_stopped_while_its_ledger_is_checked(tmp_path: Path) -> None:
    endless = "engine._check = lambda _path: threading.Event().wait()"
    start = "from exporter.__main__ import main; main()"
    code = f"import threading; from exporter.ledger import engine; {endless}; {start}"
    arguments = "run", "--config", written(tmp_path, 0, NOBODY)
    with program(*arguments, python=("-c", code)) as process:
        wait_for((tmp_path / "ledger.db-wal").exists, STARTS_WITHIN_S)

        ended(process, signal.SIGTERM)


def test_an_interrupted_check_fails(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "exporter.yaml")  # nobody writes it, so the check lasts
    with program("check-config", str(tmp_path / "exporter.yaml")) as process:
        until_stoppable(process)

        ended(process, signal.SIGINT, 1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Run an exporter whose vendor hangs; yield its folder and its first page."""
    folder, port = tmp_path_factory.mktemp("running"), free_port()
    with hanging_vendor() as vendor, program("run", "--config", written(folder, port, vendor)) as p:
        wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)
        yield folder, page(port) or ""
        ended(p, signal.SIGTERM)


def test_metrics_answer_before_the_first_poll_has_ended(running: tuple[Path, str]) -> None:
    _, shown = running

    assert 'chatbot_exporter_polls_total{provider="flowxo",target="promo"' in shown
    assert "chatbot_exporter_target_up{" not in shown
    assert "chatbot_exporter_last_success_timestamp_seconds{" not in shown


def test_only_its_owner_may_read_the_ledger(running: tuple[Path, str]) -> None:
    folder, _ = running
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.glob("ledger.db*")}

    assert modes["ledger.db"] == 0o600
    assert set(modes.values()) == {0o600}, modes


def test_a_second_process_on_one_ledger_is_refused(running: tuple[Path, str]) -> None:
    folder, _ = running
    listen = f"127.0.0.1:{free_port()}"
    with program("run", "--config", str(folder / "exporter.yaml"), "--listen", listen) as second:
        assert "ledger" in refusal(second)


def test_a_signal_or_a_request_reloads_the_file_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with (
        hanging_vendor() as vendor,
        program("run", "--config", written(tmp_path, port, vendor)) as process,
    ):
        wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)
        statuses = []
        for wrong, successful in ((True, 0), (False, 1)):
            if wrong:
                (tmp_path / "exporter.yaml").write_text("version: 2\n")
            else:
                written(tmp_path, port, vendor)
            process.send_signal(signal.SIGHUP)
            shown = f"chatbot_exporter_config_last_reload_successful {successful}"
            wait_for(lambda: shown in (page(port) or ""), STARTS_WITHIN_S)  # noqa: B023
            statuses.append(httpx.post(f"http://127.0.0.1:{port}/-/reload").status_code)

        ended(process, signal.SIGTERM)

    assert statuses == [400, 200]


@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_port_in_use_is_refused(command: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, hanging_vendor() as vendor:
        port = taken.getsockname()[1]
        listen = ["--listen", f"127.0.0.1:{port}"]
        if command == "run":
            listen += ["--config", written(tmp_path, port, vendor)]
        with program(command, *listen) as process:
            assert str(port) in refusal(process)


def refusal(process: subprocess.Popen[str]) -> str:
    """Return the error with which a process ended."""
    output, _ = process.communicate(timeout=STARTS_WITHIN_S)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "serving" not in output
    return output[output.index("Error: ") :]


def test_a_terminal_shows_when_every_query_was_polled(tmp_path: Path) -> None:
    written(tmp_path, 0, NOBODY)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "exporter", "run", "--listen", "127.0.0.1:0"]
    output = ""

    with subprocess.Popen(command, cwd=tmp_path, stderr=theirs) as process:  # noqa: S603 - our own program
        os.close(theirs)  # so that reading ends when the program does
        while "done=1 of=1" not in output and (chunk := os.read(ours, 4096)):
            output += re.sub(r"\x1b\[\d*m", "", chunk.decode())
        process.terminate()
    os.close(ours)

    assert re.search("first polls +done=0 of=1", output)
    assert all(re.match(r"\d{4}-|$", line) for line in output.split("\n"))  # each a line of its own
    assert process.returncode == 0


@pytest.mark.parametrize("first", ["a page of rows", "the header"])
def test_a_damaged_ledger_is_an_error_that_names_the_file(tmp_path: Path, first: str) -> None:
    settings = filled.settings(tmp_path, 2)
    filled.fill(settings, 200)
    ledger = tmp_path / "ledger.db"
    whole = bytearray(ledger.read_bytes())
    at = 0 if first == "the header" else len(whole) // 2 // PAGE * PAGE
    whole[at : at + PAGE] = b"\xff" * PAGE
    ledger.write_bytes(whole)

    with program("run", "--config", str(settings), "--listen", "127.0.0.1:0") as process:
        error = refusal(process)

    assert str(ledger) in error
    assert ("restore a backup" if at else "is it a ledger?") in error
