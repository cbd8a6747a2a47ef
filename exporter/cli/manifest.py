"""``manifest``: lists, checks and tries the files that describe other APIs."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import click
import httpx
from pydantic import ValidationError

from exporter.cli.settings import named_values
from exporter.clock import SystemClock
from exporter.config.messages import problems_of
from exporter.config.model import Limits, Privacy, Secret
from exporter.errors import ProviderError
from exporter.exposition import catalogue
from exporter.format import columns, number, printable, render_labels, stamp
from exporter.http_client.transport import Transport
from exporter.model.query import PollRequest, QuerySpec
from exporter.model.samples import Family, Reading, Series, Window
from exporter.polling.windows import lookback_window
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import LabelSettings, Query, Target
from exporter.providers.base.times import parse_instant
from exporter.providers.manifest import loader
from exporter.providers.manifest.loader import LoadedManifest
from exporter.providers.manifest.options import ManifestOptions

MOST_SHOWN = 40


@click.group("manifest", short_help="List, check and try manifests of other APIs.")
def command() -> None:
    """Work with manifests: YAML files that describe how to read an HTTP JSON API."""


@command.command("list")
def list_() -> None:
    """List the shipped manifests, what each one reads, and how reliable its facts are."""
    rows = [("NAME", "TITLE", "QUERIES", "FACTS")]
    for name in loader.shipped():
        settings = loader.load(loader.find(name)).settings
        queries = ", ".join(settings.queries)
        rows.append((name, settings.title, queries, settings.facts or "not stated"))
    click.echo("\n".join(columns(rows, left=4)))


@command.command("check")
@click.argument("file")
def check(file: str) -> None:
    """Check FILE, a path or the name of a shipped manifest; print every error with its position.

    Valid but risky definitions give warnings in the same form, without changing the exit code.
    """
    found = _load(file)
    for warning in found.warnings:
        click.echo(str(warning), err=True)
    click.echo(f"{found.file}: {found.settings.title}")
    for query in found.queries.values():
        click.echo(f"  {query.name} reads {', '.join(query.program.declared)}")
    if found.secrets:
        click.echo(f"  secrets: {', '.join(sorted(found.secrets))}")
    if found.settings.variables:
        click.echo(f"  variables: {', '.join(found.settings.variables)}")


@command.command("test")
@click.argument("file")
@click.option(
    "--answer",
    "answers",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    required=True,
    help="A file with the response to the next request; give one for each, but none for OAuth tokens.",
)
@click.option(
    "--query",
    "name",
    help="The query to try, such as usage or stats/chats; required if there are several.",
)
@click.option("--at", "at", help="Time of the poll, as in 2026-11-29T10:00:00Z.  [default: now]")
@click.option(
    "--all", "whole", is_flag=True, help=f"Print all samples, not just the first {MOST_SHOWN}."
)
@click.option("--variable", "given", multiple=True, metavar="NAME=VALUE", callback=named_values)
def test(
    file: str,
    answers: Sequence[Path],
    *,
    name: str | None,
    at: str | None,
    whole: bool,
    given: dict[str, str],
) -> None:
    """Show what FILE requests and counts, with responses from files; no network, no secrets.

    Prints the requests of one poll, the samples made from the responses, and fields that they
    lack. Exits with 1 if run would reject them, or if a response is missing or left over.
    """
    found = _load(file)
    target, query = _query(found, name, given)
    network = AnswersFromFiles([path.read_bytes() for path in answers])
    try:
        now_ms = SystemClock().now_ms() if at is None else parse_instant(at)
    except ValueError:
        raise click.BadParameter("expected a time such as 2026-11-29T10:00:00Z") from None
    readings, error = asyncio.run(_poll(target, query, network, now_ms))
    if others := len(target.queries) - 1:
        click.echo(f"Query: {query.spec.name}; for_each makes {others} more")
    click.echo("\n".join(["Requests:", *(network.sent or ["  none"])]))
    families = catalogue.families(PROVIDERS) | {each.name: each for each in found.families}
    rows = [row for reading in readings for row in _samples(reading, families)]
    most = len(rows) if whole else MOST_SHOWN
    click.echo(printable("\n".join(["Samples:", *(f"  {line}" for line in rows[:most])])))
    if len(rows) > most:
        click.echo(f"  and {len(rows) - most} more; --all prints them")
    notes = list(dict.fromkeys(note for reading in readings for note in reading.notes))
    for note in notes:
        click.echo(f"Note: {note}")
    drift = sum((Counter(reading.drift) for reading in readings), Counter[str]())
    for kind, times in sorted(drift.items()):
        click.echo(f"Drift: {kind} ({times})")
    if problem := _refusal(readings, error, network, notes, query.spec):
        raise click.ClickException(problem)


def _refusal(
    readings: Sequence[Reading],
    error: ProviderError | None,
    network: "AnswersFromFiles",
    notes: Sequence[str],
    spec: QuerySpec,
) -> str:
    """Return why a poll would not accept the responses; empty if it would."""
    if network.unanswered:
        several = spec.span_ms and spec.lookback_ms + spec.granularity_ms > spec.span_ms
        hint = "; a poll has several windows, because lookback and a bucket do not fit into one"
        words = f"request {network.asked} was sent, but there is no --answer for it"
        return words + hint * bool(several)
    if error is not None:
        return f"refused: {error}"
    if unfit := next((reading.unfit for reading in readings if reading.unfit), ""):
        return f"refused: {unfit}"
    if network.left:
        why = "".join(f": {note}" for note in notes if note.startswith("pages."))
        return f"answer {network.asked + 1} was not requested{why}"
    return ""


def _load(file: str) -> LoadedManifest:
    try:
        path = loader.find(file)
    except LookupError as error:
        raise click.UsageError(f"{file}: {error}") from None
    return loader.load(path)


@dataclass
class AnswersFromFiles(httpx.AsyncBaseTransport):
    """Answers each request with the next one of ``left``; ``sent`` has the requests as text.

    It answers a request for an OAuth token by itself.
    """

    left: list[bytes]
    sent: list[str] = field(default_factory=list)
    asked: int = 0
    unanswered: bool = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the next response; 404 if there is none."""
        self.sent.append(f"  {request.method} {unquote(str(request.url))}")
        content = request.content.decode()
        self.sent += [f"    {content}"] if content else []
        if content.startswith("grant_type="):  # any other body is JSON
            return httpx.Response(200, json={"access_token": "token"})
        self.asked += 1
        self.unanswered = not self.left
        return (
            httpx.Response(404)
            if self.unanswered
            else httpx.Response(200, content=self.left.pop(0))
        )


