"""``check-config``: is the settings file right, is it risky, and what would be asked?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from exporter.cli.probe import announcement, probe, taking
from exporter.cli.settings import (
    config_option,
    file_argument,
    load_settings,
    named_once,
    network_of,
    targets_of,
)
from exporter.clock import MILLISECONDS, SystemClock
from exporter.config.model import Settings
from exporter.config.source import Path as Steps
from exporter.config.source import Source
from exporter.errors import SettingsProblem, Unauthorized
from exporter.format import counted, span
from exporter.http_client.detached import run_resolving
from exporter.providers.base.plugin import Target

USUAL_SCRAPE_MS = 60_000
SCRAPES_HELD = 1.5
ZERO_HOLD = "zero_hold"


@click.command("check-config", short_help="Check a settings file; report all errors at once.")
@file_argument
@config_option
@click.option(
    "--no-secrets", is_flag=True, help="Do not look up secrets; for checks where they are not."
)
@click.option(
    "--probe",
    "probing",
    is_flag=True,
    help="Then read each project or bot once, after showing what that costs.",
)
def command(given: str | None, file: str, *, no_secrets: bool, probing: bool) -> None:
    """Check FILE (default: exporter.yaml) without calling any provider (except --probe).

    Prints all errors as file:line:column: path: problem; hint and exits with 2, or lists the
    targets and their queries and exits with 0. Valid but risky settings produce warnings in the
    same form, which change no exit code. Environment variables and files that hold secrets are
    read, but never shown. --probe exits with 1 if something cannot be read; in the ledger it
    changes only the call budgets.
    """
    if no_secrets and probing:
        raise click.UsageError("--probe needs the secrets that --no-secrets leaves out")
    file = named_once(given, file)
    settings = load_settings(file, resolve=not no_secrets)
    network = network_of(settings)
    targets = targets_of(settings)
    for warning in warnings(settings, targets, keys=not no_secrets):
        click.echo(str(warning), err=True)
    click.echo(f"{file}: {summary(targets)}")
    if not probing:
        return
    click.echo("\n".join(["", "Asking now:", *announcement(targets, settings.ledger.url), ""]))
    clock = SystemClock()
    take = taking(settings.ledger.url, clock)
    outcomes = run_resolving(probe(targets, clock, take, network))
    click.echo("\n".join(map(str, outcomes)))
    if not all(outcome.good for outcome in outcomes):
        raise click.exceptions.Exit(1)


def summary(targets: Sequence[Target]) -> str:
    """Return in one line how many targets and queries there are, and which."""
    asked = {target.name: [query.spec.name for query in target.queries] for target in targets}
    listed = ", ".join(f"{name} ({', '.join(queries)})" for name, queries in asked.items())
    number, queries = len(asked), sum(map(len, asked.values()))
    return f"{counted(number, 'target')}, {counted(queries, 'query', 'queries')}: {listed}"


def warnings(
    settings: Settings, targets: Sequence[Target], *, keys: bool = True
) -> list[SettingsProblem]:
    """Return what to warn of in the file, by position, then in the files that its targets name.

    ``targets`` are those of ``settings``; ``keys``: whether their secrets can be read.
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
    """Yield a ledger without its folder, and lists of messages that privacy leaves empty."""
    folder = Path(settings.ledger.url.removeprefix("sqlite:///")).parent
    if settings.ledger.url.startswith("sqlite:") and not folder.is_dir():
        problem = "warning: the ledger's folder does not exist, so that run cannot start"
        yield source.problem(("ledger", "url"), problem, "create it")
    for index in range(len(settings.targets)):
        steps: Steps = ("targets", index, "top_messages")
        if source.get(steps) is not None and settings.privacy.top_messages == "none":
            problem = "warning: no message is exported: privacy.top_messages is none"
            yield source.problem(steps, problem, "set it to allowlist")


def _keys(source: Source, targets: Sequence[Target]) -> Iterator[SettingsProblem]:
    """Yield keys that cannot be used, and targets that count what one before them counts, too."""
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
    """Yield each ``zero_hold`` that is too short for Prometheus' usual scrape interval."""
    held: dict[Steps, int] = {}
    for index, target in enumerate(settings.targets):
        own: Steps = ("targets", index, ZERO_HOLD)
        held[own if own in source.values else ("defaults", ZERO_HOLD)] = target.zero_hold
    for path, held_ms in held.items():
        if held_ms < SCRAPES_HELD * USUAL_SCRAPE_MS:
            often = span(held_ms / SCRAPES_HELD / MILLISECONDS)
            yield source.problem(
                path,
                f"warning: too short, unless Prometheus scrapes every {often} or more often",
                "take 1.5 times the scrape interval, 90s for its usual 1m",
            )


def _shared_budgets(source: Source, targets: Sequence[Target]) -> Iterator[SettingsProblem]:
    """Yield each target that spends from the call budget of one before it."""
    first: dict[str, int] = {}
    for index, target in enumerate(targets):
        for budget in {query.spec.budget for query in target.queries if query.spec.budget}:
            if budget.name in first:
                other = source.where(("targets", first[budget.name], "name"))
                yield source.problem(
                    ("targets", index),
                    f"warning: the same account as the target at {other}, so both share its calls",
                    "each is polled half as often; one target can read all bots of an account",
                )
            first.setdefault(budget.name, index)
