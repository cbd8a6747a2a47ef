"""Log lines: what they say, that nothing secret and no user text is in any of them, and that the log
never blocks and never ends the process, whatever happens to its reader.
"""

import asyncio
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import structlog

from exporter.errors import SchemaError
from exporter.logs import HIDDEN, LogSink, Redactor, configure_logs, describe_exception, hide
from tests.faults.bench import Bench

pytestmark = pytest.mark.usefixtures("logs_as_before")
CANARY = 'sk-C4n4ry/7f3a+"Secret\\'
WORDS = "my iban is DE00 C4n4ry"


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failing(text: str) -> None:
    try:
        int(text)
    except ValueError as error:
        raise SchemaError("rows[3].count: expected a count") from error


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_is_hidden_in_every_form(form: str) -> None:
    stream = io.StringIO()
    configure_logs("debug", form, stream=stream)
    hide(CANARY)

    structlog.get_logger().warning("asked", url=f"https://x/{CANARY}", header={"k": [CANARY]})

    assert "C4n4ry" not in stream.getvalue()
    assert HIDDEN in stream.getvalue()


@pytest.mark.parametrize("secret", ['pa"ss\\word', "sécret-ü", "a b&c=d/e", "it's\t\"x"])
@pytest.mark.parametrize("form", [str, repr, json.dumps, quote_plus])
@pytest.mark.parametrize("line", [str, json.dumps])
def test_a_secret_in_a_text_in_json_is_hidden(
    line: Callable[[str], str], form: Callable[[str], str], secret: str
) -> None:
    redactor = Redactor()
    redactor.hide(secret)

    assert re.fullmatch(rf"\W*{re.escape(HIDDEN)}\W*", redactor.clean(line(form(secret))))


def test_of_a_foreign_exception_only_type_and_place_are_logged(lines: io.StringIO) -> None:
    try:
        failing(WORDS)
    except SchemaError:
        structlog.get_logger().error("failed", exc_info=True)

    (line,) = written(lines)
    found = line["exception"].splitlines()
    assert found[0] == "SchemaError: rows[3].count: expected a count"
    assert "ValueError" in found
    assert any("test_logs.py" in each and "in failing" in each for each in found)
    assert "C4n4ry" not in lines.getvalue()


def test_grouped_exceptions_are_all_described() -> None:
    group = ExceptionGroup(WORDS, [ValueError(WORDS), SchemaError("rows: missing")])

    assert describe_exception(group).splitlines() == [
        "ExceptionGroup",
        "ValueError",
        "SchemaError: rows: missing",
    ]


def test_what_libraries_log_loses_its_arguments(lines: io.StringIO) -> None:
    logger = logging.getLogger("a.library")
    try:
        int(WORDS)
    except ValueError:
        logger.exception("Exception in ASGI application\n%s", WORDS)
    logger.warning("Task was destroyed but it is pending!\ntask: <%s>", WORDS)
    logger.warning(f"<{WORDS}>")  # noqa: G004 - what a careless library does
    logger.info("HTTP Request: %s", WORDS)

    first, second, third = written(lines)
    assert (first["event"], first["logger"]) == ("Exception in ASGI application", "a.library")
    assert first["exception"].startswith("ValueError\n  at test_logs.py:")
    assert second["event"] == "Task was destroyed but it is pending"
    assert third["event"] == "library message"
    assert "C4n4ry" not in lines.getvalue()


@pytest.mark.parametrize(("number", "level"), [(35, "warning"), (45, "error"), (60, "critical")])
def test_a_level_of_a_librarys_own_is_the_one_below(
    lines: io.StringIO, number: int, level: str
) -> None:
    logging.getLogger("library").log(number, "notice")

    (line,) = written(lines)
    assert (line["level"], line["event"]) == (level, "notice")


def test_an_uncaught_exception_is_one_line_without_its_text(lines: io.StringIO) -> None:
    error = RuntimeError(WORDS)

    sys.excepthook(RuntimeError, error, None)
    thread = threading.Thread(target=failing, args=(WORDS,))
    thread.start()
    thread.join()

    assert [line["event"] for line in written(lines)] == ["crashed", "crashed"]
    assert "C4n4ry" not in lines.getvalue()


async def test_a_task_that_nobody_awaits_says_nothing_of_its_error(lines: io.StringIO) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"Exception in callback f({WORDS!r})", "exception": ValueError(WORDS)}
    )

    (line,) = written(lines)
    assert (line["event"], line["logger"]) == ("Exception in callback f", "asyncio")
    assert "C4n4ry" not in lines.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure_logs("warning", "json", stream=stream)

    structlog.get_logger().info("recovered")
    structlog.get_logger().warning("poll failed")

    assert [line["event"] for line in written(stream)] == ["poll failed"]


def test_only_so_many_secrets_are_kept_in_mind() -> None:
    redactor = Redactor()

    for number in range(600):
        redactor.hide(f"secret-{number}-")

    assert redactor.clean("secret-1- secret-599-") == f"secret-1- {HIDDEN}"


def test_a_secret_that_begins_with_an_older_one_is_hidden_whole() -> None:
    redactor = Redactor()
    redactor.hide("key-2026")
    redactor.hide("key-2026-rotated-S3cret")

    assert redactor.clean("sent key-2026-rotated-S3cret") == f"sent {HIDDEN}"


async def test_a_poll_is_one_line_at_debug_and_a_change_of_state_one_above(
    tmp_path: Path, lines: io.StringIO
) -> None:
    bench = Bench(tmp_path, ["flowxo"], {"interval": "10s", "slow_interval": "1h"})
    recovers_ms = bench.clock.now_ms() + 60_000
    bench.service.faults.on("unavailable", when=lambda call: call.now_ms < recovers_ms)

    async with bench.running():
        await bench.wait(180)

    ours = [line for line in written(lines) if line.get("query") == "hourly"]
    polls = [line for line in ours if line["event"] == "polled"]
    changes = [(line["level"], line["event"]) for line in ours if line["event"] != "polled"]
    assert {line["level"] for line in polls} == {"debug"}
    assert len(polls) > 5
    assert changes[0] == ("warning", "poll failed")
    assert changes[-1] == ("info", "recovered")
    assert len(changes) <= 3  # the first failure, the circuit that opens, the recovery


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


def run(program: str, stderr: int) -> bytes:
    """Return what ``program`` prints; its log goes to ``stderr``, which is closed at the end."""
    begin = (
        "import structlog\n"
        "from exporter.logs import SINK, configure_logs\n"
        "configure_logs('info', 'json')\n"
    )
    try:
        return subprocess.check_output(  # noqa: S603
            [sys.executable, "-c", begin + program], stderr=stderr, timeout=60
        )
    finally:
        os.close(stderr)


def test_a_process_whose_log_nobody_reads_works_on_and_ends_in_time() -> None:
    reading, writing = os.pipe()
    started = time.perf_counter()

    printed = run(
        "for n in range(20_000):\n"
        "    structlog.get_logger().info('line', n=n, text='x' * 500)\n"
        "print('done', flush=True)\n",
        writing,
    )

    os.close(reading)
    assert printed == b"done\n"
    assert time.perf_counter() - started < 30


def test_a_process_whose_log_pipe_is_closed_goes_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    program = "structlog.get_logger().info('line')\nSINK.drain(10)\nprint(SINK.dropped)\n"
    assert run(program, writing) == b"1\n"
