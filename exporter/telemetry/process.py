"""What describes this process to a scrape: memory, processor time, open files.

Names, help and format are prometheus-client's, whose collector is asked once. Its values are read
here, since it takes a third of the time of a whole scrape.
"""

import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector

_STAT = Path("/proc/self/stat")
_FILES = "/proc/self/fd"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()
_UTIME, _STIME, _VSIZE, _RSS = 11, 12, 20, 21
"""Fields of ``/proc/self/stat`` after the program's name (proc(5))."""


class Process:
    """Renders the current values; nothing if there is no ``/proc``."""

    def __init__(self, generate: Callable[[CollectorRegistry, bool], bytes]) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        changing = re.compile(rb"^(process_(?!start_time)\w+) \S+$", re.MULTILINE)
        self._templates = [
            changing.sub(rb"\1 %(\1)b", generate(registry, openmetrics))
            for openmetrics in (False, True)
        ]

    def render(self, *, openmetrics: bool) -> bytes:
        """Return the lines of one scrape."""
        template = self._templates[openmetrics]
        return template % _values() if template else b""


def _values() -> dict[bytes, bytes]:
    fields = _STAT.read_bytes().rpartition(b") ")[2].split()
    cpu_s = (int(fields[_UTIME]) + int(fields[_STIME])) * _TICK_S
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        b"process_cpu_seconds_total": b"%.2f" % cpu_s,
        b"process_virtual_memory_bytes": fields[_VSIZE],
        b"process_resident_memory_bytes": b"%d" % (int(fields[_RSS]) * _PAGE),
        b"process_open_fds": b"%d" % len(os.listdir(_FILES)),  # noqa: PTH208 - no object a file
        b"process_max_fds": b"%d" % most,
    }
