"""``backfill``: writes past data from the ledger and the vendors to Prometheus."""

import asyncio
import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
from pydantic_core import PydanticCustomError

from exporter.cli.explain import specs_of
from exporter.cli.probe import taking
from exporter.cli.settings import (
    certificates_here,
    config_option,
    load_settings,
    named_values,
    network_of,
    reporting,
    target_option,
    targets_of,
)
from exporter.clock import Clock, SystemClock
from exporter.config.model import Settings
from exporter.config.values import parse_duration
from exporter.errors import MachineError
from exporter.exposition import catalogue
from exporter.exposition.backfill import openmetrics
from exporter.exposition.backfill.older import MissingPast, OlderBuckets, OlderReader
from exporter.exposition.backfill.openmetrics import Written
from exporter.exposition.backfill.source import Families, LedgerPast, PastKind
from exporter.exposition.last_scraped import query
from exporter.format import span, stamp
from exporter.http_client.detached import run_resolving
from exporter.ledger.progress import BackfillProgress
from exporter.model.query import QueryKey
from exporter.model.samples import SECOND_MS, Window
from exporter.providers import PROVIDERS
from exporter.providers.base.times import parse_instant
from exporter.telemetry.counters import FAMILIES, PREFIX

EPOCH = "epoch"
SCRAPED = ("job", "instance")
BUILD_INFO = next(each for each in FAMILIES if each.name == f"{PREFIX}build_info")
NOT_THERE = "neither ledger nor vendor has counts for it"
NOT_ASKED = (
    "its history counts (start: history) and is partly retired, so the vendor is not asked for more"
)
OWN_LABELS = frozenset({"__name__", *BUILD_INFO.labels})
LINE_EVERY_S = 10.0
SAMPLES_PER_S = 100_000
"""The speed of writing a file, by which a dry run estimates the time."""


def _labels(
    context: click.Context, parameter: click.Parameter, given: Sequence[str]
) -> dict[str, str]:
    found = named_values(context, parameter, given)
    if not all(name.isidentifier() and name.isascii() for name in found):
        raise click.BadParameter("expected a name of letters, digits and _ before =")
    if any(name.startswith("__") for name in found):
        raise click.BadParameter("names that begin with __ are reserved for Prometheus")
    return found


def _regular(
    _context: click.Context, _parameter: click.Parameter, given: Path | None
) -> Path | None:
    if given is not None and given.exists() and not given.is_file():
        raise click.BadParameter("not a regular file; it would be replaced")
    return given


def _step(_context: click.Context, _parameter: click.Parameter, given: str) -> int:
    with suppress(PydanticCustomError):
        if step_ms := parse_duration(given):
            return step_ms
    raise click.BadParameter("expected a duration, such as 4m")


def _instant(_context: click.Context, parameter: click.Parameter, given: str | None) -> int | None:
    """Return a UTC instant; None for each query's own epoch, or for no limit."""
    if given is None or given == parameter.default == EPOCH:
        return None
    try:
        return parse_instant(str(given), assume_utc=True)
    except ValueError:
        raise click.BadParameter("expected a date, such as 2026-10-01 (UTC)") from None


def _within(since_ms: int, until_ms: int) -> Window:
    if since_ms >= until_ms:
        hint = ["--from", "--until"]
        raise click.BadParameter(f"the range before {stamp(until_ms)} is empty", param_hint=hint)
    return Window(since_ms, until_ms)


