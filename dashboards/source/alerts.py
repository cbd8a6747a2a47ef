"""Alert rules, only for what is worth somebody's attention."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dashboards.source import spend
from dashboards.source.metrics_shown import WITH_BOARD
from dashboards.source.promql import BY_QUERY, engagement, grown, once, period
from dashboards.source.thresholds import Drop, Share, Thresholds

_SELF = "chatbot_exporter_"
_QUERY = f"by ({BY_QUERY})"
_BOT_BOARD = (
    f"/d/chatbot-{{{{ if match `^({'|'.join(WITH_BOARD)})$` $labels.provider }}}}"
    "{{ $labels.provider }}?{{ else }}overview?var-provider={{ $labels.provider | urlquery }}&"
    "{{ end }}var-target={{ $labels.target | urlquery }}"
    "&var-project={{ $labels.project | urlquery }}"
)
_EXPORTER_BOARD = "/d/chatbot-exporter"
_TARGET_BOARD = "/d/chatbot-exporter?var-provider={{ $labels.provider }}&var-target={{ $labels.target | urlquery }}"
_BOT = "{{ $labels.project }} on {{ $labels.provider }}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert; ``of_engagement`` ones read bots' metrics, the others the exporter's own.

    ``pending`` is how long the condition must hold, ``keep_firing`` how long the alert fires after
    it ends. ``grafana_below`` is for Grafana if missing data is itself the alarm: a query, and the
    number that it must not fall below.
    """

    name: str
    expr: str
    pending: str
    severity: str
    summary: str
    description: str
    board: str
    keep_firing: str = ""
    of_engagement: bool = False
    grafana_below: tuple[str, float] | None = None
    labels: dict[str, str] = field(default_factory=dict)


def alerts(thresholds: Thresholds) -> Iterator[Alert]:
    """Yield every alert; drop alerts come twice, for bots with much and with little history."""
    for drop in thresholds.drops:
        yield from _drop(drop, thresholds.full_weeks)
    yield _users(thresholds)
    yield _share("fallback replies", thresholds.fallback)
    yield _share("handovers to people", thresholds.handover)
    yield _not_learnt()
    yield _spend()
    yield from _queries(thresholds)
    yield from _exporter(thresholds)


def records(rule: Share) -> Iterator[tuple[str, str]]:
    """Yield the recording rules (name, expression) of a share's total and of the share itself."""

    def mean(family: str) -> str:
        hours = f'chatbot_period_{family}{{period="hour"}}[{rule.hours}h]'
        return f"sum without (channel) ({once(f'avg_over_time({hours})')})"

    total, share = rule.recorded
    yield total, f"{rule.hours} * {mean(rule.whole)}"
    in_time = once(f'chatbot_period_{rule.whole}{{period="hour"}}')
    yield (
        share,
        f"{mean(rule.part)} / ({mean(rule.whole)} > 0)\nand sum without (channel) ({in_time})",
    )


def _drop(drop: Drop, full_weeks: int) -> Iterator[Alert]:
    expr = (
        f"{engagement('score', drop.window)} < {drop.score:g}\n"
        f"and {_below(drop, drop.window)}\n"
        f"and {engagement('expected', drop.window)} >= {drop.min_expected}"
    )
    if drop.newest:
        expr += f"\nand ignoring (window) {_below(drop, drop.newest)}"
    weeks = f"\nand ignoring (window) {engagement('history_weeks')}"
    hours = int(drop.window.removesuffix("h"))
    known = Alert(
        f"ChatbotEngagementDrop{drop.name}",
        f"{expr}{weeks} >= {full_weeks}",
        drop.pending,
        "warning",
        f"{_BOT}: engagement in the last {'hour' if hours == 1 else f'{hours} hours'} is far below usual",
        f"Less than {drop.share:.0%} of the messages (or interactions, or conversations) expected "
        "for these hours, and further below than this bot usually varies.",
        _BOT_BOARD,
        keep_firing=drop.keep_firing,
        of_engagement=True,
    )
    yield known
    yield replace(
        known,
        expr=f"{expr}{weeks} < {full_weeks}",
        severity="info",
        description=f"{known.description} Provisional: fewer than {full_weeks} weeks of history are known.",
        labels={"provisional": "true"},
    )


