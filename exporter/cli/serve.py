"""What ``run`` and ``demo`` share: an exporter that serves until a signal ends it."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import structlog

from exporter.app import App
from exporter.clock import Clock, SystemClock
from exporter.config.model import Settings
from exporter.web import app as web
from exporter.web import server
from exporter.web.contract import ReloadResult
from exporter.web.status import State

log = structlog.get_logger(__name__)
WEB_STOP_S = 2.0
PROGRESS_S = 0.5

Load = Callable[[], tuple[Settings, str]]


async def serve(
    app: App,
    listen: str,
    *,
    load: Load | None = None,
    web_config: Path | None = None,
    started: Callable[[str], None],
) -> None:
    """Run ``app`` and serve it on ``listen`` until SIGTERM or SIGINT; tell ``started`` where.

    ``load`` reads the settings again, on SIGHUP and ``POST /-/reload``. Raises ``LedgerError``,
    ``ListenError`` and ``SettingsError`` before anything is served.
    """
    _stop_on_signals(app)
    watched = None
    if web_config is not None:
        from exporter.web.watched import Watched  # noqa: PLC0415 - most starts have no such file

        watched = Watched(web_config, log.warning)
    await app.open()
    sources = app.sources if load is None else app.reloadable(_reloading(app, load))
    if watched is None:
        serving = server.start(listen, web.build(sources))
    else:
        application = web.build(sources, watched.access)
        serving = server.start(listen, application, tls=watched.context, admits=watched.admits)
    started(serving.address)
    progress = asyncio.create_task(_tell_first_polls(app, SystemClock()))
    try:
        await app.run()
    finally:
        progress.cancel()
        await asyncio.to_thread(serving.stop, WEB_STOP_S)


async def _tell_first_polls(app: App, clock: Clock) -> None:
    """On a terminal, tell how many queries have been polled, until all have."""
    if not sys.stderr.isatty():
        return
    done, number = -1, 0
    while done < number:
        queries = [query for target in app.status().targets for query in target.queries]
        polled = sum(query.state is not State.NEVER_POLLED for query in queries)
        if polled != done:
            done, number = polled, len(queries)
            click.echo(f"\rfirst polls: {done} of {number}", nl=False, err=True)
        await clock.sleep(PROGRESS_S)
    click.echo(err=True)


def _stop_on_signals(app: App) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)


def _reloading(app: App, load: Load) -> Callable[[], Awaitable[ReloadResult]]:
    """Return a reload for the web thread, done on this loop; SIGHUP asks for one too."""
    loop = asyncio.get_running_loop()

    def ask() -> Awaitable[ReloadResult]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(app.reload(load), loop))

    hangups: set[asyncio.Task[ReloadResult]] = set()

    def hang_up() -> None:
        task = loop.create_task(app.reload(load))
        hangups.add(task)
        task.add_done_callback(hangups.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    return ask
