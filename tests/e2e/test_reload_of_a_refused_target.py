"""What a reload does to a target that was given up on."""

from pathlib import Path

import pytest

from exporter.config.model import Settings
from exporter.errors import SettingsError, SettingsProblem
from tests.faults.bench import Bench
from tests.support.virtual import run_virtual


def refused() -> tuple[Settings, str]:
    raise SettingsError([SettingsProblem("exporter.yaml", 1, 1, "", "no such file")])


@pytest.mark.parametrize("good", [True, False])
def test_a_target_that_did_not_change_keeps_its_circuit(*, good: bool, tmp_path: Path) -> None:
    bench = Bench(tmp_path, ["flowxo"])
    bench.service.faults.on("unauthorized")

    async def main() -> None:
        async with bench.running():
            await bench.wait(20)
            asked = len(bench.service.requests)
            before = bench.values("chatbot_exporter_next_poll_timestamp_seconds")

            result = await bench.app.reload(
                (lambda: (bench._read_settings(), "same")) if good else refused
            )
            await bench.wait(30)

            assert (not result) is good
            assert len(bench.service.requests) == asked == 3
            assert bench.own("circuit_open") == 1
            assert bench.values("chatbot_exporter_next_poll_timestamp_seconds") == before

    run_virtual(main(), bench.clock)


def test_a_target_that_changed_is_tried_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ["flowxo"])
    bench.service.faults.on("unauthorized")

    async def main() -> None:
        async with bench.running():
            await bench.wait(20)
            bench.service.faults.off("unauthorized")
            bench.settings = {"settle": "2h"}

            await bench.app.reload(lambda: (bench._read_settings(), "changed"))
            await bench.wait(10)

            assert [seen.status for seen in bench.service.requests] == [401] * 3 + [200] * 3
            assert bench.own("circuit_open") == 0

    run_virtual(main(), bench.clock)
