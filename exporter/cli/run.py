"""``run``: the exporter."""

import asyncio
import hashlib
import random
import signal
from pathlib import Path

import click
import structlog

from exporter.app import App, Outside, Threaded
from exporter.cli.settings import DEFAULT_FILE, fail_on, read_settings
from exporter.clock import SystemClock
from exporter.config.model import Settings
from exporter.logs import configure_logs
from exporter.providers import KINDS
from exporter.web import app as web
from exporter.web import server

log = structlog.get_logger(__name__)
WEB_STOP_S = 2.0


@click.command("run")
@click.option(
    "--config", "file", default=DEFAULT_FILE, show_default=True, help="The settings file."
)
@click.option("--listen", default=None, help="Listen here, not where the file says (host:port).")
def command(file: str, listen: str | None) -> None:
    """Poll every configured target and serve its counters on /metrics.

    Ends with 0 within ten seconds of SIGTERM or SIGINT, whatever a vendor does.
    """
    configure_logs()
    settings = read_settings(file)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]
    with fail_on():
        asyncio.run(serve(settings, listen or settings.web.listen, digest))


async def serve(settings: Settings, listen: str, digest: str) -> None:
    """Run the exporter on ``listen`` until a signal ends it."""
    outside = Outside(
        clock=SystemClock(), rng=random.SystemRandom(), kinds=KINDS, offload=Threaded()
    )
    app = App(settings, outside, digest)
    stop_on_signals(app)
    await app.open()
    serving = server.start(listen, web.build(app.sources))
    log.info("serving", address=serving.address, targets=len(settings.targets))
    try:
        await app.run()
    finally:
        await asyncio.to_thread(serving.stop, WEB_STOP_S)
    log.info("stopped")


def stop_on_signals(app: App) -> None:
    """Let SIGTERM and SIGINT end ``app``."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