def _query(found: LoadedManifest, name: str | None, given: dict[str, str]) -> tuple[Target, Query]:
    """Return the query to try, of a target whose secrets are replaced by their names."""
    if name is None and len(found.queries) > 1:
        raise click.UsageError(f"--query is needed: one of {', '.join(found.queries)}")
    asked = (name or next(iter(found.queries))).partition("/")[0]
    data = {
        "name": "test",
        "provider": "manifest",
        "manifest": found,
        "secrets": {each: Secret.literal(f"secrets.{each}") for each in found.secrets},
        "variables": given,
        "queries": (asked,),
        "requests_per_second": 0.0,
    }
    try:
        options = ManifestOptions.model_validate(data)
    except ValidationError as error:
        wrong = problems_of(error, data, ManifestOptions)
        texts = [f"{each.problem}; {each.hint}" if each.hint else each.problem for each in wrong]
        raise click.UsageError("\n".join(texts)) from None
    target = PROVIDERS["manifest"].build(options, LabelSettings(Limits(), Privacy()))
    named = [query for query in target.queries if name in (None, asked, query.spec.name)]
    if not named:
        known = ", ".join(query.spec.name for query in target.queries)
        raise click.UsageError(f"--query: no such query; expected one of {known}")
    return target, named[0]


async def _poll(
    target: Target, query: Query, network: AnswersFromFiles, now_ms: int
) -> tuple[list[Reading], ProviderError | None]:
    """Return the readings of a poll, and why the rest was rejected."""
    spec = query.spec
    client = target.client(Transport(network), SystemClock())
    past = Window(now_ms - spec.lookback_ms, now_ms)
    window = past if spec.stream else lookback_window(spec, now_ms)
    request = PollRequest(window, now_ms, first=False, epoch_ms=0, watermark_ms=window.start_ms)
    readings = list[Reading]()
    try:
        async for reading in query.read(client, request):
            readings.append(reading)
    except ProviderError as error:
        return readings, error
    return readings, None


def _samples(reading: Reading, families: dict[str, Family]) -> Iterator[str]:
    for series, at_ms, value in sorted(reading.counts):
        family = families[series[0]]
        yield f"{stamp(at_ms)}  {_series(series, family)} {number(value / family.per_unit)}"
    for row in [*reading.buckets, *reading.levels]:
        shown = _series(row.series, families[row.series[0]])
        yield f"{stamp(row.window.start_ms)}  {shown} {number(row.value)}"
    for event in sorted(reading.events, key=lambda event: event.at_ms):
        for counted in event.counts:
            yield f"{stamp(event.at_ms)}  {_series(counted, families[counted[0]])} +1"


def _series(series: Series, family: Family) -> str:
    shown = {n: v for n, v in zip(family.labels[2:], series[1], strict=True) if v}
    return series[0] + render_labels(tuple(shown), tuple(shown.values()))
