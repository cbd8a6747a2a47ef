"""``ledger``: maintains the ledger of a stopped exporter."""

import click
from pydantic_core import PydanticCustomError

from exporter.cli.settings import config_option, load_settings, targets_of
from exporter.clock import SystemClock
from exporter.config.values import check_ledger_url
from exporter.exposition import catalogue
from exporter.exposition.last_scraped import last_scraped
from exporter.ledger import repair, transfer
from exporter.providers import PROVIDERS
from exporter.telemetry.counters import PREFIX


def _ledger_url(
    _context: click.Context, _parameter: click.Parameter, url: str | None
) -> str | None:
    try:
        return url and check_ledger_url(url)
    except PydanticCustomError as error:
        raise click.BadParameter(error.message()) from None


@click.group("ledger", short_help="Copy, check or restore the ledger, or delete a target from it.")
def command() -> None:
    """Copy, check or restore the ledger of a stopped exporter, or delete a target from it."""


@command.command("copy", short_help="Copy the ledger to another database.")
@click.option(
    "--from",
    "source",
    metavar="URL",
    required=True,
    callback=_ledger_url,
    help="The ledger, as in ledger.url.",
)
@click.option(
    "--to",
    "target",
    metavar="URL",
    required=True,
    callback=_ledger_url,
    help="A new, empty database or file.",
)
def copy(source: str, target: str) -> None:
    """Copy a whole ledger, also between SQLite and PostgreSQL in either direction.

    Stop the exporter first, then set ledger.url to the copy: counters continue where they were.
    """
    copied = transfer.copy(source, target, SystemClock())
    for table, number in copied.items():
        click.echo(f"{table}: {number} rows copied")


@command.command("check", short_help="Check that counters and hours agree.")
@config_option
@click.option(
    "--url",
    metavar="URL",
    callback=_ledger_url,
    help="Another ledger than the one in the settings file.",
)
def check(file: str, url: str | None) -> None:
    """Check that every counter equals the sum of its hours, and that gaps are valid.

    Stop the exporter first. Exits with 1 if something is wrong.
    """
    place = url or load_settings(file, resolve=False).ledger.url
    wrong = transfer.check(place, SystemClock())
    for sentence in wrong:
        click.echo(sentence)
    if wrong:
        raise click.exceptions.Exit(1)
    click.echo("The ledger is in order.")


@command.command("restore", short_help="Raise an older ledger's counters to what was scraped.")
@config_option
@click.option(
    "--floor-from", "prometheus", metavar="URL", required=True, help="The Prometheus that scrapes."
)
@click.option(
    "--matching", metavar="MATCHERS", default="", help="More matchers, as in 'job=\"chatbots\"'."
)
def restore(file: str, prometheus: str, matching: str) -> None:
    """Raise the counters of a restored ledger to their last scraped values, so that none falls.

    Stop the exporter, put the backup in place, run this, then start the exporter. What was counted
    since the backup is read again from the vendors, and nothing counts twice. The calls of call
    budgets (Xenioo) count as spent now.
    """
    settings = load_settings(file, resolve=False)
    families = catalogue.families(PROVIDERS, settings.targets)
    targets = targets_of(settings)
    shown = [
        each
        for target in targets
        for each in last_scraped(prometheus, target.name, matching, families)
    ]
    specs = [query.spec for target in targets for query in target.queries]
    known = repair.raise_counters(settings.ledger.url, specs, families, shown, SystemClock())
    number = sum(not each.family.startswith(PREFIX) for each in shown)
    click.echo(f"{known} of {number} counters are now at least as high as in Prometheus.")
    if known < number or not number:
        raise click.exceptions.Exit(1)


@command.command("forget", short_help="Delete everything about a target.")
@config_option
@click.option("--target", metavar="NAME", required=True, help="Target, configured or not.")
def delete_target(file: str, target: str) -> None:
    """Delete a target's counts, sketches, event ids and schedule. This cannot be undone.

    Stop the exporter first. A target that is still in the settings starts over at the next start.
    """
    place = load_settings(file, resolve=False).ledger.url
    deleted = repair.delete_target(place, target, SystemClock())
    for table, number in deleted.items():
        click.echo(f"{table}: {number} rows deleted")
