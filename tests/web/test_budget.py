"""What is left of a call budget, on the page and as a metric: as the ledger has it."""

from collections.abc import Mapping
from pathlib import Path

from exporter.simulator.traffic import Traffic
from exporter.status import BudgetStatus, Status
from exporter.web.page import render
from tests.faults.bench import Bench
from tests.support.virtual import run_virtual

HOUR_S = 3_600
MARGIN_S = 60


def left(status: Status) -> Mapping[str, BudgetStatus | None]:
    return {target.name: target.queries[0].budget for target in status.targets}


def test_a_call_is_spent_while_it_is_under_way_and_for_an_hour(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo", "xenioo"], traffic=Traffic())
    bench.services["xenioo"].faults.on(
        "slow", seconds=20, when=lambda call: "statistics" in call.path
    )

    async def main() -> None:
        started_ms = bench.clock.now_ms()
        async with bench.running():
            assert (left(bench.app.status()), bench.own("budget_tokens")) == (
                {"flowxo": None, "xenioo": BudgetStatus(1, None)},
                1,
            )

            await bench.wait(10)

            ready_ms = started_ms + (HOUR_S + MARGIN_S) * 1000
            assert bench.services["xenioo"].requests[-1].path == "/authorization/integration"
            assert left(bench.app.status()) == {"flowxo": None, "xenioo": BudgetStatus(0, ready_ms)}
            assert bench.own("budget_tokens", budget="account") == 0
            assert bench.own("blocked_until_timestamp_seconds") == ready_ms / 1000
            assert "0 left<small" in (render(bench.app.status()) or "")

            await bench.wait(120)
            asked = [
                seen for seen in bench.services["xenioo"].requests if "statistics" in seen.path
            ]
            assert len(asked) == 1
            assert bench.own("budget_tokens") == 0

    run_virtual(main(), bench.clock)
