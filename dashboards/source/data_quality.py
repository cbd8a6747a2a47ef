"""Rows of the operations board about the counts themselves: revisions, series, the ledger."""

from dashboards.source import promql
from dashboards.source.panels import Caption, Curve, Panel, graph

OWN = "chatbot_exporter_"
RATE = "$__rate_interval"
JOB = promql.JOB
ANY = f"{JOB},{promql.targets()}"
WANTED = f'{ANY},reason!="not_allowlisted"'
WHO = "{{provider}} {{target}} {{query}}"


def trust() -> tuple[Panel, ...]:
    """Return panels on data that changed after it was read, and data that could not be read."""

    def changes(name: str, *by: str, hours: int = 1) -> tuple[str, str]:
        labels = ", ".join((promql.BY_QUERY, *by))
        legend = " ".join((WHO, *(f"{{{{{label}}}}}" for label in by)))
        return (f"sum by ({labels}) ({promql.grown(name, ANY, f'{hours}h')})", legend)

    revisions, legend = changes("revisions", "direction", "stage")
    return (
        lines(
            "Revised buckets per hour",
            "Values that changed after they were first read: normal while "
            "settling; later, the vendor restated them.",
            (f"{revisions} > 0", legend),
            none="No bucket was revised",
        ),
        lines(
            "Retracted units per hour",
            "Amount by which vendors lowered buckets that were already read.",
            changes("retracted"),
        ),
        lines(
            "Overhang",
            "Units by which a counter exceeds the vendor's total, because counters "
            "cannot fall. It does not grow until this is repaid.",
            (
                promql.once(f"{OWN}overhang{{{ANY}}}"),
                "{{target}} {{family}}",
            ),
        ),
        lines(
            "Written off per day",
            "Overhang made permanent so that counters could grow again.",
            (
                promql.grown("written_off", ANY, "24h"),
                "{{target}} {{family}}",
            ),
            none="Nothing was written off",
        ),
        lines(
            "Days of history",
            "Days before the first poll that have been read.",
            (f"max by ({promql.BY_QUERY}) ({OWN}history_days{{{ANY}}})", WHO),
        ),
        lines(
            "Time since the last audit",
            "An audit reads the past again and compares it with the ledger.",
            (
                f"time() - max by ({promql.BY_QUERY}) ({OWN}audit_timestamp_seconds{{{ANY}}})",
                WHO,
            ),
            none="No audit has ended yet",
            unit="s",
        ),
        lines(
            "Audited buckets that differ",
            "Buckets of the last audit that differ from the vendor's, or that were missing.",
            (
                f'max by ({promql.BY_QUERY}, result) ({OWN}audit_buckets{{{ANY},result!="equal"}})',
                f"{WHO} {{{{result}}}}",
            ),
            none="No audit has ended yet",
        ),
        lines(
            "Difference found by the last audit",
            "Sum of absolute differences, before they were applied.",
            (promql.once(f"{OWN}audit_difference{{{ANY}}}"), "{{target}} {{family}}"),
            none="No audit has ended yet",
        ),
        lines(
            "Schema mismatches per hour",
            "Response fields that differ from the known API schema.",
            changes("schema_drift", "kind"),
        ),
        lines(
            "Provider resets per day",
            "Times a vendor replaced its history; the exporter took a new baseline.",
            changes("provider_resets", hours=24),
        ),
        lines(
            "Gaps per day",
            "Time ranges that can no longer be read.",
            changes("coverage_gaps", hours=24),
        ),
        lines(
            "Time lost to gaps per day",
            "Length of the ranges that can no longer be read.",
            changes("coverage_gap_seconds", hours=24),
            unit="s",
        ),
        lines(
            "Duplicate events per hour",
            "Events of a stream that were read twice and discarded by id.",
            changes("duplicate_events"),
            none="No stream is read",
        ),
        lines(
            "Late events per hour",
            "Events older than the watermark when first read.",
            changes("late_events", "outcome"),
            none="No stream is read",
        ),
    )


