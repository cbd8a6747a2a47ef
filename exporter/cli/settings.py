"""The settings file as every command reads it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from exporter.config import load
from exporter.config.model import Settings
from exporter.errors import LedgerError, MachineError, SettingsError
from exporter.exposition import catalogue
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import LabelSettings, Target
from exporter.web.listen import ListenError

DEFAULT_FILE = "exporter.yaml"


@contextmanager
def fail_on() -> Iterator[None]:
    """Print errors that an operator can correct to stderr; exit with 1 or 2."""
    try:
        yield
    except (SettingsError, MachineError) as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(2) from None
    except (LedgerError, ListenError) as error:
        raise click.ClickException(str(error)) from None


def load_settings(file: str) -> Settings:
    """Return the settings in ``file``; raise ``SettingsError`` with all errors."""
    options = {name: kind.options for name, kind in PROVIDERS.items()}
    return load(file, options, os.environ, families=catalogue.capped(PROVIDERS))


def read_settings(file: str) -> Settings:
    """Return the settings in ``file``; print all errors and exit with 2 if it has any."""
    try:
        return load_settings(file)
    except SettingsError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(2) from None


def targets_of(settings: Settings) -> list[Target]:
    """Return the targets that ``settings`` describe."""
    rules = LabelSettings(settings.limits, settings.privacy)
    return [PROVIDERS[each.provider].build(each, rules) for each in settings.targets]
