"""Log lines: one per change of state, for people on a terminal and as JSON elsewhere.

No line may hold a secret or user text. This program's own messages never do; this module ensures
it for everything else: a foreign exception is logged by type and place only, a library's record
only up to its first argument, and known secrets are removed from every line.
"""

import atexit
import base64
import json
import logging
import queue
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TextIO, cast
from urllib.parse import quote, quote_plus

import structlog

from exporter.errors import ExporterError

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "console", "json")
HIDDEN = "[hidden]"
SHORTEST = 4
SECRETS_KEPT = 512
FRAMES = 12
LINES_QUEUED = 10_000
DRAIN_S = 1.0
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 ,.'_-]*", re.ASCII)


class Redactor:
    """Removes known secrets from lines, in the forms that texts have in URLs and JSON."""

    def __init__(self) -> None:
        self._forms: dict[str, set[str]] = {}
        self._longest_first: list[str] = []
        self._lock = threading.Lock()

    def hide(self, secret: str) -> str:
        """Keep ``secret`` out of every line from now on, and return it."""
        if len(secret) >= SHORTEST and secret not in self._forms:
            with self._lock:
                forms = {**self._forms, secret: _forms(secret)}
                for oldest in list(forms)[:-SECRETS_KEPT]:
                    del forms[oldest]
                self._forms = forms
                self._longest_first = sorted(set().union(*forms.values()), key=len, reverse=True)
        return secret

    def clean(self, line: str) -> str:
        """Return ``line`` without any known secret."""
        for form in self._longest_first:
            line = line.replace(form, HIDDEN)
        return line


REDACTOR = Redactor()
"""The process's redactor; secrets are registered where they are read."""

hide = REDACTOR.hide


def configure_logs(
    level: str = "info", format_: str = "auto", *, stream: TextIO | None = None
) -> None:
    """Log ``level`` and above to ``stream``; ``auto`` means JSON unless it is a terminal.

    Without ``stream``, lines go to stderr through ``SINK``, which neither blocks nor fails.

    Library records and uncaught exceptions are logged the same way.
    """
    out = stream or cast("TextIO", SINK)
    as_json = format_ == "json" or (format_ == "auto" and not out.isatty())
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(lambda raised: describe_exception(raised[1])),
            renderer,
            lambda _logger, _method, line: REDACTOR.clean(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(out),
    )
    logging.basicConfig(handlers=[_LibraryHandler()], level=logging.WARNING, force=True)
    sys.excepthook = _crashed
    threading.excepthook = lambda args: _crashed(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def describe_exception(error: BaseException) -> str:
    """Return ``error`` and its causes as text without user data: types, places, our messages."""
    return "\n".join(line for each in _chain(error) for line in _lines(each))


class LogSink:
    """Writes lines to stderr on its own thread; a line that cannot be written is dropped.

    A stalled reader, a full disk or a closed pipe must not hold up polls or end the process.
    ``dropped`` counts the lost lines.
    """

    def __init__(self, file: TextIO | None = None, capacity: int = LINES_QUEUED) -> None:
        self.dropped = 0
        self._file = file
        self._lines: queue.Queue[str] = queue.Queue(capacity)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def isatty(self) -> bool:
        """Return whether the lines are shown on a terminal."""
        return self._stream.isatty()

    def write(self, text: str) -> int:
        """Queue ``text`` for writing; drop it if the queue is full."""
        self._start()
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self.dropped += 1
        return len(text)

    def flush(self) -> None:
        """Return at once: the thread flushes."""

    def drain(self, deadline_s: float = DRAIN_S) -> None:
        """Wait until everything queued is written, for at most ``deadline_s``."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(
                lambda: not self._lines.unfinished_tasks, timeout=deadline_s
            )

    @property
    def _stream(self) -> TextIO:
        return self._file or sys.stderr

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.drain)

    def _run(self) -> None:
        while True:
            text = self._lines.get()
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream is closed
                self.dropped += 1
            self._lines.task_done()


SINK = LogSink()
"""The process's sink."""


class _LibraryHandler(logging.Handler):
    """Passes on library records: the text before any argument, and where an error occurred."""

    def emit(self, record: logging.LogRecord) -> None:
        words = _PLAIN.match(record.msg) if isinstance(record.msg, str) else None
        event = words[0].strip() if words else "library message"
        log = structlog.get_logger()
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # libraries may have their own
        log.log(level, event, logger=record.name, exc_info=record.exc_info)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger().error("crashed", exc_info=error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error``, the errors it groups and their causes, each once."""
    todo, seen = [error], set[int]()
    while todo:
        each = todo.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
        before = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if before is not None:
            todo.append(before)


def _lines(error: BaseException) -> Iterator[str]:
    words = f": {error}" if isinstance(error, ExporterError) else ""
    yield type(error).__name__ + words
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"  at {Path(code.co_filename).name}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    yield from frames[-FRAMES:]


def _forms(secret: str) -> set[str]:
    """Return ``secret`` in a URL, in JSON, in Python and in base64, and those in JSON."""
    encoded = base64.b64encode(secret.encode()).decode()
    forms = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        encoded,
        encoded.rstrip("="),
    }
    return forms | {json.dumps(form)[1:-1] for form in forms}
