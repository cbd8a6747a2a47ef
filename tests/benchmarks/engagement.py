"""What expected engagement costs where five weeks are known of each bot, without the polls.

Targets of 50 bots. ``cpu_s_a_day``: each bot is learnt once and judged every hour, read from an
SQLite ledger and put on the page. ``kib_a_bot``: how much the process has grown by it.
"""

import asyncio
import gc
import tempfile
import time
from pathlib import Path

from exporter.exposition.engagement import EngagementGauges
from exporter.exposition.page import MetricsPage
from exporter.model.families import ENGAGEMENT, HISTORY_WEEKS
from exporter.model.samples import DAY_MS, HOUR_MS, Window, floor_to
from tests.engagement.bots import drawn, means, rhythm
from tests.support.builders import received, spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS, inline

BOTS, HOURS = 50, 35 * 24
END_MS = floor_to(START_MS, HOUR_MS)
FAMILIES = {family.name: family for family in (*ENGAGEMENT, HISTORY_WEEKS)}


def measure(targets: int) -> dict[str, float]:
    """Return processor seconds of a day, milliseconds of a bot, and memory of a bot."""
    specs = [spec(target=f"shop-{n}", lookback_ms=35 * DAY_MS) for n in range(targets)]
    with tempfile.TemporaryDirectory() as folder, LedgerDriver(Path(folder), *specs) as driver:
        _poll(driver, HOURS)
        gauges = EngagementGauges(
            ledger=driver.ledger,
            page=MetricsPage(FAMILIES),
            clock=driver.clock,
            offload=inline,
            computing=inline,
        )
        before = _resident()
        learnt_s = _worked(gauges, driver)
        grown = _resident() - before
        driver.clock.advance(3600)
        _poll(driver, 2)
        judged_s = _worked(gauges, driver)
        assert sum(len(bot.scores) for bot in gauges.bots) == targets * BOTS * 6
    bots = targets * BOTS
    return {
        "cpu_s_a_day": learnt_s + 23 * judged_s,
        "cpu_ms_learnt": (learnt_s - judged_s) / bots * 1000,
        "cpu_ms_judged": judged_s / bots * 1000,
        "kib_a_bot": grown / bots / 1024,
    }


def _poll(driver: LedgerDriver, newest: int) -> None:
    """Let every target read its bots' newest hours, all of one bot's course."""
    course = drawn(means(rhythm(2_000), HOURS + 2))
    end_ms = floor_to(driver.clock.now_ms(), HOUR_MS)
    first = HOURS + (end_ms - END_MS) // HOUR_MS - newest
    for _ in driver.specs:
        counts = [
            (received(project=f"bot-{bot}"), end_ms - (newest - at) * HOUR_MS, course[first + at])
            for bot in range(BOTS)
            for at in range(newest)
        ]
        window = Window(end_ms - newest * HOUR_MS, end_ms)
        driver.poll(counts=counts, window=window)


def _worked(gauges: EngagementGauges, driver: LedgerDriver) -> float:
    gauges.restart({each.key: each for each in driver.specs})
    gauges.note(*(each.key for each in driver.specs))
    before = time.process_time()
    asyncio.run(gauges.work())
    return time.process_time() - before


def _resident() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024