def series() -> tuple[Panel, ...]:
    """Return panels on the number of series and their cost."""
    return (
        lines(
            "Series by family",
            "Series on /metrics.",
            level("series", "family"),
        ),
        lines(
            "Share of the series limit",
            "At 1, new label sets are counted as `other` or dropped.",
            (
                f"max by (job, family) ({OWN}series{{{JOB}}} / ({OWN}series_limit{{{JOB}}} > 0))",
                "{{family}}",
            ),
            unit="percentunit",
        ),
        lines(
            "Label sets in overflow or dropped per hour",
            "By reason. Without what an allow list turns into `other`.",
            (
                f"{promql.grown('dropped_series', WANTED, '1h')} > 0",
                "{{target}} {{family}} {{reason}}",
            ),
            none="No label set was dropped",
        ),
        lines(
            "Samples in a scrape",
            "After relabelling, as Prometheus counts them.",
            (
                f"max by (job, instance) (scrape_samples_post_metric_relabeling{{{JOB}}})",
                "{{instance}}",
            ),
        ),
        lines(
            "Scrape duration",
            "As Prometheus measures it.",
            (f"max by (job, instance) (scrape_duration_seconds{{{JOB}}})", "{{instance}}"),
            unit="s",
        ),
        lines(
            "Rule evaluation failures per hour",
            "Failed evaluations of these rules. Prometheus must scrape itself.",
            (
                (
                    "sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total"
                    '{rule_group=~".*chatbot.*"}[1h]))'
                ),
                "{{rule_group}}",
            ),
            none="Prometheus does not scrape itself",
        ),
    )


def ledger() -> tuple[Panel, ...]:
    """Return panels on the health of the ledger."""
    return (
        lines(
            "Size",
            "On disk.",
            level("ledger_size_bytes"),
            unit="bytes",
        ),
        lines(
            "Rows by table",
            "Kept to 45 days.",
            level("ledger_rows", "table"),
        ),
        lines(
            "Commit duration, p50 and p95",
            "Transactions of the ledger.",
            *quantiles("ledger_commit_duration_seconds", "instance", JOB),
            unit="s",
        ),
        lines(
            "Time since the last commit",
            "Rises while no poll commits.",
            (
                f"time() - max by (job, instance) ({OWN}ledger_last_commit_timestamp_seconds{{{JOB}}})",
                "{{instance}}",
            ),
            unit="s",
        ),
        lines(
            "Failed operations per hour",
            "Operations of the ledger that failed.",
            hourly("ledger_errors", "operation"),
        ),
    )


def replicas() -> tuple[Panel, ...]:
    """Return panels on replicas that share one ledger on PostgreSQL."""
    return (
        lines(
            "Claims held by each replica",
            "Queries this replica polls.",
            level("claims"),
        ),
        lines(
            "Ledger reachable",
            "1 if the last check for other replicas' changes succeeded; 0: no target's "
            "series are shown.",
            (f"min by (job, instance) ({OWN}ledger_reachable{{{JOB}}})", "{{instance}}"),
            none="The ledger is not on PostgreSQL",
            unit="bool_yes_no",
        ),
        lines(
            "Superseded queries",
            "Queries that this replica leaves to another one, which has newer settings.",
            level("superseded_queries"),
            none="The ledger is not on PostgreSQL",
        ),
        lines(
            "Claims lost per hour",
            "Claims another replica took before the poll committed.",
            hourly("claims_lost"),
        ),
    )


def lines(
    title: str,
    description: str,
    *curves: tuple[str, str],
    unit: str = "short",
    none: str = "Not scraped yet",
) -> Panel:
    """Return a graph of ``(query, legend)`` pairs; ``none`` is what an empty one means."""
    caption = Caption(title, f"{description} Empty: {none[0].lower()}{none[1:]}.", unit, none)
    return graph(caption, [Curve(*curve) for curve in curves], interval="5m", width=8)


def level(name: str, by: str = "instance") -> tuple[str, str]:
    """Return query and legend of a gauge of the exporter."""
    return f"max by (job, {by}) ({OWN}{name}{{{JOB}}})", f"{{{{{by}}}}}"


def hourly(name: str, by: str = "instance") -> tuple[str, str]:
    """Return query and legend of an exporter counter's growth per hour."""
    expr = f"sum by (job, {by}) (increase({OWN}{name}_total{{{JOB}}}[1h]))"
    return expr, f"{{{{{by}}}}}"


def quantiles(name: str, by: str, matchers: str) -> tuple[tuple[str, str], ...]:
    """Return queries and legends of the median and the 95th percentile of a histogram."""
    buckets = f"sum by ({by}, le) (rate({OWN}{name}_bucket{{{matchers}}}[{RATE}]))"
    return tuple(
        (f"histogram_quantile({share}, {buckets})", f"{{{{{by}}}}} p{name_}")
        for share, name_ in ((0.5, 50), (0.95, 95))
    )
