"""Every fault of every vendor: counters stay, the failure has its reason, recovery is exact."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import (
    ProviderError,
    Refused,
    TimedOut,
)
from exporter.providers import KINDS
from exporter.simulator import SIMULATORS
from tests.faults.bench import Bench, case_of
from tests.providers.compliance import FAULTS
from tests.support.virtual import run_virtual

PROVIDERS = sorted(KINDS.keys() & SIMULATORS.keys() & {"flowxo", "voiceflow"})
SLOWER: Mapping[str, type[ProviderError]] = {
    "refused": Refused,
    "hang": TimedOut,
    "hang_after": TimedOut,
}
"""Faults that the suite of a single read leaves out."""

FEWER: Mapping[str, Mapping[str, Any]] = {
    "voiceflow": {"queries": ["interactions", "function_usage", "top_intents"]}
}
"""Queries enough to show each way of reading; the single reads cover all."""

SETTINGS = {"interval": "1m", "lookback": "2h", "slow_interval": "1m", "zero_hold": "1s"}


def expected(kind: str, query: str, fault: str) -> type[ProviderError] | None:
    """Return what ``fault`` becomes for ``query``: None where it does no harm."""
    errors = case_of(kind).errors
    own = case_of(kind).own_faults
    key = (query.partition("/")[0], fault)
    plain = (dict(FAULTS) | dict(SLOWER)).get(fault)
    return errors.get(key, own.get(key, errors.get(fault, plain)))


def own_faults(kind: str) -> set[str]:
    return {fault for _, fault in case_of(kind).own_faults}


CASES = [
    (kind, fault) for kind in PROVIDERS for fault in sorted({*FAULTS, *SLOWER, *own_faults(kind)})
]


def failures(bench: Bench, query: str) -> dict[str, float]:
    """Return how many polls of ``query`` failed, by reason, without those that never did."""
    return {
        dict(labels)["reason"]: value
        for (name, labels), value in bench.scraped.items()
        if name == "chatbot_exporter_poll_failures_total"
        and dict(labels)["query"] == query
        and value
    }


def equals_truth(bench: Bench, kind: str, from_ms: int, to_ms: int) -> None:
    truth = bench.truth(kind, from_ms, to_ms)
    assert sum(truth.values()) > 5
    assert bench.counted(kind, truth) == truth
    assert bench.own("overhang") == 0


@pytest.mark.parametrize(("kind", "fault"), CASES)
def test_a_fault_leaves_counters_alone_is_named_and_is_recovered_from(
    kind: str, fault: str, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, [kind], {**SETTINGS, **FEWER.get(kind, {})}, per_hour=40)

    async def main() -> None:
        from_ms = bench.vendor.hold()
        async with bench.running():
            await bench.until(bench.all_polled, 60)
            bench.vendor.release()
            await bench.wait(240)
            hit = [query for query in bench.queries() if expected(kind, query, fault)]
            assert hit

            bench.service.faults.on(fault)
            before = bench.counters()
            await bench.until(lambda: all(failures(bench, query) for query in hit), 900)
            after = bench.counters()
            bench.service.faults.off(fault)

            if len(hit) == len(bench.queries()):
                assert {key: after[key] for key in before} == before
            judged = bench.queries() if fault in FAULTS.keys() | SLOWER.keys() else hit
            for query in judged:
                error = expected(kind, query, fault)
                assert failures(bench, query).keys() == ({error.reason} if error else set())

            to_ms = bench.vendor.hold()
            await bench.until(bench.all_polled, 900)
            await bench.wait(150)
            equals_truth(bench, kind, from_ms, to_ms)

    run_virtual(main(), bench.clock)
    assert bench.falls == set()
