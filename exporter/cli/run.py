"""``run``: runs the exporter; defines how ``run`` and ``demo`` call the composition root."""

import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click
import structlog

from exporter.cli.settings import (
    check_proxies,
    config_option,
    listen_option,
    load_settings,
    web_config_option,
)
from exporter.clock import Clock
from exporter.config import refuse_restart_only
from exporter.config.model import Settings
from exporter.http_client.detached import run_resolving
from exporter.logs import FORMATS, LEVELS, configure_logs
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import Provider
from exporter.status import State, Status

log = structlog.get_logger(__name__)

PROGRESS_S = 1.0

Load: TypeAlias = Callable[[], Settings]
"""Reads the settings again and returns them."""


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """An exporter to serve until SIGTERM or SIGINT.

    ``load`` reads the settings file again on SIGHUP and ``POST /-/reload``; None: reload is not
    available. ``started`` is called with the bound address. ``grace_s`` is how long running polls
    may take to end after a stop (None: the default).
    """

    settings: Settings
    listen: str
    providers: Mapping[str, Provider]
    started: Callable[[str], None]
    load: Load | None = None
    web_config: Path | None = None
    grace_s: float | None = None


Serve: TypeAlias = Callable[[ServeRequest], Coroutine[Any, Any, None]]
"""Serves until a signal; raises ``LedgerError``, ``ListenError`` and ``SettingsError`` at start."""


@click.command("run")
@config_option
@listen_option("from the file, or 127.0.0.1:10877")
@web_config_option
@click.option("--log.level", "level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.option(
    "--log.format",
    "log_format",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="auto: console on a terminal, JSON elsewhere.",
)
@click.pass_obj
def command(
    serve: Serve,
    *,
    file: str,
    listen: str | None,
    web_config: Path | None,
    level: str,
    log_format: str,
) -> None:
    """Poll every configured target and serve its counters on /metrics.

    SIGHUP or POST /-/reload reads the file again. Exits with 0 within ten seconds of SIGTERM or
    SIGINT, whatever a vendor does.
    """
    configure_logs(level, log_format)
    settings = load_settings(file)
    check_proxies(settings)
    request = ServeRequest(
        settings=settings,
        listen=listen or settings.web.listen,
        providers=PROVIDERS,
        load=partial(_load_again, file, settings),
        web_config=web_config,
        started=lambda address: log.info("serving", address=address, targets=len(settings.targets)),
    )
    run_resolving(serve(request))
    log.info("stopped")


def _load_again(file: str, running: Settings) -> Settings:
    settings = load_settings(file)
    refuse_restart_only(running, settings)
    check_proxies(settings)
    return settings


async def show_first_polls(status: Callable[[], Status], clock: Clock) -> None:
    """On a terminal, log how many queries have been polled until all have been."""
    done, number = -1, 0
    while sys.stderr.isatty() and done < number:
        queries = [query for target in status().targets for query in target.queries]
        polled = sum(query.state is not State.NEVER_POLLED for query in queries)
        if polled != done:
            done, number = polled, len(queries)
            log.info("first polls", done=done, of=number)
        await clock.sleep(PROGRESS_S)
