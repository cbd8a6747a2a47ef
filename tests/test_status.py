"""What the page's figures are made of."""

from exporter import status
from exporter.ledger.rows import QueryState
from exporter.model.samples import SelfCount

STATE = QueryState(
    target="shop",
    query="hourly",
    provider="flowxo",
    epoch_ms=0,
    cursor_ms=0,
    watermark_ms=None,
    last_attempt_ms=0,
    last_success_ms=0,
    next_poll_ms=0,
    last_reason=None,
    last_error=None,
    fail_streak=0,
    circuit="closed",
    quarantined=False,
)


def test_what_an_allow_list_leaves_out_is_no_warning() -> None:
    dropped = "chatbot_exporter_dropped_series_total"
    counts: dict[SelfCount, float] = {
        (dropped, (("family", "a_total"), ("reason", "not_allowlisted"))): 61.0,
        (dropped, (("family", "a_total"), ("reason", "family_limit"))): 2.0,
        (dropped, (("family", "b_total"), ("reason", "total_limit"))): 1.0,
    }

    (target,) = status.targets([(STATE, True)], {"shop": counts}, status.RecentPolls())

    assert target.queries[0].dropped_series == 3
