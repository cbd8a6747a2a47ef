"""What is left of a call budget, on the page and as a metric: as the ledger has it."""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

from exporter.app import App, Environment
from exporter.providers import PROVIDERS
from exporter.status import BudgetStatus, Status
from exporter.web.page import render
from tests.faults.bench import Bench
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, inline, run_virtual

HOUR_S = 3_600
MARGIN_S = 60


def left(status: Status) -> Mapping[str, BudgetStatus | None]:
    return {target.name: target.queries[0].budget for target in status.targets}


def test_a_call_is_spent_while_it_is_under_way_and_there_again_an_hour_later(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["xenioo"])
    bench.service.faults.on("slow", seconds=20, when=lambda call: "statistics" in call.path)

    async def main() -> None:
        started_ms = bench.clock.now_ms()
        async with bench.running():
            assert (left(bench.app.status()), bench.own("budget_tokens")) == (
                {"xenioo": BudgetStatus(1, None)},
                1,
            )

            await bench.wait(10)

            ready_ms = started_ms + (HOUR_S + MARGIN_S) * 1000
            assert bench.service.requests[-1].path == "/authorization/integration"
            assert left(bench.app.status()) == {"xenioo": BudgetStatus(0, ready_ms)}
            assert bench.own("budget_tokens", budget="account") == 0
            assert bench.own("blocked_until_timestamp_seconds") == ready_ms / 1000
            assert "0 left<small" in (render(bench.app.status()) or "")

            await bench.wait(HOUR_S)
            asked = [seen for seen in bench.service.requests if "statistics" in seen.path]
            assert len(asked) == 1
            assert bench.own("budget_tokens") == 0

    run_virtual(main(), bench.clock)


def test_a_spent_call_is_spent_after_a_restart_and_a_provider_without_budget_shows_none(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo", "xenioo"])

    async def main() -> None:
        async with bench.running():
            await bench.until(bench.all_polled, 60)
        async with bench.running():
            bench.scrape()

            budgets = left(bench.app.status())

        assert budgets["flowxo"] is None
        assert budgets["xenioo"] == BudgetStatus(
            0, bench.services["xenioo"].requests[-1].at_ms + (HOUR_S + MARGIN_S) * 1000
        )
        assert bench.values("chatbot_exporter_budget_tokens") == [0]

    run_virtual(main(), bench.clock)


def test_what_one_target_spends_is_spent_for_all_of_its_account(tmp_path: Path) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock)
    document = vendors.document()
    (first,) = [each for each in document["targets"] if each["provider"] == "xenioo"]
    document["targets"] = [first, first | {"name": "other"}]
    document["ledger"] = {"url": f"sqlite:///{tmp_path}/ledger.db"}
    outside = Environment(
        clock=clock,
        rng=random.SystemRandom(),
        providers=PROVIDERS,
        offload=inline,
        transport=vendors,
    )

    async def main() -> None:
        app = App(read(document), outside)
        await app.open()
        running = asyncio.create_task(app.run())
        await clock.sleep(5)

        shown = left(app.status())

        assert {budget and budget.tokens for budget in shown.values()} == {0}
        assert len({budget and budget.next_at_ms for budget in shown.values()}) == 1
        app.stop()
        await running

    run_virtual(main(), clock)
