"""The settings file as every command reads it."""

import os

import click

from exporter import catalog
from exporter.config import load
from exporter.config.model import Settings
from exporter.errors import SettingsError
from exporter.providers import KINDS

DEFAULT_FILE = "exporter.yaml"


def read_settings(file: str) -> Settings:
    """Return the settings in ``file``; print its faults and exit with 2 if it has any."""
    options = {name: kind.options for name, kind in KINDS.items()}
    try:
        return load(file, options, os.environ, families=catalog.capped(KINDS))
    except SettingsError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(2) from None
