"""Starts the real program with a wall clock that is ahead by what a file says, in seconds.

All of the program reads ``exporter.clock``; asyncio, httpx and psycopg use the monotonic clock. Under
libfaketime 0.9.10 each ``time.sleep`` of Python 3.11 fails with ``EINVAL`` where the monotonic clock
is not faked, and steps move the monotonic clock where it is.
"""

import os
import runpy
from pathlib import Path

from exporter.clock import SystemClock
from exporter.model.samples import SECOND_MS

FILE = "AHEAD_FILE"


def shift(file: Path) -> None:
    """Let the machine's wall clock be ahead by the seconds in ``file``, whenever it is read."""
    right = SystemClock.now_ms

    def now_ms(self: SystemClock) -> int:
        return right(self) + int(file.read_text("utf-8")) * SECOND_MS

    SystemClock.now_ms = now_ms  # type: ignore[method-assign]


if __name__ == "__main__":
    shift(Path(os.environ[FILE]))
    runpy.run_module("exporter", run_name="__main__", alter_sys=True)
