"""``metrics``: prints the catalogue of this build."""

import json
from collections.abc import Sequence

import click

from exporter.cli.settings import format_option
from exporter.exposition import catalogue
from exporter.exposition.catalogue import Entry
from exporter.format import columns
from exporter.providers import PROVIDERS
from exporter.providers.manifest import loader


@click.command("metrics", short_help="Print the catalogue of metric families.")
@format_option("table", "json", "markdown")
def command(form: str) -> None:
    """Print every metric family of this build: name, type, labels and help.

    JSON and Markdown also have its meaning, its sources and its cap.
    """
    manifests = {name: loader.load(loader.find(name)).fed for name in loader.shipped()}
    click.echo(FORMS[form](catalogue.entries(PROVIDERS, manifests)))


def as_table(entries: Sequence[Entry]) -> str:
    """Return one line per family: name, type, labels, help."""
    rows = [("NAME", "TYPE", "LABELS", "HELP")]
    rows += [
        (e.family.name, e.family.kind.value, ",".join(e.family.labels), e.family.help)
        for e in entries
    ]
    return "\n".join(columns(rows, left=4))


def as_json(entries: Sequence[Entry]) -> str:
    """Return a list with one object per family."""
    return json.dumps([e.record() for e in entries], indent=2, ensure_ascii=False)


def as_markdown(entries: Sequence[Entry]) -> str:
    """Return the table of the reference page."""
    lines = ["| name | type | labels | help | meaning | from | cap |", "|---" * 7 + "|"]
    for entry in entries:
        family = entry.family
        labels = ", ".join(f"`{label}`" for label in family.labels)
        cells = (
            f"`{family.name}`",
            family.kind.value,
            labels,
            family.help,
            family.meaning,
            ", ".join(entry.sources),
            str(family.cap),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


FORMS = {"table": as_table, "json": as_json, "markdown": as_markdown}
