"""``manifest``: list, check and try the files that describe other APIs."""

from pathlib import Path

import click

from exporter.cli.settings import fail_on
from exporter.format import columns
from exporter.providers.manifest import loader


@click.group("manifest", short_help="List, check and try manifests of other APIs.")
def command() -> None:
    """Work with manifests: YAML files that describe how to read an HTTP JSON API."""


@command.command("list")
def list_() -> None:
    """List the manifests that come with the exporter, what each reads, and how sure its facts are."""
    rows = [("NAME", "TITLE", "QUERIES", "FACTS")]
    for name in loader.shipped():
        settings = loader.load(loader.find(name, Path())).settings
        queries = ", ".join(settings.queries)
        rows.append((name, settings.title, queries, settings.facts or "not stated"))
    click.echo("\n".join(columns(rows, left=4)))


@command.command("check")
@click.argument("file")
def check(file: str) -> None:
    """Check FILE, a path or the name of a shipped manifest; print every error with its position.

    Valid but risky places produce warnings in the same form, which change no exit code.
    """
    with fail_on():
        found = loader.load(loader.find(file, Path()))
    for warning in found.warnings:
        click.echo(str(warning), err=True)
    queries = ", ".join(found.queries)
    click.echo(f"{found.file}: {found.settings.title}: {queries}")
    for query in found.queries.values():
        click.echo(f"  {query.name} reads {', '.join(query.program.declared)}")
    if found.secrets:
        click.echo(f"  secrets: {', '.join(sorted(found.secrets))}")
