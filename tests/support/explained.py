"""A settings file and the ledger of an exporter that runs on it, with a past worth explaining."""

from pathlib import Path

from exporter.cli.explain import specs_of
from exporter.cli.settings import load_settings
from exporter.exposition import catalogue
from exporter.exposition.page import MetricsPage
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Window, floor_to
from exporter.providers import PROVIDERS
from tests.support.builders import received
from tests.support.driver import LedgerDriver, shown_by
from tests.support.virtual import START_MS

FILE = """\
version: 1
ledger: {url: sqlite:///ledger.db}
defaults: {start: zero, write_off_after: 6h}
targets:
  - {name: shop, provider: flowxo, project: shop, api_key: {env: FLOWXO_API_KEY}}
  - {name: promo, provider: flowxo, project: promo, api_key: {env: FLOWXO_API_KEY}}
"""
HOURS = {hour: floor_to(START_MS, HOUR_MS) + (hour - 11) * HOUR_MS for hour in range(24)}
"""The starts of hours of the day on which virtual time begins, at 11:20."""


def explained_ledger(folder: Path) -> LedgerDriver:
    """Return the ledger of a running exporter with ``exporter.yaml`` in ``folder``."""
    file = folder / "exporter.yaml"
    file.write_text(FILE)
    specs = specs_of(load_settings(str(file))).values()
    return LedgerDriver(folder, *specs, families=catalogue.families(PROVIDERS))


def by_key(driver: LedgerDriver) -> dict[QueryKey, QuerySpec]:
    return {each.key: each for each in driver.specs}


def report(
    driver: LedgerDriver, target: str, hours: dict[int, int], *, users: int | None = None
) -> None:
    """Let the provider say so many received messages of each hour of the day."""
    now_ms = driver.clock.now_ms()
    window = Window(max(HOURS[0], now_ms - 2 * DAY_MS), floor_to(now_ms, HOUR_MS) + HOUR_MS)
    counts = [(received(project=target), HOURS[hour], n) for hour, n in hours.items()]
    levels = (
        [] if users is None else [GaugeRow(("chatbot_known_users", (target, "")), window, users)]
    )
    driver.poll(claim=driver.claim(target), window=window, counts=counts, levels=levels)


def metrics(driver: LedgerDriver) -> str:
    """Return what ``/metrics`` shows of the data."""
    page = MetricsPage(driver.families)
    for each in driver.specs:
        page.put(each.key, shown_by(driver.ledger, each.key).shown)
    page.publish()
    return b"".join(page.scrape(openmetrics=False, gzip=False)).decode()
