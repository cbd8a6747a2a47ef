"""``audit``: compares the ledger with what the vendors report."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from exporter.cli.probe import taking
from exporter.cli.settings import (
    config_option,
    format_option,
    load_settings,
    network_of,
    target_option,
    targets_of,
)
from exporter.clock import SystemClock
from exporter.explain.agreement import Agreement, ComparedDay, Comparer
from exporter.format import columns, number
from exporter.http_client.detached import run_resolving
from exporter.ledger import engine
from exporter.model.samples import SECOND_MS
from exporter.status import days_equal

_HEAD = ("DAY (UTC)", "TARGET", "QUERY", "FAMILY", "VENDOR", "LEDGER", "DIFFERENCE")


@click.command("audit", short_help="Compare the ledger with the vendors.")
@config_option
@target_option
@click.option("--from", "since", type=click.DateTime(["%Y-%m-%d"]), help="First day (UTC).")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The day after the last one.")
@format_option("table", "json", "csv")
def command(
    file: str, name: str | None, since: datetime | None, until: datetime | None, form: str
) -> None:
    """Read the last 35 days again and compare them with the ledger, per day and family.

    Prints both numbers and exits with 1 if they differ or something could not be read. Reads the
    ledger, even while an exporter runs, and changes no count in it; the exporter applies
    differences with its own audit. A call from a call budget (Xenioo) is recorded in the ledger.
    """
    if since and until and since >= until:
        words = "--until is the day after the last one, so it must be later than --from"
        raise click.BadParameter(words, param_hint=["--from", "--until"])
    settings = load_settings(file)
    targets = targets_of(settings, name)
    clock = SystemClock()
    spend = taking(settings.ledger.url, clock)
    network = network_of(settings)
    ledger = engine.read_only(settings.ledger.url)
    comparer = Comparer(ledger, clock, network, spend, _ms(since), _ms(until))
    found = run_resolving(comparer.compare(targets))
    ledger.dispose()
    click.echo(_FORMATS[form](found), nl=False)
    for each in found:
        if each.problem:
            click.echo(f"{each.target} {each.query}: not compared: {each.problem}", err=True)
    for alone in sorted({target.name for target in targets} - {each.target for each in found}):
        click.echo(f"{alone}: not compared: it has no counts by hour or day", err=True)
    if not all(each.good for each in found):
        raise click.exceptions.Exit(1)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * SECOND_MS)


def _table(found: Sequence[Agreement]) -> str:
    rows = [
        (day.day, day.target, day.query, day.family, *map(number, _numbers(day)))
        for each in found
        for day in each.days
    ]
    return "".join(f"{line}\n" for line in (*columns([_HEAD, *rows], left=4), "", *_sums(found)))


def _numbers(day: ComparedDay) -> tuple[float, float, float]:
    return day.vendor, day.ledger, day.difference


def _sums(found: Sequence[Agreement]) -> Iterator[str]:
    for target in dict.fromkeys(each.target for each in found):
        queries = [each for each in found if each.target == target]
        days = [day for each in queries for day in each.days]
        whole = len({day.day for day in days})
        equal = days_equal(whole, (day.day for day in days if day.difference))
        agrees = "agrees with the vendor" if equal == whole else "differs from the vendor"
        parts = [f"{agrees}: {equal} of {whole} days are equal"] if whole else []
        if left := sum(bool(each.problem) for each in queries):
            parts.append(f"{left} of {len(queries)} queries not compared")
        yield f"{target}: {'; '.join(parts) or 'no counts on either side'}"


def _json(found: Sequence[Agreement]) -> str:
    days = [asdict(day) | {"difference": day.difference} for each in found for day in each.days]
    problems = {f"{each.target}/{each.query}": each.problem for each in found if each.problem}
    return json.dumps({"days": days, "problems": problems}, indent=2) + "\n"


def _csv(found: Sequence[Agreement]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["day", "target", "query", "family", "vendor", "ledger", "difference"])
    for each in found:
        for day in each.days:
            cells = (day.day, day.target, day.query, day.family)
            writer.writerow([*cells, *map(number, _numbers(day))])
    return text.getvalue()


_FORMATS = {"table": _table, "json": _json, "csv": _csv}
