"""The program as its operator meets it: it starts, answers, refuses and ends."""

import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import end, free_port, hanging_vendor, page, program, wait_for, written

STARTS_WITHIN_S = 30
ENDS_WITHIN_S = 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_with_0_while_a_vendor_hangs(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    with (
        hanging_vendor() as vendor,
        program("run", "--config", written(tmp_path, port, vendor)) as p,
    ):
        wait_for(lambda: "polls_total" in (page(port) or ""), STARTS_WITHIN_S)

        code, seconds, output = end(p, number)

    assert (code, seconds < ENDS_WITHIN_S) == (0, True), (code, seconds, output)
    assert "Traceback" not in output
    assert "canary" not in output


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Run an exporter whose vendor hangs; yield its folder and its first page."""
    folder, port = tmp_path_factory.mktemp("running"), free_port()
    with hanging_vendor() as vendor, program("run", "--config", written(folder, port, vendor)) as p:
        wait_for(lambda: page(port) is not None, STARTS_WITHIN_S)
        yield folder, page(port) or ""
        end(p, signal.SIGTERM)


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

        code, _, output = end(process, signal.SIGTERM)

    assert (code, statuses) == (0, [400, 200])
    assert "Traceback" not in output


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
    return next(line for line in output.splitlines() if line.startswith("Error: "))
