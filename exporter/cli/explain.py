"""``explain``: why does a series show what it shows?"""

from collections.abc import Iterator, Sequence

import click
import msgspec

from exporter.cli.settings import DEFAULT_FILE, fail_on, read_settings, targets_of
from exporter.clock import SystemClock
from exporter.config.model import Settings
from exporter.explain.answer import ExplainedBucket, Explainer, Explanation
from exporter.explain.reader import Reader
from exporter.explain.selector import SelectorError
from exporter.exposition import catalogue
from exporter.format import age, number, stamp
from exporter.model.query import QuerySpec
from exporter.providers import PROVIDERS

NEWEST = 24
INDENT = "  "
_HEAD = ("bucket (UTC)", "phase", "provider", "baseline", "counted", "revisions")


@click.command("explain", short_help="Why a series shows what it shows.")
@click.argument("selector")
@click.option(
    "--config", "file", default=DEFAULT_FILE, show_default=True, help="The settings file."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
@click.option("--all", "whole", is_flag=True, help=f"Every bucket, not just the newest {NEWEST}.")
def command(selector: str, file: str, form: str, *, whole: bool) -> None:
    """Say how each series that SELECTOR names adds up, from what the provider said.

    SELECTOR is written as in PromQL: 'chatbot_messages_received_total{target="shop"}', with
    = != =~ !~. Reads the ledger beside a running exporter and calls nobody. Exits with 1 when
    nothing matches.
    """
    settings, now_ms, total = read_settings(file), SystemClock().now_ms(), 0
    with fail_on():
        for total, found in enumerate(_explanations(settings, selector, now_ms), 1):
            if form == "json":
                click.echo(_json(found, total, selector, now_ms), nl=False)
            else:
                click.echo(("\n" if total > 1 else "") + "\n".join(as_text(found, now_ms, whole)))
    if not total:
        raise click.ClickException("no series matches; chatbot-exporter metrics names the families")
    if form == "json":
        click.echo(f'\n],\n"total": {total}}}')
    elif total > 1:
        click.echo(f"\n{total} series")


def _json(found: Explanation, number: int, selector: str, now_ms: int) -> str:
    """Return the part of a JSON document that ``found`` is, with what comes before it."""
    series = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    if number > 1:
        return f",\n{series}"
    name = msgspec.json.encode(selector).decode()
    return f'{{"selector": {name},\n"now_ms": {now_ms},\n"series": [\n{series}'


def _explanations(settings: Settings, selector: str, now_ms: int) -> Iterator[Explanation]:
    """Yield one account after another: all of them together may not fit into memory."""
    families = catalogue.families(PROVIDERS)
    reader = Reader(settings.ledger.url, families)
    try:
        yield from Explainer(reader, specs_of(settings), families, now_ms).each(selector)
    except SelectorError as error:
        raise click.BadParameter(str(error), param_hint="SELECTOR") from None
    finally:
        reader.close()


def specs_of(settings: Settings) -> dict[tuple[str, str], QuerySpec]:
    """Return the traits of every configured query."""
    return {
        query.spec.key: query.spec for target in targets_of(settings) for query in target.queries
    }


def as_text(found: Explanation, now_ms: int, whole: bool = True) -> Iterator[str]:  # noqa: FBT001, FBT002 - passed on from click
    """Yield the lines of one account; ``whole`` lists every bucket, else older ones are one line."""
    exported = "not exported" if found.exported is None else number(found.exported)
    yield f"{found.series} {exported}"
    yield f"{INDENT}{found.meaning}"
    yield from (INDENT + line for line in _origin(found, now_ms))
    if found.buckets:
        yield ""
        yield from (INDENT + line for line in _table(found.buckets, whole=whole))
    yield from ((INDENT + line).rstrip() for line in _totals(found))
    for gap in found.gaps:
        yield f"{INDENT}gap ({gap.reason}): {stamp(gap.start_ms)} to {stamp(gap.end_ms)}"
    yield from (f"{INDENT}* {note}" for note in found.notes)


def _origin(found: Explanation, now_ms: int) -> Iterator[str]:
    yield f"query     {found.target} {found.query} ({found.provider})"
    if found.request:
        yield f"request   {found.request}" + (f", field {found.field}" if found.field else "")
    if found.since_ms is not None:
        yield f"counting  since {stamp(found.since_ms)}"
    if found.settled_until_ms is not None:
        yield f"settled   until {stamp(found.settled_until_ms)} ({age(found.settled_until_ms, now_ms)})"
    if found.as_of_ms is not None:
        yield f"as of     {stamp(found.as_of_ms)}"
    if found.period is not None:
        yield f"period    {stamp(found.period.start_ms)} to {stamp(found.period.end_ms)}"


def _table(buckets: Sequence[ExplainedBucket], *, whole: bool) -> Iterator[str]:
    older = () if whole else buckets[:-NEWEST]
    rows = [_HEAD]
    if older:
        sums = (
            sum(each.provider for each in older),
            sum(each.baseline for each in older),
            sum(each.counted for each in older),
            sum(each.revisions for each in older),
        )
        head, *rest = map(number, sums)
        rows.append((f"{len(older)} older ones (--all)", "", head, rest[0], rest[1], rest[2]))
    rows += [_row(each) for each in buckets[len(older) :]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        left = [text.ljust(width) for text, width in zip(row[:2], widths, strict=False)]
        right = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
        yield INDENT.join(left + right).rstrip()


def _row(bucket: ExplainedBucket) -> tuple[str, str, str, str, str, str]:
    start, end = stamp(bucket.start_ms)[:16], stamp(bucket.end_ms)[:16]
    return (
        f"{start} to {end.removeprefix(start[:11])}",
        bucket.phase.value,
        number(bucket.provider),
        number(bucket.baseline),
        number(bucket.counted),
        number(bucket.revisions),
    )


def _totals(found: Explanation) -> Iterator[str]:
    lines = [] if found.sum is None else found.sum.steps()
    if found.period is not None:
        lines.append(("sum of provider values", sum(each.provider for each in found.buckets)))
    if found.exported is not None:
        lines.append(("exported", found.exported))
    if not lines:
        return
    yield ""
    label = max(len(name) for name, _ in lines)
    width = max(len(number(value)) for _, value in lines)
    for name, value in lines:
        yield f"{name.rjust(label)}  {number(value).rjust(width)}"
