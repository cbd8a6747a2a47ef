"""``check-config``: reports errors and risks in a settings file, and the queries it defines."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import click

from exporter.cli.probe import announcement, probe, taking
from exporter.cli.settings import (
    config_option,
    file_argument,
    load_settings,
    network_of,
    settings_file,
    targets_of,
)
from exporter.clock import SystemClock
from exporter.config.model import Settings
from exporter.config.source import Path as Steps
from exporter.config.source import Source
from exporter.errors import SettingsProblem, Unauthorized
from exporter.format import counted, span
from exporter.http_client.detached import run_resolving
from exporter.ledger.engine import check_driver
from exporter.model.samples import SECOND_MS
from exporter.providers.base.plugin import Target

USUAL_SCRAPE_MS = 60_000
SCRAPES_HELD = 1.5
ZERO_HOLD = "zero_hold"


@click.command("check-config", short_help="Check a settings file; report all errors at once.")
@file_argument
@config_option
@click.option(
    "--no-secrets", is_flag=True, help="Do not look up secrets, for checks without them, as in CI."
)
@click.option(
    "--probe",
    "probing",
    is_flag=True,
    help="Also read one project or bot of each target once, after showing the cost.",
)
def command(given: str | None, file: str, *, no_secrets: bool, probing: bool) -> None:
    """Check FILE (default: exporter.yaml) without calling any provider (except --probe).

    Prints all errors as file:line:column: path: problem; hint and exits with 2, or lists the
    targets and their queries and exits with 0. Valid but risky settings produce warnings in the
    same form, which do not change the exit code. Environment variables and files with secrets are
    read but never shown. --probe exits with 1 if something cannot be read; in the ledger it
    changes only the call budgets.
    """
    if no_secrets and probing:
        raise click.UsageError("--probe needs the secrets that --no-secrets skips")
    file = settings_file(given, file)
    settings = load_settings(file, resolve=not no_secrets)
    check_driver(settings.ledger.url)
    network = network_of(settings)
    targets = targets_of(settings)
    for warning in warnings(settings, targets, keys=not no_secrets):
        click.echo(str(warning), err=True)
    click.echo(f"{file}: {summary(targets)}")
    if not probing:
        return
    click.echo("\n".join(["", "Reading now:", *announcement(targets, settings.ledger.url), ""]))
    clock = SystemClock()
    take = taking(settings.ledger.url, clock)
    outcomes = run_resolving(probe(targets, clock, take, network))
    click.echo("\n".join(map(str, outcomes)))
    if not all(outcome.good for outcome in outcomes):
        raise click.exceptions.Exit(1)


def summary(targets: Sequence[Target]) -> str:
    """Return one line with the number and names of targets and queries."""
    asked = {target.name: [query.spec.name for query in target.queries] for target in targets}
    listed = ", ".join(f"{name} ({', '.join(queries)})" for name, queries in asked.items())
    number, queries = len(asked), sum(map(len, asked.values()))
    return f"{counted(number, 'target')}, {counted(queries, 'query', 'queries')}: {listed}"


def warnings(
    settings: Settings, targets: Sequence[Target], *, keys: bool = True
) -> list[SettingsProblem]:
    """Return warnings about the file, by position, then about the files that its targets name.

    ``targets`` are built from ``settings``; ``keys``: whether their secrets can be read.
    """
    source = settings.source
    found = [
        *_short_holds(source, settings),
        *_shared_budgets(source, targets),
        *_without_effect(source, settings),
        *(_keys(source, targets) if keys else ()),
    ]
    risky = (each for target in settings.targets for each in target.own_warnings())
    return sorted(found, key=lambda each: (each.line, each.column)) + list(dict.fromkeys(risky))


def _without_effect(source: Source, settings: Settings) -> Iterator[SettingsProblem]:
    """Yield warnings about a ledger without a folder, and about lists that privacy leaves empty."""
    folder = Path(unquote(settings.ledger.url.removeprefix("sqlite:///"))).parent
    if settings.ledger.url.startswith("sqlite:") and not folder.is_dir():
        problem = "warning: the ledger's folder does not exist, so run cannot start"
        yield source.problem(("ledger", "url"), problem, "create it")
    for index in range(len(settings.targets)):
        steps: Steps = ("targets", index, "top_messages")
        if source.get(steps) is not None and settings.privacy.top_messages == "none":
            problem = "warning: no message is exported: privacy.top_messages is none"
            yield source.problem(steps, problem, "set it to allowlist")


def _keys(source: Source, targets: Sequence[Target]) -> Iterator[SettingsProblem]:
    """Yield warnings about unusable keys, and about targets that repeat an earlier one."""
    first: dict[str, int] = {}
    for index, target in enumerate(targets):
        try:
            key = sorted((target.keys or target.sign)().items())
        except Unauthorized as error:
            yield source.problem(("targets", index), f"warning: {error}", "no poll can succeed")
            continue
        asked = {
            repr((target.provider, target.base_url, key, query.spec.meaning))
            for query in target.queries
        }
        if twice := [first[each] for each in asked if each in first]:
            other = source.where(("targets", twice[0], "name"))
            problem = f"warning: the same key and queries as the target at {other}"
            yield source.problem(("targets", index), problem, "everything is counted twice")
        for each in asked:
            first.setdefault(each, index)


def _short_holds(source: Source, settings: Settings) -> Iterator[SettingsProblem]:
    """Yield warnings about a ``zero_hold`` too short for Prometheus' default scrape interval."""
    held: dict[Steps, int] = {}
    for index, target in enumerate(settings.targets):
        own: Steps = ("targets", index, ZERO_HOLD)
        held[own if own in source.values else ("defaults", ZERO_HOLD)] = target.zero_hold
    for path, held_ms in held.items():
        if held_ms < SCRAPES_HELD * USUAL_SCRAPE_MS:
            often = span(held_ms / SCRAPES_HELD / SECOND_MS)
            yield source.problem(
                path,
                f"warning: too short, unless Prometheus scrapes every {often} or more often",
                "use 1.5 times the scrape interval: 90s for the default 1m",
            )


def _shared_budgets(source: Source, targets: Sequence[Target]) -> Iterator[SettingsProblem]:
    """Yield warnings about targets that share the call budget of an earlier one."""
    first: dict[str, int] = {}
    for index, target in enumerate(targets):
        for budget in {query.spec.budget for query in target.queries if query.spec.budget}:
            if budget.name in first:
                other = source.where(("targets", first[budget.name], "name"))
                yield source.problem(
                    ("targets", index),
                    f"warning: the same account as the target at {other}, so both share its calls",
                    "each is polled half as often; use one target for all bots of an account",
                )
            first.setdefault(budget.name, index)
