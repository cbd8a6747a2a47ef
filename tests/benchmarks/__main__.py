"""Every benchmark beside its peers: a table on standard output, and JSON.

python -m tests.benchmarks [--json FILE] [--short] [--only PART]
"""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from exporter.clock import SystemClock
from exporter.simulator.server import stamp
from tests.benchmarks import chatlayer_events, commands, in_process, scrapes, under_load
from tests.benchmarks.table import Row, as_document, as_table, judged


def events(total: int, rounds: int) -> Iterator[Row]:
    """Yield how many events a second are counted, beside httpx and pydantic."""
    pairs = [
        (chatlayer_events.measure(total), chatlayer_events.measure_plain(total))
        for _ in range(rounds)
    ]
    ours, theirs = zip(*((each["events_per_core_s"], plain) for each, plain in pairs), strict=True)
    words = f"Chatlayer events, simulator to durable counter, {total:,} at once"
    name = "httpx + pydantic, in memory only"
    more = {unit: [each[unit] for each, _ in pairs] for unit in ("events_per_s", "rss_mb")}
    unit = "events/s per core"
    yield Row(words, unit, ours, name, theirs, least=25_000, more=True, extra=more)


def applied(rounds: int) -> Iterator[Row]:
    words = "10,000 buckets of a poll applied"
    return judged(
        in_process.ledger(rounds),
        ("cpu_ms_nothing_changed", f"{words}, nothing changed", "ms CPU", 15),
        ("cpu_ms_all_changed", f"{words}, all changed", "ms CPU", 150),
    )


def manifest(rounds: int) -> Iterator[Row]:
    ours, theirs = in_process.manifest(rounds)
    words = "a page of 5,000 rows read by a manifest"
    yield Row(words, "ms CPU", ours, "a Python provider", theirs, least_ratio=1 / 3)


def started(rounds: int) -> Iterator[Row]:
    """Yield how long it takes to the first answer, with this Python and with the system's."""
    words = "start to first 200"
    for python, whose in ((sys.executable, "this"), (commands.SYSTEMS, "the system's")):
        yield from judged(
            commands.start(rounds, python),
            ("wall_s_100k", f"{words}, ledger of 100,000 series, {whose} Python", "s", 1.5),
            ("wall_s_empty", f"{words}, empty ledger, {whose} Python", "s", 0.4),
        )


def scraped_meanwhile(pages: int) -> Iterator[Row]:
    found = under_load.scrapes_during_poll(pages, pages * 0.12)
    return judged(found, ("p99_ms", f"scrape p99 while a {pages}-page poll runs", "ms", 50))


def thousand(minutes: float) -> Iterator[Row]:
    """Yield what 1,000 targets cost one process on SQLite, and two replicas on PostgreSQL."""
    words = "1,000 targets at 1-minute intervals"
    alone, shared = (under_load.thousand_targets(minutes, replicas) for replicas in (0, 2))
    begun = under_load.thousand_targets(minutes, past="35d")
    yield from judged(
        alone,
        ("core_percent", words, "% of a core", 50),
        ("slots_missed", f"{words}: slots missed", "slots", 0),
    )
    reads = f"{words}, while five weeks are read: slots missed"
    yield from judged(begun, ("slots_missed", reads, "slots", 0))
    here = f"{words}, 2 replicas on PostgreSQL"
    peer = "one process on SQLite", [alone["core_percent"]]
    extra = {name: [value] for name, value in shared.items()}
    yield Row(here, "% of a core", [shared["core_percent"]], *peer, extra=extra)
    yield from judged(shared, ("slots_missed", f"{here}: slots missed", "slots", 0))


def expected(targets: int) -> Iterator[Row]:
    words = f"expected engagement of {targets * in_process.BOTS:,} bots"
    return judged(
        in_process.engagement(targets),
        ("cpu_s_a_day", f"{words}, a day", "s CPU", 300),
        ("kib_a_bot", f"{words}, memory of each", "KiB", 40),
    )


def written_back(bots: int) -> Iterator[Row]:
    """Yield what five weeks of a past take, and that memory does not grow with its length."""
    few, many = (commands.backfill(each) for each in (bots // 10, bots))
    words = f"backfill, {bots} bots, 5 weeks, a sample every 5 minutes"
    samples = {"million samples": [many["msamples"]], "series": [many["series"]]}
    yield Row(words, "s", [many["wall_s"]], most=600, extra=samples)
    peer = f"{bots // 10} bots", [few["peak_mib"]]
    yield Row(f"{words}: peak RSS", "MiB", [many["peak_mib"]], *peer, most=250)


def parts(folder: Path, *, short: bool) -> dict[str, Callable[[], Iterator[Row]]]:
    """Return every part of the table by name, ``short`` in a few minutes."""
    size = scrapes.Size(each=10, rounds=3) if short else scrapes.Size(rounds=9)
    for name in ("scrapes", "memory", "query", "replicas"):
        (folder / name).mkdir()
    return {
        "scrapes": lambda: scrapes.rows(size, folder / "scrapes"),
        "memory": lambda: scrapes.memory_rows(size, folder / "memory"),
        "query_exporter": lambda: scrapes.query_exporter_rows(folder / "query"),
        "events": lambda: events(20_000 if short else 200_000, 1 if short else 3),
        "engagement": lambda: expected(2 if short else 20),
        "backfill": lambda: written_back(10 if short else 100),
        "ledger": lambda: applied(3 if short else 15),
        "manifest": lambda: manifest(3 if short else 15),
        "start": lambda: started(1 if short else 5),
        "scrape_during_poll": lambda: scraped_meanwhile(50 if short else 500),
        "targets": lambda: thousand(1 if short else 3),
        "replicas": lambda: under_load.replica_scrapes(
            folder / "replicas", 100 if short else 1000, 100, 200 if short else 1000
        ),
    }


def machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = {line.partition(": ")[2] for line in lines if line.startswith("model name")}
    return {
        "at": stamp(SystemClock().now_ms(), 0),
        "processors": f"{os.cpu_count()} x {', '.join(models)}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


@click.command()
@click.option("--json", "file", type=click.Path(path_type=Path), default="artifacts/bench.json")
@click.option("--short", is_flag=True, help="Smaller and fewer: a few minutes, and no verdicts.")
@click.option("--only", help="Measure this part alone.")
def main(file: Path, *, short: bool, only: str | None) -> None:
    """Measure everything; what is not available here is skipped aloud."""
    found: list[Row] = []
    around = machine()
    with tempfile.TemporaryDirectory() as folder:
        for name, part in parts(Path(folder), short=short).items():
            if only not in (None, name):
                continue
            found += [row.unjudged() if short else row for row in part()]
            click.echo(f"{len(found)} rows", err=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            document = {"machine": around, "rows": as_document(found)}
            file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    click.echo(as_table(found))
    click.echo(f"\n{around}")


if __name__ == "__main__":
    main()
