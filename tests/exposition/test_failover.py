"""When pages are shown again after a failover: not before all who showed more have said so."""

from exporter.exposition.publisher import AWAIT_S, Failover
from exporter.ledger.replicas import Changes
from tests.support.virtual import VirtualClock


def found(server: int, *, went_back: bool = False, alive: str = "", missing: str = "") -> Changes:
    return Changes({}, {}, server, went_back, frozenset(alive.split()), frozenset(missing.split()))


def test_pages_wait_for_replicas_that_were_alive_before() -> None:
    failover = Failover(VirtualClock())
    assert failover.is_over(found(1, alive="b c", missing="killed-yesterday"))

    failover.notice(found(2))
    over = [failover.is_over(found(2, alive=alive, missing=alive)) for alive in ("b c", "c", "")]
    ended = failover.is_over(found(2, alive="b", missing="killed-yesterday"))

    assert over == [False, False, True]
    assert ended


def test_a_replica_that_does_not_answer_is_waited_for_only_so_long() -> None:
    clock = VirtualClock()
    failover = Failover(clock)
    clock.advance(3600)
    assert failover.is_over(found(1, alive="b"))

    failover.notice(found(2))
    clock.advance(AWAIT_S - 1)
    early = failover.is_over(found(2, missing="b"))
    clock.advance(1)

    assert (early, failover.is_over(found(2, missing="b"))) == (False, True)


def test_a_replica_that_starts_waits_for_those_that_live() -> None:
    failover = Failover(VirtualClock())

    assert not failover.is_over(found(2, alive="b", missing="b"))
    assert failover.is_over(found(2, alive="b"))


def test_what_was_lost_is_known_until_the_server_is_confirmed() -> None:
    failover = Failover(VirtualClock())
    first = found(2, went_back=True)

    noticed = [failover.notice(each) for each in (first, found(2), found(3, alive="b"), found(3))]

    assert noticed[:2] == [first, first]
    assert noticed[2] == noticed[3] == found(3, went_back=True, alive="b")