def _below(drop: Drop, window: str) -> str:
    return f"{engagement('', window)} < {drop.share:g} * {engagement('expected', window)}"


def _users(thresholds: Thresholds) -> Alert:
    def users(ago: str = "") -> str:
        series = 'chatbot_active_users{channel="",window=~"(rolling|trailing)_7d"}'
        return once(f"{series} offset {ago}" if ago else series)

    return Alert(
        "ChatbotUsersDropWeekly",
        f"{users()} < {thresholds.users_share:g} * {users('2w')}\n"
        f"and {users()} < {thresholds.users_share:g} * {users('4w')}\n"
        f"and {users('4w')} >= {thresholds.users_min}",
        "1d",
        "warning",
        f"{_BOT}: weekly users are far below last month's",
        f"Fewer than {thresholds.users_share:.0%} of the weekly users of two and of four weeks ago.",
        _BOT_BOARD,
        of_engagement=True,
    )


def _share(what: str, rule: Share) -> Alert:
    """Return the alert for a share that has risen compared with the same hours of last week.

    The rise must exceed what chance explains at this total.
    """
    total, share = rule.recorded
    before = f"clamp_min({share} offset 1w, {rule.floor:g})"
    spread = f"sqrt({before} * (1 - clamp_max({before}, {1 - rule.floor:g})) / {total})"
    return Alert(
        f"Chatbot{rule.name}ShareHigh",
        f"{share} - {share} offset 1w > {rule.rise:g}\n"
        f"and ({share} - {before}) / {spread} > {rule.score:g}\n"
        f"and {total} >= {rule.min_total}",
        rule.pending,
        "warning",
        f"{_BOT}: the share of {what} has risen",
        f"Over {rule.hours} h the share of {what} is at least {100 * rule.rise:g} percentage points "
        "above the same hours of last week, more than chance explains.",
        _BOT_BOARD,
        of_engagement=True,
    )


def _not_learnt() -> Alert:
    return Alert(
        "ChatbotBaselineNotLearnt",
        f"{engagement('history_weeks')} < 1",
        "1d",
        "info",
        f"{_BOT}: drop alerts need one week of history",
        "Less than a week of history is known, so no engagement alert can fire for this bot. "
        "Normal for a new bot, or if the vendor does not provide past data.",
        _BOT_BOARD,
        of_engagement=True,
    )


def _spend() -> Alert:
    return Alert(
        "ChatbotSpendHigh",
        spend.far_above_usual(),
        "30m",
        "warning",
        "{{ $labels.target }} on {{ $labels.provider }}: the cost of the last 24 h is far above usual",
        f"More than {spend.SHARE:g} times the median of the two weeks before, by at least "
        f"{spend.LEAST_USD:g} dollars, and more than on any day of the last week.",
        f"/d/{spend.UID}?var-provider={{{{ $labels.provider }}}}&var-target={{{{ $labels.target | urlquery }}}}",
        of_engagement=True,
    )


