"""What ``run`` and ``demo`` ask of the composition root, and the progress they show meanwhile."""

import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import structlog

from exporter.clock import Clock
from exporter.config.model import Settings
from exporter.providers.base.plugin import Provider
from exporter.status import State, Status

log = structlog.get_logger(__name__)

PROGRESS_S = 1.0

Load: TypeAlias = Callable[[], tuple[Settings, str]]
"""Reads the settings again: what is in force then, and the file's digest."""


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """An exporter to serve until SIGTERM or SIGINT.

    ``digest`` is the settings file's. ``load`` reads it again, on SIGHUP and ``POST /-/reload``;
    None: reload is not available. ``started`` is called with the bound address. ``grace_s`` is how
    long running polls may take to end after a stop (None: the default).
    """

    settings: Settings
    digest: str
    listen: str
    providers: Mapping[str, Provider]
    started: Callable[[str], None]
    load: Load | None = None
    web_config: Path | None = None
    grace_s: float | None = None


Serve: TypeAlias = Callable[[ServeRequest], Coroutine[Any, Any, None]]
"""Serves until a signal; raises ``LedgerError``, ``ListenError`` and ``SettingsError`` at start."""


async def show_first_polls(status: Callable[[], Status], clock: Clock) -> None:
    """On a terminal, log how many queries have been polled, until all have."""
    done, number = -1, 0
    while sys.stderr.isatty() and done < number:
        queries = [query for target in status().targets for query in target.queries]
        polled = sum(query.state is not State.NEVER_POLLED for query in queries)
        if polled != done:
            done, number = polled, len(queries)
            log.info("first polls", done=done, of=number)
        await clock.sleep(PROGRESS_S)
