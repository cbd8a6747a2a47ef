"""The program as a process: started, asked, ended."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx

from exporter.clock import Clock, SystemClock

ROOT = Path(__file__).parents[2]
CLOCK: Clock = SystemClock()
ENDS_WITHIN_S = 10

SETTINGS = """
version: 1
allow_inline_secrets: true
web: {{listen: "127.0.0.1:{port}"}}
targets:
  - {{name: promo, provider: flowxo, api_key: canary-key, project: promo, base_url: "{vendor}"}}
"""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(happened: Callable[[], bool], seconds: float, *, every: float = 0.1) -> None:
    """Return once ``happened()``; fail when it has not within ``seconds``."""
    end = CLOCK.monotonic() + seconds
    while not happened():
        assert CLOCK.monotonic() < end, f"not within {seconds} s"
        pause(every)


def pause(seconds: float) -> None:
    """Let time pass."""
    threading.Event().wait(seconds)


@contextlib.contextmanager
def hanging_vendor() -> Iterator[str]:
    """Take connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def program(
    *arguments: str, python: Sequence[str] = ("-m", "exporter")
) -> Iterator[subprocess.Popen[str]]:
    """Run the program; kill it if the block leaves it running."""
    command = [sys.executable, *python, *arguments]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                print(process.communicate()[0])  # noqa: T201 - shown where the test failed


def written(folder: Path, port: int, vendor: str) -> str:
    """Write settings with one target; return the file's name."""
    file = folder / "exporter.yaml"
    file.write_text(SETTINGS.format(port=port, vendor=vendor), "utf-8")
    return str(file)


def page(port: int) -> str | None:
    """Return what a scrape shows, None where nobody answers."""
    try:
        answer = httpx.get(
            f"http://127.0.0.1:{port}/metrics", timeout=5, headers={"accept-encoding": "identity"}
        )
    except httpx.TransportError:
        return None
    assert answer.status_code == 200
    return answer.text


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, float, str]:
    """Send a signal; return the exit code, after how many seconds, and the whole output."""
    started = CLOCK.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    return process.returncode, CLOCK.monotonic() - started, output


def ended(process: subprocess.Popen[str], number: signal.Signals, code: int = 0) -> str:
    """Send a signal; return the output of a process that ends soon, with ``code``."""
    found, seconds, output = end(process, number)
    assert (found, seconds < ENDS_WITHIN_S) == (code, True), (found, seconds, output)
    assert "Traceback" not in output
    assert "canary" not in output
    return output
