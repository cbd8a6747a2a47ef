"""``explain``: shows how a series adds up."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import click
import httpx
import msgspec

from exporter.cli.settings import config_option, format_option, load_settings, targets_of
from exporter.clock import SystemClock
from exporter.config.model import Settings
from exporter.errors import SchemaError
from exporter.explain.reader import (
    ExplainedBucket,
    Explainer,
    Explanation,
    Explanations,
    why_nothing,
)
from exporter.explain.selector import SelectorError, parse
from exporter.exposition import catalogue
from exporter.format import MINUTE, age, columns, exact_sum, number, printable, stamp
from exporter.http_client.client import decode
from exporter.http_client.transport import client_options, without_url
from exporter.model.query import QuerySpec
from exporter.providers import PROVIDERS

NEWEST = 24
TIMEOUT_S = 60
INDENT = "  "
_HEAD: tuple[str, ...] = ("bucket (UTC)", "phase", "provider", "baseline", "counted", "revisions")


def _well_formed(_context: click.Context, _parameter: click.Parameter, selector: str) -> str:
    try:
        parse(selector)
    except SelectorError as error:
        raise click.BadParameter(str(error), param_hint="SELECTOR") from None
    return selector


@click.command("explain", short_help="Show how a series adds up.")
@click.argument("selector", callback=_well_formed)
@config_option
@format_option("text", "json")
@click.option("--all", "whole", is_flag=True, help=f"Every bucket, not just the newest {NEWEST}.")
@click.option(
    "--url", help="Ask the exporter at this address, as in http://127.0.0.1:10877, not the ledger."
)
def command(selector: str, file: str, form: str, *, whole: bool, url: str | None) -> None:
    """Show how each series that SELECTOR matches adds up, from what the provider reported.

    SELECTOR is written as in PromQL: 'chatbot_messages_received_total{target="shop"}', with
    = != =~ !~. Reads the ledger, even while an exporter runs, or asks an exporter with --url.
    Calls no provider. Exits with 1 if nothing matches.
    """
    now_ms, total = SystemClock().now_ms(), 0
    found = _asked(url, selector) if url else _read(file, selector, now_ms)
    for total, each in enumerate(found, 1):
        if form == "json":
            click.echo(_json(each, total, selector, now_ms), nl=False)
        else:
            text = printable("\n".join(as_text(each, now_ms, whole)))
            click.echo(("\n" if total > 1 else "") + text)
    if form == "json":
        click.echo(f'\n],\n"total": {total}}}')
    elif total > 1:
        click.echo(f"\n{total} series")


def _json(found: Explanation, number: int, selector: str, now_ms: int) -> str:
    """Return ``found`` as part of a JSON document, with the text that precedes it."""
    series = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    if number > 1:
        return f",\n{series}"
    name = msgspec.json.encode(selector).decode()
    return f'{{"selector": {name},\n"now_ms": {now_ms},\n"series": [\n{series}'


def _read(file: str, selector: str, now_ms: int) -> Iterator[Explanation]:
    """Yield explanations one by one, because all of them may not fit into memory."""
    settings = load_settings(file, resolve=False)
    families = catalogue.families(PROVIDERS, settings.targets)
    url, each = settings.ledger.url, None
    with closing(Explainer(url, specs_of(settings), families, now_ms)) as explainer:
        for each in filter(None, explainer.find(selector)):
            yield each
    if each is None:
        raise click.ClickException(why_nothing(selector, families))


def _asked(url: str, selector: str) -> Iterator[Explanation]:
    """Yield the explanations from the exporter at ``url``, page by page."""
    first, total = 1, 1
    base = url if "://" in url else f"http://{url}"
    options = client_options(base)
    while first <= total:
        query = {"series": selector, "format": "json", "first": str(first)}
        try:
            answer = httpx.get(
                f"{base.rstrip('/')}/explain", params=query, timeout=TIMEOUT_S, **options
            )
            if answer.status_code != httpx.codes.OK:
                raise _refusal(answer)
            page = decode(answer.content, Explanations, "its answer")
        except (httpx.HTTPError, httpx.InvalidURL, SchemaError) as error:
            why = without_url(error)
            raise click.ClickException(f"--url: cannot query an exporter there: {why}") from None
        yield from page.series
        first, total = page.last + 1, page.total


def _refusal(answer: httpx.Response) -> click.ClickException:
    """Return an exporter's error response; raise ``SchemaError`` if it is no exporter's."""
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return click.ClickException("a password is needed: --url http://USER:PASSWORD@HOST:PORT")
    text = printable(decode(answer.content, dict[str, str], "its answer").get("error", ""))
    if answer.status_code == httpx.codes.BAD_REQUEST:
        return click.BadParameter(text, param_hint="SELECTOR")
    return click.ClickException(text)


def specs_of(settings: Settings, name: str | None = None) -> dict[tuple[str, str], QuerySpec]:
    """Return the specs of all configured queries, or of one target's."""
    targets = targets_of(settings, name)
    return {query.spec.key: query.spec for target in targets for query in target.queries}


def as_text(found: Explanation, now_ms: int, whole: bool = True) -> Iterator[str]:  # noqa: FBT001, FBT002 - passed on from click
    """Yield the lines of one explanation; unless ``whole``, older buckets share one line."""
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
        sums = [exact_sum(column) for column in zip(*map(_values, older), strict=True)]
        rows.append((f"{len(older)} older ones (--all)", "", *map(number, sums)))
    for each in buckets[len(older) :]:
        start, end = stamp(each.start_ms, MINUTE), stamp(each.end_ms, MINUTE)
        name = f"{start} to {end.removeprefix(start[:11])}"
        rows.append((name, each.phase.value, *map(number, _values(each))))
    return columns(rows, left=2)


def _values(bucket: ExplainedBucket) -> tuple[float, ...]:
    return (bucket.provider, bucket.baseline, bucket.counted, bucket.revisions)


def _totals(found: Explanation) -> Iterator[str]:
    lines = [] if found.sum is None else found.sum.steps()
    if found.period is not None:
        lines.append(("sum of provider values", exact_sum(each.provider for each in found.buckets)))
    if found.exported is not None:
        lines.append(("exported", found.exported))
    if lines:
        yield ""
        yield from columns([(name, number(value)) for name, value in lines], left=0)
