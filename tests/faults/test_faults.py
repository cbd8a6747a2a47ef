"""Every fault of every vendor: counters stay, the failure has its reason, recovery is exact."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from exporter import app
from exporter.errors import ProviderError, SchemaError, Throttled, Unauthorized
from exporter.polling import poller
from exporter.providers import BUILT_IN
from exporter.simulator import MANIFEST_SIMULATORS
from exporter.simulator.faults import GENERIC
from exporter.simulator.traffic import Traffic
from tests.faults.bench import SCRAPE_EVERY_S, Bench, case_of
from tests.support.fault_matrix import MATRIX, NOT_ERRORS, Errors, expected

SETTINGS = {"interval": "1m", "lookback": "2h", "slow_interval": "1m", "zero_hold": "1s"}


def any_call(_call: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a provider is tested.

    ``settings`` leave queries enough to show each way of reading; the single reads cover all. The
    vendor's time goes on for ``grows_s`` before the fault, which strikes what it ``hits``; within
    ``patience_s`` every query has failed, or has recovered, and ``calm_s`` later all were polled.
    ``errors`` are what faults mean here, as in ``Case``.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    per_hour: float = 40
    scrape_s: float = SCRAPE_EVERY_S
    grows_s: float = 240
    patience_s: float = 900
    calm_s: float = 150
    hits: Callable[[Any], bool] = any_call
    still: tuple[str, ...] = ()
    errors: Errors = field(default_factory=dict)


SCENARIOS: Mapping[str, Scenario] = {
    "chatlayer": Scenario(
        # An overlap that is longer than the test: whatever comes late is read again.
        {"collectors": ["events", "messages", "definitions"], "stream": {"overlap": "3h"}},
        per_hour=150,
    ),
    "flowxo": Scenario(),
    "inkeep": Scenario(
        {"queries": ["events", "conversations", "active_users"]},
    ),
    "voiceflow": Scenario({"queries": ["interactions", "function_usage", "top_intents"]}),
    "xenioo": Scenario(
        {"interval": "1h", "lookback": "8h"},  # late by 90 minutes, and read an hour after
        per_hour=10,
        scrape_s=300,
        grows_s=9_000,
        patience_s=15_000,
        calm_s=900,
        still=("unthrottled",),
        # A token is bought for each of these calls; that it cannot be had is ``free_account``.
        hits=lambda call: call.path.startswith("/analytics"),
        # How a call that comes too early is refused is not documented: any refusal may be that.
        errors={
            "unauthorized": Unauthorized,
            "html_200": SchemaError,
            **dict.fromkeys(
                ("forbidden", "refused", "server_error", "unavailable", "html_502"), Throttled
            ),
        },
    ),
    **dict.fromkeys(MANIFEST_SIMULATORS, Scenario(per_hour=60, scrape_s=60, grows_s=120)),
}


@cache
def made_up(per_hour: float) -> Traffic:
    """Return traffic that all tests share, since making it up takes longer than they do."""
    return Traffic(7, per_hour=per_hour)


def meaning(kind: str, query: str, fault: str) -> type[ProviderError] | None:
    """Return what ``fault`` becomes for ``query``: None where it does no harm."""
    case = case_of(kind)
    return expected(query, fault, SCENARIOS[kind].errors, case.errors, case.own_faults)


def own_faults(kind: str) -> set[str]:
    return {fault for _, fault in case_of(kind).own_faults}


def chosen(kind: str) -> set[str]:
    """Return a fault of each error, so that over all built-in kinds, and all manifests, each is there.

    What each fault becomes at each kind is tested in single reads (``tests/providers``).
    """
    kinds = sorted(BUILT_IN if kind in BUILT_IN else MANIFEST_SIMULATORS)
    number, faults = kinds.index(kind), set[str]()
    for error in set(MATRIX.values()):
        same = sorted(str(fault) for fault, each in MATRIX.items() if each is error)
        faults |= set(same[number :: len(kinds)] or [same[number % len(same)]])
    return faults


CASES = [(kind, fault) for kind in SCENARIOS for fault in sorted(chosen(kind) | own_faults(kind))]


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
    assert all(truth[family] for family in truth.keys() & case_of(kind).streamed)
    assert bench.counted(kind, truth) == truth
    assert bench.own("overhang") == 0


def test_every_provider_is_tested() -> None:
    assert SCENARIOS.keys() == BUILT_IN.keys() | MANIFEST_SIMULATORS.keys()


def test_every_generic_fault_is_tested_or_has_a_reason_why_not() -> None:
    assert MATRIX.keys() | NOT_ERRORS.keys() == GENERIC
    for kinds in (BUILT_IN, MANIFEST_SIMULATORS):
        assert {fault for kind, fault in CASES if kind in kinds} >= MATRIX.keys()


async def inject(bench: Bench, kind: str, fault: str) -> None:
    """Let the fault inject until every query that it harms has failed, and judge that."""
    scenario = SCENARIOS[kind]
    generic = fault in MATRIX
    hit = [query for query in bench.queries() if meaning(kind, query, fault)]
    assert hit

    bench.service.faults.on(fault, when=scenario.hits if generic else any_call)
    before = bench.counters()
    await bench.until(lambda: all(failures(bench, query) for query in hit), scenario.patience_s)
    after = bench.counters()
    bench.service.faults.off(fault)

    if len(hit) == len(bench.queries()):
        assert {key: after[key] for key in before} == before
    for query in bench.queries() if generic else hit:
        error = meaning(kind, query, fault)
        assert failures(bench, query).keys() == ({error.reason} if error else set())


@pytest.mark.parametrize(("kind", "fault"), CASES)
async def test_a_fault_leaves_counters_alone_is_named_and_is_recovered_from(
    kind: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = SCENARIOS[kind]
    # Nobody but these queries makes anything due: looking more often than scrapes do is in vain.
    monkeypatch.setattr(poller, "IDLE_S", scenario.scrape_s)
    monkeypatch.setattr(app, "TICK_S", scenario.scrape_s / 3)
    settings = {**SETTINGS, **scenario.settings}
    bench = Bench(tmp_path, [kind], settings, made_up(scenario.per_hour), scenario.scrape_s)

    from_ms = bench.vendor.hold()
    async with bench.running():
        await bench.begin()
        await bench.wait(scenario.grows_s)
        await inject(bench, kind, fault)

        to_ms = bench.vendor.hold()
        for mode in scenario.still:
            bench.service.faults.on(mode)
        await bench.until(bench.all_polled, scenario.patience_s)
        await bench.wait(scenario.calm_s)
        equals_truth(bench, kind, from_ms, to_ms)
    assert bench.falls == set()
