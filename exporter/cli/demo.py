"""``demo``: runs every simulator on loopback and an exporter on them; no key, no network."""

import asyncio
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
import yaml

from exporter import __version__
from exporter.cli.run import Serve, ServeRequest
from exporter.cli.settings import (
    DEFAULT_FILE,
    listen_option,
    reporting,
    web_config_option,
)
from exporter.clock import SystemClock
from exporter.config import loads
from exporter.config.model import Settings
from exporter.errors import MachineError
from exporter.exposition import catalogue
from exporter.logs import configure_logs
from exporter.model.families import CONVERSATIONS_STARTED, INTERACTIONS, MESSAGES_RECEIVED
from exporter.model.query import QuerySpec
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import CustomQuery, LabelSettings, Provider, Query
from exporter.simulator import scenario
from exporter.simulator.chatlayer import BOT
from exporter.simulator.server import Service, serving
from exporter.web import webconfig

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERVAL_MS, SELDOM_MS = 5_000, 30_000
ENGAGING = {each.name for each in (MESSAGES_RECEIVED, INTERACTIONS, CONVERSATIONS_STARTED)}
"""The families polled most often; polling all of them would leave no time to read history."""
ZERO_HOLD_MS = 5_000
BUDGET_PERIOD_MS = 3_000  # the second call reads the day, so the third, after 7 s, shows growth
EVENTS = {
    "handover": "handovers",
    "not_understood": "fallbacks",
    "understood": "nlp_matches",
    "unmatched": "nlp_misses",
    "goal_booked": "goals_reached",
    "feedback_given": "feedback",
    "search_submitted": "searches",
    "flow_entered": "flow_triggers",
    "turn_taken": "interactions",
    "bot_replied": "messages_sent",
    "agent_replied": "operator_messages_sent",
    "session_ended": "sessions_ended",
    "api_called": "outbound_api_requests",
    "function_called": "function_calls",
    "integration_called": "integration_calls",
    "answer_generated": "llm_calls",
}
"""The counter that each event of the Chatlayer bot feeds."""
OWN: Mapping[str, dict[str, Any]] = {
    "inkeep": {"settle": "4h"},
    "chatlayer": {
        "stream": {"safety_lag": "5s"},
        "bots": [{"id": BOT, "alias": "care", "versions": ["LIVE"]}],
        "events": {
            "allow": [*EVENTS],
            "event_map": {event: f"chatbot_{name}_total" for event, name in EVENTS.items()},
        },
    },
}
"""Settings of single vendors; the late vendor completes an hour three hours after its end."""
AUDIT_MS = {"flowxo": 30_000}
"""How often a vendor's past is read again, where that is cheap."""
MARK = "# Written by chatbot-exporter demo, which replaces it.\n"
NO_FILE = "the demo makes its own settings and reads no file; use: run --config.file"

WELCOME = """chatbot-exporter {version} demo: {count} simulated accounts, polled every few seconds.
demo-flowxo has lost two thirds of its messages, demo-inkeep is three hours late,
demo-chatlayer takes counts back after half a minute.

Worth opening:
  status page     {url}/
  explain         {url}/explain
  metrics         {url}/metrics

Counters start at 0 and grow within seconds. Ctrl-C stops the demo; nothing is left behind.
"""


@click.command("demo")
@listen_option("127.0.0.1:10877")
@web_config_option
@click.option("--seed", default=1, show_default=True, help="Seed of the simulated traffic.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Keep exporter.yaml and the ledger demo.db there, to try other commands on them.",
)
@click.option("--config", "--config.file", "file", hidden=True)
@click.pass_obj
def command(
    serve: Serve,
    *,
    listen: str | None,
    web_config: Path | None,
    seed: int,
    folder: Path | None,
    file: str | None,
) -> None:
    """Run all simulators and the exporter on them: no key, no network, nothing left behind.

    Polls every few seconds instead of minutes, so that there is something to see.
    """
    if file is not None:
        raise click.UsageError(NO_FILE)
    configure_logs()
    for number in STOPS:  # until the exporter handles them
        signal.signal(number, _stop)
    with ExitStack() as stack:
        if folder is None:
            with reporting("TMPDIR"):
                made = tempfile.TemporaryDirectory(prefix="chatbot-exporter-")
            folder = Path(stack.enter_context(made))
        settings = folder / DEFAULT_FILE
        with reporting(settings):
            if settings.exists() and not settings.read_bytes().startswith(MARK.encode()):
                raise click.UsageError(f"{settings} is not a demo's; choose another folder")
        asyncio.run(_demo(serve, listen, web_config, seed, settings))