@click.command("backfill", short_help="Write past data to Prometheus.")
@config_option
@target_option
@click.option("--from", "since_ms", callback=_instant, help="First day (UTC), or an instant.")
@click.option(
    "--until",
    "until_ms",
    default=EPOCH,
    show_default="each query's first poll",
    callback=_instant,
    help="The day after the last one; never later than each query's first poll.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_regular,
    help="A file for: promtool tsdb create-blocks-from openmetrics.",
)
@click.option("--remote-write", "receiver", metavar="URL", help="A remote-write receiver.")
@click.option(
    "--protocol",
    type=click.Choice(["1", "2", "auto"]),
    default="auto",
    show_default=True,
    help="Remote write 1.0 or 2.0.",
)
@click.option(
    "--web-config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Users, tokens, headers and TLS for it, as in remote_write of prometheus.yml.",
)
@click.option(
    "--label", "given", multiple=True, callback=_labels, help="A label that Prometheus adds."
)
@click.option(
    "--labels-from",
    "server",
    metavar="URL",
    help="Copy job, instance and other added labels from this Prometheus.",
)
@click.option(
    "--step",
    "step_ms",
    default="4m",
    show_default=True,
    callback=_step,
    help="Longest time between two samples.",
)
@click.option("--counters", is_flag=True, help="Counters.  [default: everything]")
@click.option("--period-gauges", "periods", is_flag=True, help="chatbot_period_*.")
@click.option(
    "--dry-run", is_flag=True, help="Print what the other options would write; write nothing."
)
def command(
    *,
    file: str,
    name: str | None,
    since_ms: int | None,
    until_ms: int | None,
    output: Path | None,
    receiver: str | None,
    protocol: str,
    web_config: Path | None,
    given: dict[str, str],
    server: str | None,
    step_ms: int,
    counters: bool,
    periods: bool,
    dry_run: bool,
) -> None:
    """Write past data from the ledger, up to where the live series begin.

    Reads the ledger, even while an exporter runs, and changes no count in it; with --from, older
    data is read from the vendors. Each query's past ends at its first poll, so that increase()
    across that instant is exact. Exits with 1 while history is still being read.
    """
    if (output is None) == (receiver is None):
        raise click.UsageError("choose one destination: --output FILE or --remote-write URL")
    clock = SystemClock()
    settings = load_settings(file, resolve=False)
    chosen = {PastKind.COUNTERS: counters, PastKind.PERIODS: periods}
    kinds = [kind for kind, wanted in chosen.items() if wanted] or list(PastKind)
    labels = _server_labels(server) | given
    newest_ms = clock.now_ms() - (openmetrics.NEWEST_MS if output else 0)
    within = _within(since_ms or 0, newest_ms if until_ms is None else until_ms)
    past = _open(settings, name, labels, newest_ms if output and until_ms is None else None)
    what = repr(
        (receiver, web_config, name, labels, kinds, step_ms, since_ms, until_ms, past.seams)
    )
    calls = _begin_earlier(past, file, None if since_ms is None else within, clock, dry_run=dry_run)
    families = past.families(kinds)
    with _progress(sum(len(every) for _, every in families), clock) as advance:
        job = Job(families, step_ms, within, advance)
        if dry_run:
            said = _size(openmetrics.write(families, step_ms, within, len, advance), calls)
        elif output:
            said = _to_file(job, output)
        else:
            said = _to_receiver(
                job, str(receiver), protocol, web_config, _noted(settings.ledger.url, what)
            )
    past.close()
    click.echo("\n".join((*_summary(past, within, None if dry_run else since_ms), said)))


@dataclass(frozen=True, slots=True)
class Job:
    """What to write."""

    families: Families
    step_ms: int
    within: Window
    advance: Callable[[int], None]


def _to_file(job: Job, output: Path) -> str:
    with _replacing(output) as put:
        written = openmetrics.write(job.families, job.step_ms, job.within, put, job.advance)
        if not written.samples:
            raise click.ClickException("nothing written: no query has a past in this range")
    return f"{output}: {written}"


def _noted(ledger: str, what: str) -> BackfillProgress:
    """Return the progress of a job; ``what`` distinguishes it from others."""
    digest = hashlib.blake2b(what.encode(), digest_size=16).hexdigest()
    return BackfillProgress(ledger, f"remote write {digest}")


def _to_receiver(
    job: Job, url: str, protocol: str, web_config: Path | None, noted: BackfillProgress
) -> str:
    try:
        from exporter.exposition.backfill import remote_write  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise MachineError(
            f"--remote-write: protobuf and cramjam cannot be loaded ({error}); install the wheel "
            "with [remote-write], see docs/install.md"
        ) from None

    async def send() -> str:
        version = None if protocol == "auto" else int(protocol)
        async with remote_write.client(url, web_config, certificates_here()) as client:
            sender = remote_write.Sender(url, client, SystemClock(), version)
            await remote_write.send_all(
                job.families, sender, noted, job.advance, step_ms=job.step_ms, within=job.within
            )
        return str(sender.sent)

    with closing(noted):
        again = "" if noted.read() is None else "resumed after earlier samples: "
        return again + asyncio.run(send())


def _open(
    settings: Settings, name: str | None, labels: Mapping[str, str], until_ms: int | None
) -> LedgerPast:
    """Return the past of the targets; fail if part of it is missing or later than ``until_ms``."""
    families = catalogue.families(PROVIDERS, settings.targets)
    specs = specs_of(settings, name)
    missing = [each for each in SCRAPED if not labels.get(each)]
    if missing:
        raise click.UsageError(
            f"without {' and '.join(missing)} the series would differ from the scraped ones; "
            "give --labels-from URL, or --label job=… --label instance=…"
        )
    taken = labels.keys() & {label for each in families.values() for label in each.labels}
    if taken:
        raise click.BadParameter(f"the exporter itself sets {min(taken)}", param_hint="--label")
    past = LedgerPast(settings.ledger.url, families, specs, labels)
    problems = [f"{each.name}: {each.problem}" for each in past.queries if each.problem]
    if problems:
        raise click.ClickException("nothing written:\n" + "\n".join(problems))
    ends_ms = max((each.known.end_ms for each in past.queries), default=0)
    if until_ms is not None and ends_ms > until_ms:  # a file cannot be added to later
        may_ms = ends_ms + openmetrics.NEWEST_MS
        raise click.ClickException(
            f"nothing written: a file must end {span(openmetrics.NEWEST_MS / SECOND_MS)} before "
            f"now, but some first polls are more recent; run it again after {stamp(may_ms)}, or "
            "give --until 2099-01-01 if Prometheus has not been started yet"
        )
    return past


