"""``run``: the exporter."""

import asyncio
import hashlib
from functools import partial
from pathlib import Path

import click
import structlog

from exporter.cli.serving import Serve, ServeRequest
from exporter.cli.settings import (
    check_proxies,
    config_option,
    fail_on,
    listen_option,
    load_settings,
    read_settings,
    web_config_option,
)
from exporter.config import refuse_restart_only
from exporter.config.files import SETTINGS_BYTES, read_regular
from exporter.config.model import Settings
from exporter.http_client.detached import ResolvingLoop
from exporter.logs import FORMATS, LEVELS, configure_logs
from exporter.providers import PROVIDERS

log = structlog.get_logger(__name__)


@click.command("run")
@config_option
@listen_option
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

    SIGHUP or POST /-/reload reads the file again. Ends with 0 within ten seconds of SIGTERM or
    SIGINT, whatever a vendor does.
    """
    configure_logs(level, log_format)
    settings = read_settings(file)
    with fail_on(), asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        check_proxies(settings)
        request = ServeRequest(
            settings=settings,
            digest=_digest(file),
            listen=listen or settings.web.listen,
            providers=PROVIDERS,
            load=partial(_load_again, file, settings),
            web_config=web_config,
            started=lambda address: log.info(
                "serving", address=address, targets=len(settings.targets)
            ),
        )
        runner.run(serve(request))
    log.info("stopped")


def _load_again(file: str, running: Settings) -> tuple[Settings, str]:
    settings = load_settings(file)
    refuse_restart_only(file, running, settings)
    check_proxies(settings)
    return settings, _digest(file)


def _digest(file: str) -> str:
    return hashlib.sha256(read_regular(file, SETTINGS_BYTES)).hexdigest()[:12]
