"""Alert rules: what is worth telling somebody, and only then."""

from collections.abc import Iterator
from dataclasses import dataclass

from dashboards.source import promql
from dashboards.source.records import ON, share_names
from dashboards.source.thresholds import Drop, Share, Thresholds

BY_QUERY = f"by ({promql.BY_QUERY})"
ON_QUERY = f"on ({promql.BY_QUERY})"
_SELF = "chatbot_exporter_"
_BOT_BOARD = (
    "/d/chatbot-{{ $labels.provider }}?var-target={{ $labels.target }}"
    "&var-project={{ $labels.project }}"
)
_EXPORTER_BOARD = "/d/chatbot-exporter"
_TARGET_BOARD = (
    "/d/chatbot-exporter?var-provider={{ $labels.provider }}&var-target={{ $labels.target }}"
)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert; ``of_engagement`` ones read hourly figures, the others the exporter's own.

    ``instead`` is what Grafana asks where no data is itself the alarm: a query and what it must
    not be below.
    """

    name: str
    expr: str
    hold: str
    severity: str
    summary: str
    description: str
    board: str
    keep: str = ""
    of_engagement: bool = False
    instead: tuple[str, float] | None = None


def alerts(thresholds: Thresholds) -> Iterator[Alert]:
    """Yield every alert."""
    for drop in thresholds.drops:
        yield _drop(drop)
    yield _users(thresholds)
    yield _share("Fallback", "fallback replies", thresholds.fallback)
    yield _share("Handover", "handovers to people", thresholds.handover)
    yield _not_learnt(thresholds)
    yield from _queries(thresholds)
    yield from _exporter(thresholds)


def _drop(drop: Drop) -> Alert:
    actual, expected = promql.actual(drop.window), promql.expected(drop.window)
    return Alert(
        f"ChatbotEngagementDrop{drop.name}",
        f"{promql.score(drop.window)} < {drop.score:g}\n"
        f"and {ON} ({actual} < {drop.share:g} * {expected})\n"
        f"and {ON} ({drop.hours} * {expected} >= {drop.least:g})",
        drop.hold,
        "warning",
        "{{ $labels.project }} on {{ $labels.provider }}: the last "
        + ("hour is" if drop.hours == 1 else f"{drop.hours} hours are")
        + " far below usual for this time of the week",
        f"Fewer than {drop.share:.0%} of the messages (or interactions, or conversations) expected from "
        "the same hours of earlier weeks, beyond this bot's usual variation.",
        _BOT_BOARD,
        keep=drop.keep,
        of_engagement=True,
    )


def _users(thresholds: Thresholds) -> Alert:
    users = "bot:chatbot_weekly_users:last"
    return Alert(
        "ChatbotUsersDropWeekly",
        f"{users} < {thresholds.users_share:g} * ({users} offset 2w)\n"
        f"and {ON} ({users} < {thresholds.users_share:g} * ({users} offset 4w))\n"
        f"and {ON} (({users} offset 4w) >= {thresholds.users_min})",
        "1d",
        "warning",
        "{{ $labels.project }} on {{ $labels.provider }}: weekly users are far below last month's",
        f"Fewer than {thresholds.users_share:.0%} of the weekly users of two and of four weeks ago.",
        _BOT_BOARD,
        of_engagement=True,
    )


def _share(name: str, what: str, rule: Share) -> Alert:
    base, ratio = share_names(name.lower(), rule)
    before = f"clamp_min({ratio} offset 1w, {rule.floor:g})"
    spread = f"sqrt({before} * (1 - clamp_max({before}, {1 - rule.floor:g})) / {base})"
    return Alert(
        f"Chatbot{name}ShareHigh",
        f"{ratio} - {ON} ({ratio} offset 1w) > {rule.rise:g}\n"
        f"and {ON} (({ratio} - {ON} {before}) / {ON} ({spread}) > {rule.score:g})\n"
        f"and {ON} ({base} >= {rule.least})",
        rule.hold,
        "warning",
        "{{ $labels.project }} on {{ $labels.provider }}: the share of " + what + " has risen",
        f"Over {rule.hours} h the share of {what} is {rule.rise:.0%} of the total or more above "
        "the same hours of last week, more than chance explains.",
        _BOT_BOARD,
        of_engagement=True,
    )


def _not_learnt(thresholds: Thresholds) -> Alert:
    known = promql.weeks(promql.DAILY)
    return Alert(
        "ChatbotBaselineNotLearnt",
        f"{promql.HOUR} >= 0\nunless {ON} ({known} >= {thresholds.weeks_needed})",
        "1d",
        "info",
        "{{ $labels.project }} on {{ $labels.provider }}: drop alerts need 3 weeks of history",
        f"Fewer than {thresholds.weeks_needed} of the last {thresholds.weeks} weeks are known, so no "
        "engagement alert can fire for this bot. Usual for a new one; otherwise Prometheus keeps "
        "less than 30 days.",
        _BOT_BOARD,
        of_engagement=True,
    )


def _queries(thresholds: Thresholds) -> Iterator[Alert]:
    end = f"max {BY_QUERY} ({_SELF}data_end_timestamp_seconds)"
    lag = f"max {BY_QUERY} ({_SELF}expected_lag_seconds)"
    yield Alert(
        "ChatbotDataStale",
        f"time() - {end} - {ON_QUERY} ({lag} + {ON_QUERY} {promql.period()}) > {thresholds.stale_s}\n"
        f"or max {BY_QUERY} ({_SELF}target_up) == 0 and {ON_QUERY} "
        f"time() - max {BY_QUERY} ({_SELF}last_success_timestamp_seconds) > {thresholds.stale_s}",
        "15m",
        "warning",
        "{{ $labels.target }} {{ $labels.query }}: data is hours later than usual",
        "The newest settled data is more than three hours beyond its period and expected lag, or the "
        "query is down and its last success as old. "
        "Until then, values and engagement alerts of these bots are absent.",
        _TARGET_BOARD,
    )
    yield Alert(
        "ChatbotAuthenticationFailing",
        f"{_failures('auth', '3h')} > 1.5\nand {ON_QUERY} min {BY_QUERY} ({_SELF}target_up) == 0",
        "10m",
        "critical",
        "{{ $labels.provider }} rejects the credentials of {{ $labels.target }}",
        "At least two polls in three hours failed with an authentication error, and the last poll failed.",
        _TARGET_BOARD,
    )
    polls = f"sum {BY_QUERY} (increase({_SELF}polls_total[4h]))"
    yield Alert(
        "ChatbotThrottled",
        f"{_failures('throttled', '4h')} / {ON_QUERY} ({polls} > 0) > 0.5\n"
        f"and {ON_QUERY} {_failures('throttled', '4h')} > 2.5",
        "30m",
        "warning",
        "{{ $labels.provider }} rate-limits most polls of {{ $labels.target }}",
        "More than half of the polls in four hours were rate-limited.",
        _TARGET_BOARD,
    )
    yield Alert(
        "ChatbotSchemaChanged",
        f"{_failures('schema', '3h')} > 1.5\n"
        f"or sum {BY_QUERY} (increase({_SELF}schema_drift_total[3h])) > 1.5",
        "10m",
        "warning",
        "API response schema changed: {{ $labels.provider }} {{ $labels.query }}",
        "Responses had missing, new or changed fields more than once in three hours.",
        _TARGET_BOARD,
    )
    yield Alert(
        "ChatbotNeverSucceeded",
        f"max {BY_QUERY} ({_SELF}target_info) unless {ON_QUERY} "
        f"max {BY_QUERY} ({_SELF}last_success_timestamp_seconds) > 0",
        "3h",
        "warning",
        "No successful poll yet: {{ $labels.target }} {{ $labels.query }}",
        "The query has been configured for three hours and no poll has succeeded.",
        _TARGET_BOARD,
    )


def _failures(reason: str, window: str) -> str:
    return f'sum {BY_QUERY} (increase({_SELF}poll_failures_total{{reason="{reason}"}}[{window}]))'


def _exporter(thresholds: Thresholds) -> Iterator[Alert]:
    # Whatever the job is called, its targets are known by what they exported within a week.
    up = f"up and on (job, instance) last_over_time({_SELF}build_info[7d])"
    yield Alert(
        "ChatbotExporterDown",
        f"({up}) == 0",
        "10m",
        "critical",
        "{{ $labels.instance }} cannot be scraped",
        "Prometheus has failed to scrape the exporter for ten minutes.",
        _EXPORTER_BOARD,
        instead=(f"min by (job, instance) ({up})", 1),
    )
    yield Alert(
        "ChatbotExporterAbsent",
        f"absent({up})",
        "15m",
        "critical",
        "Prometheus scrapes no chatbot-exporter",
        "No scrape target has exported chatbot_exporter_build_info within a week: check service "
        "discovery and the scrape configuration.",
        _EXPORTER_BOARD,
    )
    instance = "by (job, instance)"
    commit = f"max {instance} ({_SELF}ledger_last_commit_timestamp_seconds)"
    yield Alert(
        "ChatbotLedgerFailing",
        f"time() - {commit} > 300\nand on (job, instance) "
        f"sum {instance} (increase({_SELF}ledger_errors_total[10m])) > 0",
        "2m",
        "critical",
        "{{ $labels.instance }} cannot write its ledger, so nothing is counted",
        "Writes have failed for five minutes: the disk is full or read-only, or the database does "
        "not answer. Nothing is lost that the providers still have when writes succeed again.",
        _EXPORTER_BOARD,
    )
    yield Alert(
        "ChatbotLedgerUnreachable",
        f"min {instance} ({_SELF}ledger_reachable) == 0",
        "5m",
        "critical",
        "{{ $labels.instance }} cannot read its ledger, so it shows no series of any target",
        "The exporter cannot check what other replicas have counted: the database does not answer, "
        "or another server has become the primary.",
        _EXPORTER_BOARD,
    )
    yield Alert(
        "ChatbotReplicaSuperseded",
        f"max {instance} ({_SELF}superseded_queries) > 0",
        "15m",
        "warning",
        "{{ $labels.instance }} has older settings than another replica",
        "Queries that the newer settings change are left to the other replica. Give all replicas "
        "the same settings.",
        _EXPORTER_BOARD,
    )
    yield Alert(
        "ChatbotOverhangStanding",
        f"sum by (provider, target, family) ({_SELF}overhang) > 0",
        "1d",
        "info",
        "{{ $labels.target }} {{ $labels.family }}: a counter has been above the provider's total for a day",
        "The provider lowered values that were already counted. The counter does not grow until "
        "the overhang is worked off or written off.",
        _TARGET_BOARD,
    )
    yield Alert(
        "ChatbotSeriesLimitNear",
        f"max by (family) ({_SELF}series / ({_SELF}series_limit > 0)) > {thresholds.series_share:g}",
        "15m",
        "warning",
        "{{ $labels.family }} is near its series limit",
        "At the limit, new label sets are counted as `other` or dropped.",
        _EXPORTER_BOARD,
    )
