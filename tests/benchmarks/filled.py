"""Settings of many targets, and a ledger in which each of them has its series already."""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from exporter.cli.explain import specs_of
from exporter.cli.settings import load_settings
from exporter.clock import SystemClock
from exporter.ledger.engine import create_engine
from exporter.ledger.rows import Shown, encode_labels
from exporter.ledger.store import Ledger
from exporter.ledger.tables import query, series
from exporter.model.families import NORMALISED
from exporter.model.samples import DAY_MS, Family, MetricType
from tests.support.served import document

FAMILIES = tuple(NORMALISED.values())[:20]


def name_of(target: int) -> str:
    return f"shop-{target:04}"


def settings(  # noqa: PLR0917
    folder: Path,
    targets: int,
    url: str = "http://127.0.0.1:9",
    interval: str = "1d",
    ledger: str | None = None,
    initial_lookback: str | int = 0,
) -> Path:
    """Write the settings of so many targets of Flow XO; return the file."""
    shared = {
        "provider": "flowxo",
        "api_key": "none",
        "base_url": url,
        "interval": interval,
        "initial_lookback": initial_lookback,
    }
    names = [name_of(number) for number in range(targets)]
    entries = [{"name": name, "project": name, **shared} for name in names]
    return write(folder, *entries, ledger=ledger)


def write(folder: Path, *targets: Mapping[str, Any], ledger: str | None = None) -> Path:
    """Write settings with these targets, and with a ledger in the folder or at a URL."""
    file, written = folder / "exporter.yaml", document(folder, *targets)
    if ledger is not None:
        written["ledger"] = {"url": ledger}
    file.write_text(yaml.safe_dump(written), "utf-8")
    return file


def shown(target: int, number: int, rng: random.Random) -> Iterator[Shown]:
    """Yield ``number`` samples of a target, spread over 20 families, with whole values."""
    for each in range(number):
        family = FAMILIES[each % len(FAMILIES)]
        counter = family.kind is MetricType.COUNTER
        value = float(rng.randrange(1_000_000))
        labels = _labels(family, target, each // len(FAMILIES))
        yield Shown(family.name, labels, value, 1_700_000_000_000 if counter else None)


def _labels(family: Family, target: int, number: int) -> tuple[str, ...]:
    channels = (f"channel-{number}", *["web"] * len(family.labels))[: len(family.labels) - 4]
    environment = "production" if channels else f"environment-{number}"
    return ("flowxo", name_of(target), f"project-{target % 50}", environment, *channels)


def fill(file: Path, number: int) -> None:
    """Give each target of the settings ``number`` series that all scrapes have seen; none is due."""
    loaded, clock, rng = load_settings(str(file)), SystemClock(), random.Random(7)  # noqa: S311
    specs = specs_of(loaded)
    ledger = Ledger(loaded.ledger.url, clock=clock, families=NORMALISED)
    ledger.sync_queries(list(specs.values()))
    ledger.close()
    engine, now_ms = create_engine(loaded.ledger.url), clock.now_ms()
    with engine.begin() as tx:
        tx.execute(sa.update(query).values(next_poll_ms=now_ms + DAY_MS))
        for at, row in enumerate(tx.execute(sa.select(query).order_by(query.c.target)).all()):
            rows = [_row(each, row.id, now_ms) for each in shown(at, number, rng)]
            tx.execute(sa.insert(series), rows)
    engine.dispose()


def _row(each: Shown, query_id: int, now_ms: int) -> dict[str, object]:
    return {
        "query_id": query_id,
        "family": each.family,
        "labels": encode_labels(NORMALISED[each.family].labels, each.labels),
        "c": each.value,
        "created_ms": now_ms,
        "changed_ms": now_ms,
    }
