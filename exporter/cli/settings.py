"""The settings file as every command reads it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from exporter import catalog
from exporter.config import load
from exporter.config.model import Settings
from exporter.errors import LedgerError, SettingsError
from exporter.providers import KINDS
from exporter.web.listen import ListenError

DEFAULT_FILE = "exporter.yaml"


@contextmanager
def fail_on() -> Iterator[None]:
    """Turn what an operator can mend into words on stderr and exit code 1."""
    try:
        yield
    except (LedgerError, ListenError) as error:
        raise click.ClickException(str(error)) from None


def read_settings(file: str) -> Settings:
    """Return the settings in ``file``; print its faults and exit with 2 if it has any."""
    options = {name: kind.options for name, kind in KINDS.items()}
    try:
        return load(file, options, os.environ, families=catalog.capped(KINDS))
    except SettingsError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(2) from None