def _server_labels(url: str | None) -> dict[str, str]:
    """Return the labels that a Prometheus adds to the exporter's series: job, instance, others."""
    if url is None:
        return {}
    found = {
        tuple((k, v) for k, v in sorted(sample.metric.items()) if k not in OWN_LABELS)
        for sample in query(url, BUILD_INFO.name)
    }
    if len(found) != 1:
        none = f"has no {BUILD_INFO.name} now (is the exporter up?)"
        said = "scrapes several exporters" if found else none
        raise click.BadParameter(
            f"this Prometheus {said}; give --label job=… --label instance=…",
            param_hint="--labels-from",
        )
    return dict(found.pop())


def _begin_earlier(
    past: LedgerPast, file: str, asked: Window | None, clock: Clock, *, dry_run: bool
) -> int:
    """Extend the past back to where ``asked`` begins, as far as vendors have it; return the calls.

    Fails if a vendor that may have older data does not answer.
    """
    missing = past.missing(asked) if asked else {}
    if missing and not dry_run:
        past.put_before(_older(file, missing, clock))
    return sum(each.calls(clock.now_ms()) for each in missing.values())


def _older(file: str, missing: Mapping[QueryKey, MissingPast], clock: Clock) -> OlderBuckets:
    settings = load_settings(file)
    network, spend = network_of(settings), taking(settings.ledger.url, clock)
    targets = [each for each in targets_of(settings) if each.name in {name for name, _ in missing}]
    families, buckets = catalogue.families(PROVIDERS, settings.targets), OlderBuckets()
    reader = OlderReader(clock, network, spend, families, buckets)
    if problems := run_resolving(reader.read(targets, missing)):
        buckets.close()
        raise click.ClickException(
            "nothing written, run the command again later:\n" + "\n".join(problems)
        )
    return buckets


@contextmanager
def _replacing(output: Path) -> Iterator[Callable[[str], object]]:
    """Yield a function that writes to a new file, which replaces ``output`` once it is complete."""
    whole = output.resolve()  # a link stays a link
    part = whole.with_name(f"{whole.name}.{secrets.token_hex(4)}.part")
    with reporting(output), part.open("x", encoding="utf-8", newline="\n") as file:
        try:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
            part.replace(whole)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _progress(number: int, clock: Clock) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how many more of ``number`` series are done."""
    if sys.stderr.isatty():
        with click.progressbar(length=number, label="series", file=sys.stderr) as bar:
            yield bar.update
        return
    done, said_s = 0, clock.monotonic()

    def advance(more: int) -> None:
        nonlocal done, said_s
        done += more
        if clock.monotonic() - said_s >= LINE_EVERY_S:
            said_s = clock.monotonic()
            click.echo(f"{done} of {number} series", err=True)

    yield advance


def _summary(past: LedgerPast, within: Window, since_ms: int | None) -> Iterator[str]:
    """Yield what is written for each query; ``since_ms``: from when vendors were asked."""
    for name in past.without:
        yield f"{name}: nothing, because its counters begin at its first poll"
    for each in past.queries:
        known = each.shown
        start_ms, end_ms = max(known.start_ms, within.start_ms), min(known.end_ms, within.end_ms)
        if start_ms < end_ms:
            yield f"{each.name}: {stamp(start_ms)} to {stamp(end_ms)}"
        else:
            yield f"{each.name}: nothing, because its past is {stamp(known.start_ms)} to {stamp(known.end_ms)}"
        if since_ms is not None and since_ms < known.start_ms:
            yield f"{each.name}: a gap before that: {NOT_THERE if each.may_grow else NOT_ASKED}"
        if each.counted and each.resumed:
            yield f"{each.name}: its settings have changed; what it counted before is unknown"


def _size(written: Written, calls: int) -> str:
    asked = f"plus the data of {calls} or more vendor calls" if calls else "no vendor calls"
    return f"{written}; {asked}; about {span(written.samples / SAMPLES_PER_S)}"