def _stop(*_: object) -> NoReturn:
    """Exit with 0; a second signal must not end what the first one has begun."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


async def _demo(
    serve: Serve, listen: str | None, web_config: Path | None, seed: int, file: Path
) -> None:
    services = scenario.services(SystemClock(), seed, xenioo_period_ms=BUDGET_PERIOD_MS)
    started = [asyncio.wrap_future(_simulate(*each)) for each in services.items()]
    targets = {
        name: services[name].target(url) | OWN.get(name, {})
        for ready in started
        for name, url in (await ready).items()
    }
    text = demo_text(targets)
    settings = demo_settings(text, file)

    def greet(address: str) -> None:  # the ledger is locked, so no other demo has the file
        with reporting(file):
            file.write_text(text, "utf-8")
        click.echo(welcome(address, web_config))

    request = ServeRequest(
        settings=settings,
        listen=listen or settings.web.listen,
        web_config=web_config,
        providers=hurried(PROVIDERS),
        started=greet,
        grace_s=0,
    )
    await serve(request)


def _simulate(name: str, service: Service) -> Future[dict[str, str]]:
    """Serve one vendor on its own thread until the process ends; the result is its URL.

    Generating weeks of traffic takes seconds, in which the others must run and be stoppable.
    """
    ready: Future[dict[str, str]] = Future()

    async def simulating() -> None:
        try:
            async with serving({name: service}) as url:
                ready.set_result(url)
                await asyncio.Event().wait()
        except BaseException as error:
            if ready.done():
                raise
            why = f"the simulator of {name} cannot start: {error}"
            ready.set_exception(MachineError(why) if isinstance(error, OSError) else error)

    threading.Thread(target=asyncio.run, args=(simulating(),), name=name, daemon=True).start()
    return ready


def demo_text(targets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a settings file with one target per simulator."""
    document = {
        "version": 1,
        "allow_inline_secrets": True,
        "ledger": {"url": "sqlite:///demo.db"},  # not the default: a folder may have an exporter's
        # Older hours never change here, and a short lookback leaves time to read history.
        "defaults": {"lookback": "6h"},
        "targets": [
            {"name": f"demo-{name}", "provider": name, "requests_per_second": 0} | dict(keys)
            for name, keys in targets.items()
        ],
    }
    return MARK + yaml.safe_dump(document)


def demo_settings(text: str, file: Path) -> Settings:
    """Return the settings in ``text``, with the ledger next to ``file``."""
    options = {name: kind.options for name, kind in PROVIDERS.items()}
    return loads(text, options, {}, file=str(file), families=catalogue.capped(PROVIDERS))


def hurried(kinds: Mapping[str, Provider]) -> dict[str, Provider]:
    """Return ``kinds`` with queries that are polled every few seconds, budgets included."""
    return {name: replace(kind, queries=partial(_hurried, kind)) for name, kind in kinds.items()}


def _hurried(kind: Provider, options: Any, settings: LabelSettings) -> Iterator[Query]:
    for query in kind.queries(options, settings):
        yield CustomQuery(_faster(query.spec), query.read)


def _faster(spec: QuerySpec) -> QuerySpec:
    budget = spec.budget and replace(spec.budget, period_ms=BUDGET_PERIOD_MS, margin_ms=500)
    interval_ms = INTERVAL_MS if ENGAGING & spec.fields.keys() else SELDOM_MS
    if budget:
        interval_ms = BUDGET_PERIOD_MS
    return replace(
        spec,
        interval_ms=interval_ms,
        audit_every_ms=AUDIT_MS.get(spec.provider, spec.audit_every_ms),
        zero_hold_ms=ZERO_HOLD_MS,
        budget=budget,
        slice_ms=None,
    )


def welcome(address: str, web_config: Path | None) -> str:
    """Return the demo's greeting once it serves ``address``."""
    here = address.replace("[::]", "localhost").replace("0.0.0.0", "localhost")  # noqa: S104
    scheme = "https" if web_config and webconfig.load(web_config).context else "http"
    url = f"{scheme}://{here}"
    return WELCOME.format(version=__version__, count=len(scenario.VENDORS), url=url)