def _queries(thresholds: Thresholds) -> Iterator[Alert]:
    def newest(gauge: str) -> str:
        return f"max {_QUERY} ({_SELF}{gauge})"

    up, succeeded = newest("target_up"), newest("last_success_timestamp_seconds")
    late = f"time() - {newest('data_end_timestamp_seconds')}"
    yield Alert(
        "ChatbotDataStale",
        f"{late} - ({newest('expected_lag_seconds')} + {period()}) > {thresholds.stale_s}\n"
        f"or {up} == 0 and time() - {succeeded} > {thresholds.stale_s}",
        "15m",
        "warning",
        "{{ $labels.target }} {{ $labels.query }}: data is hours later than usual",
        "The newest settled data is more than three hours older than its period and expected lag "
        "explain, or the query is down and has not succeeded for three hours. "
        "Until new data arrives, values and engagement alerts of these bots are absent.",
        _TARGET_BOARD,
    )
    yield Alert(
        "ChatbotAuthenticationFailing",
        f"{_failures('auth', '3h')} > 1.5\nand {up} == 0",
        "10m",
        "critical",
        "{{ $labels.provider }} rejects the credentials of {{ $labels.target }}",
        "At least two polls in three hours failed with an authentication error, and the last poll failed.",
        _TARGET_BOARD,
    )
    throttled = _failures("throttled", "4h")
    yield Alert(
        "ChatbotThrottled",
        f"{throttled} / (sum {_QUERY} ({grown('polls', '', '4h')}) > 0) > 0.5\nand {throttled} > 2.5",
        "30m",
        "warning",
        "{{ $labels.provider }} rate-limits most polls of {{ $labels.target }}",
        "More than half of the polls in four hours were rate-limited.",
        _TARGET_BOARD,
    )
    yield Alert(
        "ChatbotSchemaChanged",
        f"{_failures('schema', '3h')} > 1.5\n"
        f"or sum {_QUERY} ({grown('schema_drift', '', '3h')}) > 1.5",
        "10m",
        "warning",
        "API response schema changed: {{ $labels.provider }} {{ $labels.query }}",
        "Responses had missing, new or changed fields more than once in three hours.",
        _TARGET_BOARD,
    )
    yield Alert(
        "ChatbotNeverSucceeded",
        f"{newest('target_info')} unless {succeeded} > 0",
        "3h",
        "warning",
        "No successful poll yet: {{ $labels.target }} {{ $labels.query }}",
        "The query has been configured for three hours and no poll has succeeded.",
        _TARGET_BOARD,
    )


def _failures(reason: str, window: str) -> str:
    return f"""sum {_QUERY} ({grown("poll_failures", f'reason="{reason}"', window)})"""


def _exporter(thresholds: Thresholds) -> Iterator[Alert]:
    # Independent of the job's name: its targets are those that exported this within a week.
    up = f"up and on (job, instance) last_over_time({_SELF}build_info[7d])"
    yield Alert(
        "ChatbotExporterDown",
        f"({up}) == 0",
        "10m",
        "critical",
        "{{ $labels.instance }} cannot be scraped",
        "Prometheus has failed to scrape the exporter for ten minutes.",
        _EXPORTER_BOARD,
        grafana_below=(f"min by (job, instance) ({up})", 1),
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
        "not answer. What the providers still have when writes succeed again is not lost.",
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
        "The other replica polls the queries that the newer settings change. Give all replicas the "
        "same settings.",
        _EXPORTER_BOARD,
    )
    yield Alert(
        "ChatbotOverhangStanding",
        f"{once(f'{_SELF}overhang')} > 0",
        "1d",
        "info",
        "{{ $labels.target }} {{ $labels.family }}: a counter has been above the provider's total for a day",
        "The provider lowered values that were already counted. The counter does not grow until "
        "the overhang is repaid by growth or written off.",
        _TARGET_BOARD,
    )
    # The limits of all targets are added up, so a single full target does not show.
    full = grown("dropped_series", 'reason=~".+_limit"', "1h")
    yield Alert(
        "ChatbotSeriesLimitNear",
        f"max by (job, family) ({_SELF}series / ({_SELF}series_limit > 0)) > {thresholds.series_share:g}"
        f" or max by (job, family) ({full}) > 0",
        "15m",
        "warning",
        "{{ $labels.family }} is near its series limit, or has reached that of a target",
        "At the limit, new label sets are counted as `other` or dropped.",
        _EXPORTER_BOARD,
    )
