"""Alerts about reading and about the exporter: what fires, what must not, guard by guard."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.source.alerts import alerts
from dashboards.source.thresholds import Thresholds
from tests.dashboards.promtool import CASE, Bench, Guard, Values, checks, firing, mutated, rules

STEP_S = 300
HOUR = 3600 // STEP_S
STEPS = 28 * HOUR
NOW = 14 * HOUR
THRESHOLDS = Thresholds(interval_s=STEP_S)
PROBES = [step * STEP_S for step in range(NOW, STEPS)]
DOWN, ABSENT, STALE = "ChatbotExporterDown", "ChatbotExporterAbsent", "ChatbotDataStale"
AUTH, THROTTLED, SCHEMA = "ChatbotAuthenticationFailing", "ChatbotThrottled", "ChatbotSchemaChanged"
NEVER, OVERHANG, LIMIT = (
    "ChatbotNeverSucceeded",
    "ChatbotOverhangStanding",
    "ChatbotSeriesLimitNear",
)
LEDGER = "ChatbotLedgerFailing"
UNREACHABLE, SUPERSEDED = "ChatbotLedgerUnreachable", "ChatbotReplicaSuperseded"
ALL = [each.name for each in alerts(THRESHOLDS) if not each.of_engagement and each.name != ABSENT]
Series = dict[str, Values]
OWN = "chatbot_exporter_"
BUILD = f"{OWN}build_info"


def query(**more: str) -> str:
    labels = {"provider": "flowxo", "target": CASE, "query": "hourly"} | more
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def over(value: Callable[[int], float | None]) -> list[float | None]:
    return [value(step) for step in range(STEPS)]


def rising(every: int, since: int = 0, until: int = STEPS) -> list[float | None]:
    """Return a counter that grows by one every so many steps of ``[since, until)``."""
    return over(lambda step: max(0, min(step, until) - since) // every)


def aged(hours: Callable[[int], float]) -> list[float | None]:
    """Return an instant that is so many hours before now."""
    return over(lambda step: step * STEP_S - hours(step) * 3600)


def stale(
    hours: float, lag_h: float = 1.5, granularity: str = "hour", until: int = STEPS
) -> Series:
    info = query(granularity=granularity, timezone="UTC")
    late = aged(lambda step: hours if NOW <= step < until else 2)
    return {
        f"{OWN}data_end_timestamp_seconds{query()}": late,
        f"{OWN}expected_lag_seconds{query()}": over(lambda _: lag_h * 3600),
        f"{OWN}target_info{info}": over(lambda _: 1),
        f"{OWN}last_success_timestamp_seconds{query()}": over(lambda _: 1),
    }


def refused(reason: str, count: Values, up: float, polls: int = 1) -> Series:
    return {
        f"{OWN}poll_failures_total{query(reason=reason)}": count,
        f"{OWN}polls_total{query()}": rising(polls),
        f"{OWN}target_up{query()}": over(lambda _: up),
    }


def early() -> Series:
    """Return three throttled polls, the first ever, and good ones after them."""
    return refused("throttled", rising(1, NOW, NOW + 3), 1) | {
        f"{OWN}polls_total{query()}": rising(1, NOW)
    }


def briefly() -> Series:
    """Return a key that is refused often, while one poll alone is the last that failed."""
    return refused("auth", rising(1, NOW - 4, NOW), 1) | {
        f"{OWN}target_up{query()}": over(lambda step: step != NOW)
    }


def twice() -> Series:
    """Return two answers in another form, so far apart that three hours hold both for minutes."""
    return refused("schema", rising(3 * HOUR - 2, NOW, NOW + 6 * HOUR - 4), 1)


def up(down_steps: int, exports: str = BUILD) -> Series:
    """Return a scrape target that exported one series until it was down."""
    labels = f'{{job="a job of any name",instance="{CASE}"}}'
    down = range(NOW, NOW + down_steps)
    return {
        f"up{labels}": over(lambda step: step not in down),
        f"{exports}{labels}": over(lambda step: None if step in down else 1),
    }


def reset() -> Series:
    """Return a counter of refusals long ago, that starts anew at 0."""
    return refused("auth", over(lambda step: 0 if step >= NOW else 50), 0)


def info(success_at: int, success_s: float = 1) -> Series:
    made = query(granularity="hour", timezone="UTC")
    success = over(lambda step: success_s if step >= success_at else None)
    return {
        f"{OWN}target_info{made}": over(lambda step: 1 if step >= NOW else None),
        f"{OWN}last_success_timestamp_seconds{query()}": success,
    }


def overhang(hours: int) -> Series:
    labels = f'{{provider="flowxo",target="{CASE}",family="x_total"}}'
    return {f"{OWN}overhang{labels}": over(lambda step: 40 if step < hours * HOUR else 0)}


def filled(share: float, since: int = 0, until: int = STEPS, limit: float = 60) -> Series:
    return {
        f'{OWN}series{{family="{CASE}"}}': over(lambda step: share * 60 * (since <= step < until)),
        f'{OWN}series_limit{{family="{CASE}"}}': over(lambda _: limit),
    }


def dropped(reason: str, values: Values) -> Series:
    labels = f'{{provider="flowxo",target="shop",family="{CASE}",reason="{reason}"}}'
    return {f"{OWN}dropped_series_total{labels}": values}


def ledger(commit_age_h: Callable[[int], float], errors: Values) -> Series:
    labels = f'{{job="chatbots",instance="{CASE}"'
    return {
        f"{OWN}ledger_last_commit_timestamp_seconds{labels}}}": aged(commit_age_h),
        f'{OWN}ledger_errors_total{labels},operation="commit"}}': errors,
    }


def replica(name: str, value: Callable[[int], float]) -> Series:
    return {f'{OWN}{name}{{job="chatbots",instance="{CASE}"}}': over(value)}


def unread(up: float, success_age_h: Callable[[int], float]) -> Series:
    return {
        f"{OWN}target_up{query()}": over(lambda _: up),
        f"{OWN}last_success_timestamp_seconds{query()}": aged(success_age_h),
    }


def since_now(step: int) -> float:
    return max(0, step - NOW) * STEP_S / 3600


DRIFT = f"{OWN}schema_drift_total"
CASES: dict[str, tuple[str | None, Series]] = {
    "down": (DOWN, up(STEPS)),
    "restart of five minutes": (None, up(1)),
    "disk full": (LEDGER, ledger(since_now, rising(1, NOW))),
    "a write that failed": (None, ledger(lambda _: 0, rising(1, NOW))),
    "nothing to write": (None, ledger(since_now, rising(1, 0, NOW))),
    "disk full for six minutes": (None, ledger(lambda s: 0.1 * (s == NOW + 1), rising(1, NOW))),
    "blind": (UNREACHABLE, replica("ledger_reachable", lambda step: step < NOW)),
    "blind for minutes": (None, replica("ledger_reachable", lambda step: step != NOW)),
    "older settings": (SUPERSEDED, replica("superseded_queries", lambda step: step >= NOW)),
    "a rollout": (None, replica("superseded_queries", lambda step: NOW <= step < NOW + 2)),
    "down for hours": (STALE, unread(0, since_now)),
    "down, but read": (None, unread(0, lambda _: 2)),
    "read seldom": (None, unread(1, lambda _: 5)),
    "late by many hours": (STALE, stale(9)),
    "late within its hours": (None, stale(5)),
    "slow vendor": (None, stale(14, lag_h=12)),
    "read by day": (None, stale(27, granularity="day")),
    "key refused": (AUTH, refused("auth", rising(1, NOW), 0)),
    "key refused hourly": (AUTH, refused("auth", rising(HOUR, NOW), 0, HOUR)),
    "one refusal": (None, refused("auth", over(lambda s: s >= NOW), 0)),
    "refused, then read": (None, refused("auth", rising(1, NOW - 4, NOW), 1)),
    "counter anew": (None, reset()),
    "throttled": (THROTTLED, refused("throttled", rising(1, NOW), 0)),
    "throttled at times": (None, refused("throttled", rising(3), 1)),
    "throttled twice of three": (
        None,
        refused("throttled", rising(HOUR, NOW, NOW + 2 * HOUR), 1, 16),
    ),
    "schema": (SCHEMA, refused("schema", rising(HOUR, NOW), 0, HOUR)),
    "drift": (SCHEMA, {f"{DRIFT}{query(kind='missing')}": rising(HOUR, NOW)}),
    "one odd answer": (None, refused("schema", over(lambda s: s >= NOW), 1)),
    "never read": (NEVER, info(STEPS)),
    "read after an hour": (None, info(NOW + HOUR)),
    "overhang for long": (OVERHANG, overhang(28)),
    "overhang for twenty hours": (None, overhang(20)),
    "nearly full": (LIMIT, filled(0.95)),
    "one target is full": (LIMIT, dropped("target_limit", rising(1))),
    "was full": (None, dropped("family_limit", over(lambda _: 9))),
    "labels are cut": (None, dropped("label_length", rising(1))),
    "half full": (None, filled(0.5)),
    "nearly full for minutes": (None, filled(0.95, NOW, NOW + 2)),
    "late for minutes": (None, stale(9, until=NOW + 2)),
    "refused for minutes": (None, briefly()),
    "throttled at first": (None, early()),
    "another program is down": (None, up(STEPS, "node_info")),
    "refused now and then": (None, refused("auth", rising(4 * HOUR), 0, HOUR)),
    "throttled six hours ago": (
        None,
        refused("throttled", rising(2, NOW - 6 * HOUR, NOW - 6 * HOUR + 8), 1, 6 * HOUR),
    ),
    "throttled without a poll": (None, refused("throttled", rising(1, NOW), 1, 2 * STEPS)),
    "odd answers now and then": (None, refused("schema", rising(4 * HOUR), 1, HOUR)),
    "two odd answers": (None, twice()),
    "one odd field": (None, {f"{DRIFT}{query(kind='missing')}": over(lambda step: step >= NOW)}),
    "read at the epoch": (NEVER, info(NOW, 0)),
    "no overhang": (None, overhang(0)),
    "no limit": (None, filled(0.95, limit=0)),
}


def exporter(gone: range, down: range = range(0), build: range = range(STEPS)) -> Series:
    """Return the one exporter: when it is no scrape target, when it is down, when it exported."""
    labels = '{job="a job of any name",instance="a"}'
    up = over(lambda step: None if step in gone else float(step not in down))
    exported = over(lambda step: 1 if step in build and step not in gone else None)
    return {f"up{labels}": up, f"{BUILD}{labels}": exported}


@pytest.mark.parametrize(
    ("series", "hold", "earliest"),
    [
        (exporter(range(NOW, STEPS)), "15m", NOW + 1),
        (exporter(range(NOW, NOW + 2)), "15m", None),
        (exporter(range(NOW, NOW + 2)), "0s", NOW),
        (exporter(range(0), range(NOW, STEPS), range(NOW)), "15m", None),  # it is down
        (exporter(range(0), range(STEPS), range(0)), "15m", NOW),  # it was never reached
    ],
)
def test_an_absent_exporter_fires_after_a_quarter_of_an_hour(
    tmp_path: Path, series: Series, hold: str, earliest: int | None
) -> None:
    chosen = rules(THRESHOLDS, (ABSENT,))
    if hold != "15m":
        chosen = mutated(chosen, "15m", hold)

    found = firing(tmp_path, chosen, series, PROBES, step_s=STEP_S)

    assert bool(found) is (earliest is not None)
    # Whether a sample is gone at its very instant differs between Prometheus 2 and 3.
    assert all(probe >= (earliest or 0) * STEP_S for probe in found)


GUARDS = [
    Guard(DOWN, "restart of five minutes", "10m", "0s"),
    Guard(STALE, "late for minutes", "15m", "0s"),
    Guard(AUTH, "refused for minutes", "10m", "0s"),
    Guard(THROTTLED, "throttled at first", "30m", "0s"),
    Guard(LIMIT, "nearly full for minutes", "15m", "0s"),
    Guard(STALE, "read seldom", "== 0", ">= 0"),
    Guard(STALE, "down, but read", "> 10800", "> 0"),
    Guard(LEDGER, "disk full for six minutes", "2m", "0s"),
    Guard(LEDGER, "a write that failed", "> 300", ">= 0"),
    Guard(LEDGER, "nothing to write", "> 0", ">= 0"),
    Guard(UNREACHABLE, "blind for minutes", "5m", "0s"),
    Guard(UNREACHABLE, "blind for minutes", "== 0", ">= 0"),
    Guard(SUPERSEDED, "a rollout", "15m", "0s"),
    Guard(SUPERSEDED, "a rollout", "> 0", ">= 0"),
    Guard(STALE, "late within its hours", "> 10800", "> 0"),
    Guard(
        STALE,
        "slow vendor",
        "chatbot_exporter_expected_lag_seconds",
        "0 * chatbot_exporter_expected_lag_seconds",
    ),
    Guard(STALE, "read by day", "90000 *", "3600 *"),
    Guard(STALE, "late within its hours", "3600 *", "0 *"),
    Guard(AUTH, "counter anew", "increase(", "max_over_time("),
    Guard(AUTH, "refused now and then", "[3h]", "[9h]"),
    Guard(AUTH, "throttled", 'reason="auth"', 'reason!=""'),
    Guard(AUTH, "one refusal", "> 1.5", "> 0.5"),
    Guard(AUTH, "refused, then read", "== 0", ">= 0"),
    Guard(THROTTLED, "throttled at times", "> 0.5", "> 0"),
    Guard(THROTTLED, "throttled twice of three", "> 2.5", "> 0"),
    Guard(THROTTLED, "throttled six hours ago", "[4h]", "[9h]"),
    Guard(
        THROTTLED,
        "throttled without a poll",
        "total[4h])) > 0)",
        "total[4h])))",
    ),
    Guard(THROTTLED, "key refused", 'reason="throttled"', 'reason!=""'),
    Guard(SCHEMA, "two odd answers", "10m", "0s"),
    Guard(
        SCHEMA,
        "one odd answer",
        'reason="schema"}[3h])) > 1.5',
        'reason="schema"}[3h])) > 0.5',
    ),
    Guard(
        SCHEMA,
        "one odd field",
        "drift_total[3h]))) > 1.5",
        "drift_total[3h]))) > 0.5",
    ),
    Guard(SCHEMA, "odd answers now and then", "[3h]", "[9h]"),
    Guard(SCHEMA, "key refused", 'reason="schema"', 'reason!=""'),
    Guard(NEVER, "read after an hour", "3h", "30m"),
    Guard(NEVER, "late within its hours", "last_success_timestamp", "no_such"),
    Guard(NEVER, "read at the epoch", "> 0", ">= 0"),
    Guard(OVERHANG, "overhang for twenty hours", "1d", "1h"),
    Guard(OVERHANG, "no overhang", "> 0", ">= 0"),
    Guard(DOWN, "restart of five minutes", "== 0", ">= 0"),
    Guard(DOWN, "another program is down", f"{BUILD}[7d]", "up[7d]"),
    Guard(LIMIT, "half full", "> 0.9", "> 0.4"),
    Guard(LIMIT, "no limit", "_limit > 0", "_limit"),
    Guard(LIMIT, "was full", "[1h]))) > 0", "[1h]))) >= 0"),
    Guard(LIMIT, "labels are cut", 'reason=~".+_limit"', 'reason!=""'),
]


BENCH = Bench(THRESHOLDS, PROBES, ALL, CASES, GUARDS)
(
    fired,
    test_a_case_fires_its_alert_and_no_other,
    test_without_a_guard_a_case_would_fire_wrongly,
    test_every_comparison_of_an_alert_is_tried,
) = checks(BENCH)
