"""The exporter's own command line in a process that dies at one commit of the ledger."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa

from exporter.app import serve
from exporter.cli import main
from exporter.polling import poller

PLACES = ("/ledger/store.py", "/ledger/replicas.py", "/ledger/engine.py")


class CommitKiller:
    """Counts the commits of one method and ends the process at one of them."""

    def __init__(self, method: str, moment: str, number: int) -> None:
        self._wanted = (method, moment)
        self._left = number
        self._committing = ""

    def before(self, _connection: Any) -> None:
        self._committing = _method(sys._getframe())
        self._kill_if_due("before")

    def after(self, *_record: Any) -> None:
        if self._committing:
            self._kill_if_due("after")
        self._committing = ""

    def _kill_if_due(self, moment: str) -> None:
        if (self._committing, moment) != self._wanted:
            return
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def _method(frame: FrameType | None) -> str:
    """Return the ledger's method that the transaction belongs to."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.endswith(PLACES) and code.co_name != "<lambda>":
            return code.co_name
        frame = frame.f_back
    return ""


def run(method: str, moment: str, number: int, log: str, *arguments: str) -> None:
    """Run the exporter with ``arguments``, its output appended to the file ``log``.

    SIGKILL strikes at the ``number``-th (from 0) transaction of ``method`` of the ledger, just
    ``before`` or just ``after`` its COMMIT.
    """
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    killer = CommitKiller(method, moment, number)
    sa.event.listen(sa.Engine, "commit", killer.before)
    sa.event.listen(sa.Pool, "checkin", killer.after)
    poller.RENEW_EVERY_S = 0.3  # a claim is renewed within the test's time
    main(arguments, obj=serve)
