"""Log lines: what they say, and that nothing secret and no user text is in any of them."""

import asyncio
import io
import json
import logging
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from exporter.app import App, Environment
from exporter.errors import SchemaError
from exporter.logs import HIDDEN, Redactor, configure_logs, describe_exception, hide
from exporter.providers import PROVIDERS
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, inline, run_virtual

CANARY = 'sk-C4n4ry/7f3a+"Secret\\'
WORDS = "my iban is DE00 C4n4ry"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("debug", "json", stream=stream)
    return stream


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failing(text: str) -> None:
    try:
        int(text)
    except ValueError as error:
        raise SchemaError("rows[3].count: expected a count") from error


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_is_taken_out_in_every_form(form: str) -> None:
    stream = io.StringIO()
    configure_logs("debug", form, stream=stream)
    hide(CANARY)

    structlog.get_logger().warning("asked", url=f"https://x/{CANARY}", header={"k": [CANARY]})

    assert "C4n4ry" not in stream.getvalue()
    assert HIDDEN in stream.getvalue()


def test_of_a_foreign_exception_only_type_and_place_are_told(lines: io.StringIO) -> None:
    try:
        failing(WORDS)
    except SchemaError:
        structlog.get_logger().error("failed", exc_info=True)

    (line,) = written(lines)
    said = line["exception"].splitlines()
    assert said[0] == "SchemaError: rows[3].count: expected a count"
    assert "ValueError" in said
    assert any("test_logs.py" in each and "in failing" in each for each in said)
    assert "C4n4ry" not in lines.getvalue()


def test_grouped_exceptions_are_all_told() -> None:
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
    assert third["event"] == "a library has logged"
    assert "C4n4ry" not in lines.getvalue()


def test_what_nobody_caught_is_one_line_without_its_text(lines: io.StringIO) -> None:
    error = RuntimeError(WORDS)

    sys.excepthook(RuntimeError, error, None)
    thread = threading.Thread(target=failing, args=(WORDS,))
    thread.start()
    thread.join()

    assert [line["event"] for line in written(lines)] == ["crashed", "crashed"]
    assert "C4n4ry" not in lines.getvalue()


def test_a_task_that_nobody_awaits_says_nothing_of_its_error(lines: io.StringIO) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"Exception in callback f({WORDS!r})", "exception": ValueError(WORDS)}
        )

    asyncio.run(main())

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


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("unauthorized", {"body": {"error": f"the key {CANARY} is wrong; {WORDS}"}}),
    ("throttled", {"body": {"error": f"{CANARY}: {WORDS}"}}),
    ("refused", {"body": [CANARY, WORDS]}),
    ("server_error", {"body": {"error": CANARY, "text": WORDS}}),
    ("wrong_type", {}),
    ("html_200", {}),
    ("truncated", {}),
    ("reset", {}),
    ("login_redirect", {}),
]


def with_canaries(vendors: Vendors) -> dict[str, Any]:
    """Return settings whose ids and aliases are not secret, with an operator's keys."""
    keys = {
        "voiceflow": {"api_key": CANARY},
        "flowxo": {"api_key": CANARY},
        "inkeep": {"api_key": CANARY},
        "chatlayer": {"token": f"id:{CANARY}"},
        "xenioo": {"account_key": CANARY},
    }
    return vendors.document(keys)


async def lived(
    folder: Path, document: dict[str, Any], vendors: Vendors, clock: Any, seconds: float = 20
) -> None:
    """Let the exporter run for a while and end."""
    outside = Environment(
        clock=clock,
        rng=random.SystemRandom(),
        providers=PROVIDERS,
        offload=inline,
        transport=vendors,
    )
    document["ledger"] = {"url": f"sqlite:///{folder}/ledger.db"}
    app = App(read(document), outside)
    await app.open()
    running = asyncio.create_task(app.run())
    await clock.sleep(seconds)
    app.stop()
    await running


@pytest.mark.parametrize(("fault", "options"), FAULTS)
def test_whatever_a_vendor_does_no_line_holds_a_key_or_a_text(
    fault: str, options: dict[str, Any], tmp_path: Path, lines: io.StringIO
) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    document = (
        vendors.document() if fault in {"wrong_type", "truncated"} else with_canaries(vendors)
    )
    for service in vendors.services.values():
        service.faults.on(fault, **options)

    run_virtual(lived(tmp_path, document, vendors, clock), clock)

    said = written(lines)
    failed = [line for line in said if line["event"] == "poll failed"]
    assert {line["target"] for line in failed} == set(vendors.services)
    assert "C4n4ry" not in lines.getvalue()
    assert not [secret for secret in secrets(document) if secret in lines.getvalue()]


def secrets(document: dict[str, Any]) -> list[str]:
    names = {"api_key", "account_key", "token"}
    return [value for each in document["targets"] for name, value in each.items() if name in names]


def test_a_poll_is_one_line_at_debug_and_a_change_of_state_one_above(
    tmp_path: Path, lines: io.StringIO
) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    document = vendors.document()
    (target,) = [each for each in document["targets"] if each["provider"] == "flowxo"]
    document["targets"] = [target | {"interval": "10s", "slow_interval": "1h"}]
    recovers_ms = clock.now_ms() + 60_000
    vendors.services["flowxo"].faults.on("unavailable", when=lambda call: call.now_ms < recovers_ms)

    run_virtual(lived(tmp_path, document, vendors, clock, seconds=180), clock)

    said = [line for line in written(lines) if line.get("query") == "hourly"]
    polls = [line for line in said if line["event"] == "polled"]
    changes = [(line["level"], line["event"]) for line in said if line["event"] != "polled"]
    assert {line["level"] for line in polls} == {"debug"}
    assert len(polls) > 5
    assert changes[0] == ("warning", "poll failed")
    assert changes[-1] == ("info", "recovered")
    assert len(changes) <= 3  # the first failure, the circuit that opens, the recovery
