"""``simulate``: serves one simulated vendor, for development with ``run``."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import click
import yaml

from exporter.cli.settings import reporting
from exporter.clock import SystemClock
from exporter.simulator import VENDORS
from exporter.simulator.server import serving
from exporter.simulator.traffic import Traffic

PER_HOUR = 120  # conversations, so that there is something new every few seconds, even at night


@click.command("simulate", short_help="Serve a simulator of one vendor's API.")
@click.argument("provider", type=click.Choice(sorted(VENDORS)))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Listen on this port of 127.0.0.1.  [default: a free port]",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the history.")
def command(provider: str, port: int, seed: int) -> None:
    """Serve a simulator of PROVIDER's API on loopback, with a realistic rhythm of traffic.

    Prints a settings file that polls it. The same seed gives the same history. Exits with 0 on
    SIGTERM or SIGINT.
    """
    asyncio.run(_until_signal(provider, port, seed))


async def _until_signal(provider: str, port: int, seed: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        with reporting(f"cannot listen on port {port}"):
            made = simulated(provider, port=port, seed=seed)
            settings = await stack.enter_async_context(made)
        click.echo(settings)
        await stop.wait()


@asynccontextmanager
async def simulated(provider: str, *, port: int, seed: int) -> AsyncIterator[str]:
    """Serve a simulator until the block ends; yields an ``exporter.yaml`` that polls it.

    Raises ``OSError`` if the port is taken.
    """
    service = VENDORS[provider](SystemClock(), Traffic(seed, per_hour=PER_HOUR))
    service.keeps_log = False
    async with serving({provider: service}, {provider: port}) as urls:
        yield settings_text(service.target(urls[provider]), provider)


def settings_text(target: dict[str, Any], name: str) -> str:
    """Return an ``exporter.yaml`` with one target, polled every few seconds."""
    pace: dict[str, Any] = {} if name == "xenioo" else {"interval": "5s"}  # Xenioo: 1h at least
    document = {
        "version": 1,
        "allow_inline_secrets": True,
        "targets": [{"name": name} | pace | target],
    }
    return yaml.safe_dump(document, sort_keys=False)
