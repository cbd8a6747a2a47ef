"""``python -m tests.dashboards.replay [--seeds 1-4] [--bots 20] [--stress noise]``: replay and score.

One account for each seed, each through its own ledger and its own promtool. ``--taxi FILE`` takes
the counts of ``nyc_taxi.csv`` instead of made-up ones.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.dashboards.replay.feed import alerting, fed
from tests.dashboards.replay.scene import Account, Stress, account, taxi_account
from tests.dashboards.replay.score import Score, report, scored

WEEKS = 9


@dataclass(frozen=True, slots=True)
class Replay:
    """What to replay; ``taxi`` is the file of real counts, if they are wanted."""

    bots: int
    stress: Stress
    taxi: Path | None
    holidays: tuple[str, ...]

    def account(self, seed: int) -> Account:
        if self.taxi is not None:
            return taxi_account(self.taxi, seed, self.bots, self.holidays)
        return account(seed, "flowxo", self.bots, WEEKS, self.stress)

    def score(self, seed: int) -> Score:
        """Return the score of the account of ``seed``."""
        scene = self.account(seed)
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            series = fed(scene, "account", folder)
            hours = len(scene.bots[0].counts)
            return scored(scene.bots, alerting(folder, series, hours), scene.late)


def main() -> None:
    """Replay every seed asked for, side by side, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.dashboards.replay", description=__doc__)
    parser.add_argument("--seeds", default="1-4", help="first and last seed")
    parser.add_argument("--bots", type=int, default=20, help="bots of each seed")
    parser.add_argument("--stress", type=Stress, choices=Stress, default=Stress.NONE)
    parser.add_argument("--taxi", type=Path, help="the file nyc_taxi.csv")
    parser.add_argument("--holidays", action="append", default=[], help="as in the settings")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    first, _, last = asked.seeds.partition("-")
    replay = Replay(asked.bots, asked.stress, asked.taxi, tuple(asked.holidays))
    total = Score((), 0, 0, 0.0)
    with ProcessPoolExecutor(asked.jobs) as pool:
        for score in pool.map(replay.score, range(int(first), int(last or first) + 1)):
            total += score
            sys.stderr.write(f"{total.bot_weeks:.0f} bot-weeks, {total.false} false episodes\n")
    sys.stdout.write(report(total) + "\n")


if __name__ == "__main__":
    main()
