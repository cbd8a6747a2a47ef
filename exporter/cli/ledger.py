"""``ledger``: copies a ledger to another database, and checks one."""

import click

from exporter.cli.settings import config_option, fail_on, read_settings
from exporter.clock import SystemClock
from exporter.ledger import transfer


@click.group("ledger", short_help="Copy or check the ledger.")
def command() -> None:
    """Copy the ledger of a stopped exporter to another database, or check it."""


@command.command("copy", short_help="Copy the ledger to another database.")
@click.option(
    "--from", "source", metavar="URL", required=True, help="The ledger, as in ledger.url."
)
@click.option("--to", "target", metavar="URL", required=True, help="A new, empty database or file.")
def copy(source: str, target: str) -> None:
    """Copy a ledger with everything in it, between SQLite and PostgreSQL in both directions.

    Stop the exporter first, then set ledger.url to the copy: counters go on where they were.
    """
    with fail_on():
        copied = transfer.copy(source, target, SystemClock())
    for table, number in copied.items():
        click.echo(f"{table}: {number}")


@command.command("check", short_help="Check that counters and hours agree.")
@config_option
@click.option("--url", metavar="URL", help="Another ledger than that of the settings file.")
def check(file: str, url: str | None) -> None:
    """Check that every counter equals the sum of its hours, and that gaps are in order.

    Stop the exporter first. Exits with 1 where something is wrong.
    """
    with fail_on():
        place = url or read_settings(file, resolve=False).ledger.url
        wrong = transfer.check(place, SystemClock())
    for sentence in wrong:
        click.echo(sentence)
    if wrong:
        raise click.exceptions.Exit(1)
    click.echo("The ledger is in order.")
