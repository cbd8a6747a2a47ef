"""``check-config``: is the settings file right, and what would be asked?"""

import click

from exporter.cli.settings import DEFAULT_FILE, read_settings
from exporter.config.model import Settings
from exporter.provider import Rules
from exporter.providers import KINDS


@click.command("check-config", short_help="Check a settings file; every fault at once.")
@click.argument("file", default=DEFAULT_FILE)
def command(file: str) -> None:
    """Check FILE (default: exporter.yaml) without calling any provider.

    Prints every fault as file:line:column: path: problem; hint and exits with 2, or names the
    targets and their queries and exits with 0. Environment variables and files that hold secrets
    are looked up, but never shown.
    """
    click.echo(f"{file}: {summary(read_settings(file))}")


def summary(settings: Settings) -> str:
    """Return in one line how many targets and queries there are, and which."""
    rules = Rules(settings.limits, settings.privacy)
    built = [KINDS[each.provider].build(each, rules) for each in settings.targets]
    asked = {target.name: [query.spec.name for query in target.queries] for target in built}
    listed = ", ".join(f"{name} ({', '.join(queries)})" for name, queries in asked.items())
    targets, queries = len(asked), sum(map(len, asked.values()))
    return f"{_count(targets, 'target')}, {_count(queries, 'query', 'queries')}: {listed}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
