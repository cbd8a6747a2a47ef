"""``check-config``: is the settings file right, and what would be asked?"""

import asyncio
from collections.abc import Sequence

import click

from exporter.cli.probe import announcement, probe, taking
from exporter.cli.settings import (
    certificates_here,
    check_proxies,
    config_option,
    fail_on,
    file_argument,
    named_once,
    read_settings,
    targets_of,
)
from exporter.cli.warnings import warnings
from exporter.clock import SystemClock
from exporter.http_client.detached import ResolvingLoop
from exporter.http_client.transport import Transport
from exporter.providers.base.plugin import Target


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
    settings = read_settings(file, resolve=not no_secrets)
    with fail_on():
        certificates = certificates_here()
        check_proxies(settings)
    targets = targets_of(settings)
    for warning in warnings(file, settings, targets, keys=not no_secrets):
        click.echo(str(warning), err=True)
    click.echo(f"{file}: {summary(targets)}")
    if not probing:
        return
    click.echo("\n".join(["", "Asking now:", *announcement(targets, settings.ledger.url), ""]))
    clock = SystemClock()
    take, network = taking(settings.ledger.url, clock), Transport(certificates=certificates)
    with fail_on(), asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        outcomes = runner.run(probe(targets, clock, take, network))
    click.echo("\n".join(map(str, outcomes)))
    if not all(outcome.good for outcome in outcomes):
        raise click.exceptions.Exit(1)


def summary(targets: Sequence[Target]) -> str:
    """Return in one line how many targets and queries there are, and which."""
    asked = {target.name: [query.spec.name for query in target.queries] for target in targets}
    listed = ", ".join(f"{name} ({', '.join(queries)})" for name, queries in asked.items())
    number, queries = len(asked), sum(map(len, asked.values()))
    return f"{_count(number, 'target')}, {_count(queries, 'query', 'queries')}: {listed}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
