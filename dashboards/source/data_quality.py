"""Rows of the operations board about the counts themselves: revisions, series, the ledger."""

from dashboards.source import promql
from dashboards.source.panels import Caption, Curve, Panel, graph

OWN = "chatbot_exporter_"
RATE = "$__rate_interval"
JOB = promql.JOB
ANY = f"{JOB},{promql.targets()}"
WHO = "{{provider}} {{target}} {{query}}"


def trust() -> tuple[Panel, ...]:
    """Return what changed after it was read, and what could not be."""

    def changes(name: str, *by: str, hours: int = 1) -> tuple[str, str]:
        labels = ", ".join((promql.BY_QUERY, *by))
        legend = " ".join((WHO, *(f"{{{{{label}}}}}" for label in by)))
        return (f"sum by ({labels}) ({promql.grown(name, ANY, f'{hours}h')})", legend)

    revisions, legend = changes("revisions", "direction", "stage")
    return (
        lines(
            "Revised buckets per hour",
            "Values that changed after they were first read. While "
            "settling that is normal; once settled, the vendor restates.",
            "short",
            (f"{revisions} > 0", legend),
            none="No bucket was revised",
        ),
        lines(
            "Retracted units per hour",
            "Amount by which vendors lowered buckets already read.",
            "short",
            changes("retracted"),
        ),
        lines(
            "Overhang",
            "Units by which a counter is above the vendor's truth, since counters "
            "cannot fall: growth waits until it is worked off.",
            "short",
            (
                promql.once(f"{OWN}overhang{{{ANY}}}"),
                "{{target}} {{family}}",
            ),
        ),
        lines(
            "Written off per day",
            "Overhang made permanent so that counters could grow again.",
            "short",
            (
                promql.grown("written_off", ANY, "24h"),
                "{{target}} {{family}}",
            ),
            none="Nothing was written off",
        ),
        lines(
            "Days of history",
            "Days from before the first poll that have been read.",
            "short",
            (f"max by ({promql.BY_QUERY}) ({OWN}history_days{{{ANY}}})", WHO),
        ),
        lines(
            "Time since the last audit",
            "An audit reads the past again and compares it with the ledger.",
            "s",
            (
                f"time() - max by ({promql.BY_QUERY}) ({OWN}audit_timestamp_seconds{{{ANY}}})",
                WHO,
            ),
            none="No audit has ended yet",
        ),
        lines(
            "Audited buckets that differ",
            "Buckets of the last audit that the vendor counts otherwise, or that are missing.",
            "short",
            (
                f'max by ({promql.BY_QUERY}, result) ({OWN}audit_buckets{{{ANY},result!="equal"}})',
                f"{WHO} {{{{result}}}}",
            ),
            none="No audit has ended yet",
        ),
        lines(
            "Difference found by the last audit",
            "Sum of absolute differences, before they were applied.",
            "short",
            (promql.once(f"{OWN}audit_difference{{{ANY}}}"), "{{target}} {{family}}"),
            none="No audit has ended yet",
        ),
        lines(
            "Schema mismatches per hour",
            "Response fields that differ from the known API schema.",
            "short",
            changes("schema_drift", "kind"),
        ),
        lines(
            "Provider resets per day",
            "Times a vendor replaced its history; the exporter took a new baseline.",
            "short",
            changes("provider_resets", hours=24),
        ),
        lines(
            "Gaps per day",
            "Time ranges that can no longer be read.",
            "short",
            changes("coverage_gaps", hours=24),
        ),
        lines(
            "Time lost to gaps per day",
            "Length of the ranges that can no longer be read.",
            "s",
            changes("coverage_gap_seconds", hours=24),
        ),
        lines(
            "Duplicate events per hour",
            "Events of a stream that were read twice and discarded by id.",
            "short",
            changes("duplicate_events"),
            none="No stream is read",
        ),
        lines(
            "Late events per hour",
            "Older than the watermark when first read.",
            "short",
            changes("late_events", "outcome"),
            none="No stream is read",
        ),
    )


