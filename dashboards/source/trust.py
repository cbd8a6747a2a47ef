"""Rows of the operations board about the counts themselves: revisions, series, the ledger."""

from dashboards.source import promql
from dashboards.source.panels import Curve, Panel, Words, graph

OWN = "chatbot_exporter_"
RATE = "$__rate_interval"
JOB = promql.JOB
ANY = f"{JOB},{promql.targets()}"
WHO = "{{provider}} {{target}} {{query}}"


def trust() -> tuple[Panel, ...]:
    """Return what changed after it was read, and what could not be."""

    def changes(name: str, *by: str, hours: int = 1) -> tuple[str, str]:
        labels = ", ".join((*promql.QUERY, *by))
        legend = " ".join((WHO, *(f"{{{{{label}}}}}" for label in by)))
        return (
            f"sum by ({labels}) (increase({OWN}{name}_total{{{ANY}}}[{hours}h]))",
            legend,
        )

    revisions, legend = changes("revisions", "direction", "stage")
    return (
        lines(
            "Buckets revised in an hour",
            "Values that changed after they were first read. While "
            "settling that is normal; once settled, the vendor restates.",
            "short",
            (f"{revisions} > 0", legend),
            none="no bucket was revised",
        ),
        lines(
            "Units taken back in an hour",
            "By how much vendors lowered buckets already read.",
            "short",
            changes("retracted"),
        ),
        lines(
            "Overhang",
            "Units by which a counter is above the vendor's truth, since counters "
            "cannot fall: growth waits until it is worked off.",
            "short",
            (
                f"sum by (provider, target, family) ({OWN}overhang{{{ANY}}})",
                "{{target}} {{family}}",
            ),
        ),
        lines(
            "Written off in a day",
            "Overhang made permanent so that counters could grow again.",
            "short",
            (
                (
                    f"sum by (provider, target, family) (increase({OWN}written_off_total"
                    f"{{{ANY}}}[24h]))"
                ),
                "{{target}} {{family}}",
            ),
            none="nothing was written off",
        ),
        lines(
            "Fields that did not match, in an hour",
            "Answers that differ from what is known of the API.",
            "short",
            changes("schema_drift", "kind"),
        ),
        lines(
            "Provider resets in a day",
            "Histories that a vendor replaced; a new base was taken.",
            "short",
            changes("provider_resets", hours=24),
        ),
        lines(
            "Gaps in a day",
            "Ranges that can no longer be read.",
            "short",
            changes("coverage_gaps", hours=24),
        ),
        lines(
            "Time lost to gaps in a day",
            "Length of the ranges that can no longer be read.",
            "s",
            changes("coverage_gap_seconds", hours=24),
        ),
        lines(
            "Events read again, in an hour",
            "Repeats of a stream, discarded by id.",
            "short",
            changes("duplicate_events"),
            none="no stream is read",
        ),
        lines(
            "Late events in an hour",
            "Older than the watermark when first read.",
            "short",
            changes("late_events", "outcome"),
            none="no stream is read",
        ),
    )


def series() -> tuple[Panel, ...]:
    """Return how many series there are, and what they cost."""
    return (
        lines(
            "Series by family",
            "Series on /metrics.",
            "short",
            (f"max by (family) ({OWN}series{{{JOB}}})", "{{family}}"),
        ),
        lines(
            "Share of the series limit",
            "At 1, new label sets are folded into `other` or dropped.",
            "percentunit",
            (
                f"max by (family) ({OWN}series{{{JOB}}} / ({OWN}series_limit{{{JOB}}} > 0))",
                "{{family}}",
            ),
        ),
        lines(
            "Label sets folded or dropped in an hour",
            "By why.",
            "short",
            (
                (
                    f"sum by (target, family, reason) (increase({OWN}dropped_series_total"
                    f"{{{ANY}}}[1h])) > 0"
                ),
                "{{target}} {{family}} {{reason}}",
            ),
            none="nothing was folded or dropped",
        ),
        lines(
            "Samples in a scrape",
            "After relabelling, as Prometheus counts them.",
            "short",
            (f"max by (instance) (scrape_samples_post_metric_relabeling{{{JOB}}})", "{{instance}}"),
        ),
        lines(
            "Scrape duration",
            "As Prometheus measures it.",
            "s",
            (f"max by (instance) (scrape_duration_seconds{{{JOB}}})", "{{instance}}"),
        ),
        lines(
            "Failures of these rules in an hour",
            "Prometheus could not evaluate them; it must scrape itself for this.",
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
            (f"max by (instance) ({OWN}ledger_size_bytes{{{JOB}}})", "{{instance}}"),
        ),
        lines(
            "Rows by table",
            "Kept to 45 days.",
            "short",
            (f"max by (table) ({OWN}ledger_rows{{{JOB}}})", "{{table}}"),
        ),
        lines(
            "Commit duration, p50 and p95",
            "Transactions of the ledger.",
            "s",
            *quantiles("ledger_commit_duration_seconds", "instance", JOB),
        ),
        lines(
            "Since the last commit",
            "Rises while nothing is read.",
            "s",
            (
                f"time() - max by (instance) ({OWN}ledger_last_commit_timestamp_seconds{{{JOB}}})",
                "{{instance}}",
            ),
        ),
        lines(
            "Failed operations in an hour",
            "Operations of the ledger that failed.",
            "short",
            (
                f"sum by (operation) (increase({OWN}ledger_errors_total{{{JOB}}}[1h]))",
                "{{operation}}",
            ),
            none="none has failed",
        ),
        lines(
            "Claims held by each replica",
            "Queries this replica polls.",
            "short",
            (f"max by (instance) ({OWN}claims{{{JOB}}})", "{{instance}}"),
        ),
        lines(
            "Claims lost in an hour",
            "Taken over before their poll could commit.",
            "short",
            (f"sum by (instance) (increase({OWN}claims_lost_total{{{JOB}}}[1h]))", "{{instance}}"),
        ),
    )


def lines(
    title: str, description: str, unit: str, *curves: tuple[str, str], none: str = "nothing yet"
) -> Panel:
    """Return a graph of ``(query, legend)``; ``none`` says what an empty one means."""
    words = Words(title, f"{description} Empty: {none}.", unit, none)
    return graph(words, [Curve(*curve) for curve in curves], interval="5m", width=8)


def quantiles(name: str, by: str, matchers: str) -> tuple[tuple[str, str], ...]:
    """Return the median and the 95th percentile of a histogram."""
    buckets = f"sum by ({by}, le) (rate({OWN}{name}_bucket{{{matchers}}}[{RATE}]))"
    return tuple(
        (f"histogram_quantile({share}, {buckets})", f"{{{{{by}}}}} p{name_}")
        for share, name_ in ((0.5, 50), (0.95, 95))
    )
