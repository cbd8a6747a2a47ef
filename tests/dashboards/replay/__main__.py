"""``python -m tests.dashboards.replay [--seeds 1-4] [--bots 20] [--weeks 9]``: replay and score.

One account for each seed, each through its own ledger and its own promtool.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.dashboards.replay.engine import alerting
from tests.dashboards.replay.feed import fed
from tests.dashboards.replay.scene import WEEK, account
from tests.dashboards.replay.score import Score, report, scored


def replay(seed: int, bots: int, weeks: int) -> Score:
    """Return the score of one account of ``bots`` bots."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        scene = account(seed, "flowxo", bots, weeks)
        series = fed(scene, "account", folder)
        return scored(scene.bots, alerting(folder, series, weeks * WEEK), scene.late)


def main() -> None:
    """Replay every seed asked for, side by side, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.dashboards.replay", description=__doc__)
    parser.add_argument("--seeds", default="1-4", help="first and last seed")
    parser.add_argument("--bots", type=int, default=20, help="bots of each seed")
    parser.add_argument("--weeks", type=int, default=9, help="of which five are for learning")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    first, _, last = asked.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    total = Score((), 0, 0, 0.0)
    with ProcessPoolExecutor(asked.jobs) as pool:
        for score in pool.map(replay, seeds, [asked.bots] * len(seeds), [asked.weeks] * len(seeds)):
            total += score
            sys.stderr.write(f"{total.bot_weeks:.0f} bot-weeks, {total.false} false episodes\n")
    sys.stdout.write(report(total) + "\n")


if __name__ == "__main__":
    main()
