"""The log never blocks and never ends the process, whatever happens to its reader."""

import io
import os
import subprocess
import sys
import threading
import time

from exporter.logs import LogSink


class Stuck(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def write(self, text: str) -> int:
        self.release.wait()
        return super().write(text)


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_lines_are_written_in_order() -> None:
    out = io.StringIO()
    sink = LogSink(out)

    for n in range(500):
        sink.write(f"{n}\n")
    sink.drain()

    assert out.getvalue() == "".join(f"{n}\n" for n in range(500))
    assert sink.dropped == 0


def test_a_stalled_reader_costs_lines_and_no_time() -> None:
    out = Stuck()
    sink = LogSink(out, capacity=10)

    started = time.perf_counter()
    for n in range(1_000):
        sink.write(f"{n}\n")
    waited = time.perf_counter() - started
    out.release.set()
    sink.drain(10)

    written = out.getvalue().splitlines()
    assert waited < 1
    assert sink.dropped == 1_000 - len(written) > 900


def test_a_line_that_cannot_be_written_is_counted_and_the_next_is_tried() -> None:
    sink = LogSink(Broken())

    for _ in range(3):
        sink.write("line\n")
    sink.drain(10)

    assert sink.dropped == 3


def test_a_process_whose_log_nobody_reads_works_on_and_ends_in_time() -> None:
    program = (
        "import structlog\n"
        "from exporter.logs import configure_logs\n"
        "configure_logs('info', 'json')\n"
        "for n in range(20_000):\n"
        "    structlog.get_logger().info('line', n=n, text='x' * 500)\n"
        "print('done', flush=True)\n"
    )
    reading, writing = os.pipe()
    started = time.perf_counter()

    printed = run(program, writing)

    os.close(reading)
    assert printed == b"done\n"
    assert time.perf_counter() - started < 30


def test_a_process_whose_log_pipe_is_closed_goes_on() -> None:
    program = (
        "import structlog\n"
        "from exporter.logs import SINK, configure_logs\n"
        "configure_logs('info', 'json')\n"
        "structlog.get_logger().info('line')\n"
        "SINK.drain(10)\n"
        "print(SINK.dropped)\n"
    )
    reading, writing = os.pipe()
    os.close(reading)

    assert run(program, writing) == b"1\n"


def run(program: str, stderr: int) -> bytes:
    """Return what ``program`` prints; its log goes to ``stderr``, which is closed at the end."""
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=stderr,
            timeout=60,
            check=True,
        )
    finally:
        os.close(stderr)
    return done.stdout
