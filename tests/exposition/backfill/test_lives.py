"""The ledger's part of a counter: where it begins, and when it was 0."""

import pytest

from exporter.exposition.backfill.past import Steps
from exporter.exposition.backfill.source import LedgerSeries, PastQuery, ledger_life
from exporter.model.samples import HOUR_MS, Window
from tests.support.builders import RECEIVED, spec

H = HOUR_MS
PAST = PastQuery(1, spec(), Window(H, 4 * H))
COUNTED = PastQuery(1, spec(), Window(H, 4 * H), counted=True)
OLDER = PastQuery(1, spec(), Window(H, 4 * H), older_ms=0)
UNITS = [(H, 2.0), (2 * H, 0.0)]
ROW = LedgerSeries(1, RECEIVED, "[]", created_ms=7)


@pytest.mark.parametrize(
    ("past", "history", "retired", "steps", "start_ms"),
    [
        (PAST, None, 0.0, [(H, 0.0), (2 * H, 2.0)], H),
        (PAST, None, 5.0, [(H, 5.0), (2 * H, 7.0)], None),
        (OLDER, None, 5.0, [(H, 0.0), (2 * H, 7.0)], H),
        (COUNTED, None, 0.0, [], 7),
        (COUNTED, 1.0, 0.0, [(H, 0.0), (2 * H, 1.0)], 7),
    ],
    ids=["baseline", "retired", "with older data", "began later", "history"],
)
def test_a_life_begins_at_what_was_retired_and_never_exceeds_its_history(
    past: PastQuery, history: float | None, retired: float, steps: Steps, start_ms: int | None
) -> None:
    found, zero_ms = ledger_life(past, ROW._replace(history=history), UNITS, retired)

    assert ([each for each in found if each[0] <= 2 * H], zero_ms) == (steps, start_ms)