def series() -> tuple[Panel, ...]:
    """Return how many series there are, and what they cost."""
    return (
        lines(
            "Series by family",
            "Series on /metrics.",
            "short",
            (f"max by (job, family) ({OWN}series{{{JOB}}})", "{{family}}"),
        ),
        lines(
            "Share of the series limit",
            "At 1, new label sets are counted as `other` or dropped.",
            "percentunit",
            (
                f"max by (job, family) ({OWN}series{{{JOB}}} / ({OWN}series_limit{{{JOB}}} > 0))",
                "{{family}}",
            ),
        ),
        lines(
            "Label sets in overflow or dropped per hour",
            "By reason.",
            "short",
            (
                f"{promql.grown('dropped_series', ANY, '1h')} > 0",
                "{{target}} {{family}} {{reason}}",
            ),
            none="No label set was dropped",
        ),
        lines(
            "Samples in a scrape",
            "After relabelling, as Prometheus counts them.",
            "short",
            (
                f"max by (job, instance) (scrape_samples_post_metric_relabeling{{{JOB}}})",
                "{{instance}}",
            ),
        ),
        lines(
            "Scrape duration",
            "As Prometheus measures it.",
            "s",
            (f"max by (job, instance) (scrape_duration_seconds{{{JOB}}})", "{{instance}}"),
        ),
        lines(
            "Rule evaluation failures per hour",
            "Failed evaluations of these rules. Prometheus must scrape itself.",
            "short",
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
    """Return how the ledger does."""
    return (
        lines(
            "Size",
            "On disk.",
            "bytes",
            (f"max by (job, instance) ({OWN}ledger_size_bytes{{{JOB}}})", "{{instance}}"),
        ),
        lines(
            "Rows by table",
            "Kept to 45 days.",
            "short",
            (f"max by (job, table) ({OWN}ledger_rows{{{JOB}}})", "{{table}}"),
        ),
        lines(
            "Commit duration, p50 and p95",
            "Transactions of the ledger.",
            "s",
            *quantiles("ledger_commit_duration_seconds", "instance", JOB),
        ),
        lines(
            "Time since the last commit",
            "Rises while no poll commits.",
            "s",
            (
                f"time() - max by (job, instance) ({OWN}ledger_last_commit_timestamp_seconds{{{JOB}}})",
                "{{instance}}",
            ),
        ),
        lines(
            "Failed operations per hour",
            "Operations of the ledger that failed.",
            "short",
            (
                f"sum by (job, operation) (increase({OWN}ledger_errors_total{{{JOB}}}[1h]))",
                "{{operation}}",
            ),
        ),
    )


def replicas() -> tuple[Panel, ...]:
    """Return how several exporters share one ledger, which takes PostgreSQL."""
    return (
        lines(
            "Claims held by each replica",
            "Queries this replica polls.",
            "short",
            (f"max by (job, instance) ({OWN}claims{{{JOB}}})", "{{instance}}"),
        ),
        lines(
            "Ledger reachable",
            "1 if the last check for changes by other replicas succeeded; 0: no series of a "
            "target is shown.",
            "bool_yes_no",
            (f"min by (job, instance) ({OWN}ledger_reachable{{{JOB}}})", "{{instance}}"),
            none="The ledger is not on PostgreSQL",
        ),
        lines(
            "Superseded queries",
            "Queries that another replica has newer settings of, which this one leaves to it.",
            "short",
            (f"max by (job, instance) ({OWN}superseded_queries{{{JOB}}})", "{{instance}}"),
            none="The ledger is not on PostgreSQL",
        ),
        lines(
            "Claims lost per hour",
            "Claims another replica took before the poll committed.",
            "short",
            (
                f"sum by (job, instance) (increase({OWN}claims_lost_total{{{JOB}}}[1h]))",
                "{{instance}}",
            ),
        ),
    )


def lines(
    title: str, description: str, unit: str, *curves: tuple[str, str], none: str = "Not scraped yet"
) -> Panel:
    """Return a graph of ``(query, legend)``; ``none`` says what an empty one means."""
    caption = Caption(title, f"{description} Empty: {none[0].lower()}{none[1:]}.", unit, none)
    return graph(caption, [Curve(*curve) for curve in curves], interval="5m", width=8)


def quantiles(name: str, by: str, matchers: str) -> tuple[tuple[str, str], ...]:
    """Return the median and the 95th percentile of a histogram."""
    buckets = f"sum by ({by}, le) (rate({OWN}{name}_bucket{{{matchers}}}[{RATE}]))"
    return tuple(
        (f"histogram_quantile({share}, {buckets})", f"{{{{{by}}}}} p{name_}")
        for share, name_ in ((0.5, 50), (0.95, 95))
    )
