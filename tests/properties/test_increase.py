"""P12: what Prometheus makes of the scrapes, ``increase()``, is what was counted."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model.samples import HOUR_MS, floor_to
from tests.support.builders import RECEIVED, spec
from tests.support.driver import LedgerDriver, scratch
from tests.support.examples import examples
from tests.support.virtual import START_MS

PROMTOOL = shutil.which("promtool")
HOUR = floor_to(START_MS, HOUR_MS)
SCRAPES = 12
figures = st.lists(st.integers(0, 50), min_size=3, max_size=SCRAPES - 3)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@examples(4)
@given(st.lists(figures, min_size=4, max_size=8))
def test_increase_is_what_was_counted(stories: list[list[int]]) -> None:
    with scratch() as folder:
        told = [scrapes(folder / str(number), story) for number, story in enumerate(stories)]
        document = {
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [{"series": RECEIVED, "values": " ".join(values)}],
                    "promql_expr_test": [
                        {
                            "expr": f"increase({RECEIVED}[{SCRAPES}m])",
                            "eval_time": f"{SCRAPES - 1}m",
                            "exp_samples": [{"labels": "{}", "value": sum(story)}],
                        }
                    ],
                }
                for values, story in zip(told, stories, strict=True)
            ]
        }
        file = folder / "tests.yaml"
        file.write_text(json.dumps(document))
        command = [str(PROMTOOL), "test", "rules", str(file)]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603

        assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def scrapes(folder: Path, story: list[int]) -> list[str]:
    """Return what one scrape a minute sees of a channel that first appears with a figure."""
    folder.mkdir()
    driver = LedgerDriver(folder, spec())
    driver.poll({("other", HOUR): 1.0})
    seen: list[str] = []
    for upto in range(1, SCRAPES + 1):
        driver.poll({("other", HOUR): 1.0, ("web", HOUR): float(sum(story[:upto]))})
        value = driver.shown().get(("shop", "", "web"))
        seen.append("_" if value is None else f"{value:g}")
        driver.confirm_zero_scraped()
    driver.close()
    return seen
