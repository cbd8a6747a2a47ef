"""The board for operators of the exporter: polls, budgets, data quality, ledger."""

from dashboards.source import promql
from dashboards.source.dashboard import DashboardPage, Row, Variable
from dashboards.source.data_quality import (
    ANY,
    JOB,
    OWN,
    RATE,
    WHO,
    hourly,
    ledger,
    lines,
    quantiles,
    replicas,
    series,
    trust,
)
from dashboards.source.panels import (
    BLUE,
    ORANGE,
    VERMILION,
    Caption,
    Panel,
    Steps,
    stat_panel,
    table_panel,
)

UID = "chatbot-exporter"
_BAD_FROM_ONE: Steps = ((None, BLUE), (1, VERMILION))
_GOOD_AT_ONE: Steps = ((None, VERMILION), (1, BLUE))
_BY = f"by ({promql.BY_QUERY})"


def board() -> DashboardPage:
    """Return the operations board."""
    return DashboardPage(
        uid=UID,
        title="Chatbots: exporter",
        description="Health of the exporter and reliability of its values.",
        variables=(
            Variable("job", "Job", f"label_values({OWN}build_info, job)"),
            Variable(
                "instance", "Instance", f'label_values({OWN}build_info{{job=~"$job"}}, instance)'
            ),
            Variable("provider", "Provider", f"label_values({OWN}target_info{{{JOB}}}, provider)"),
            Variable(
                "target",
                "Account",
                f'label_values({OWN}target_info{{{JOB},provider=~"$provider"}}, target)',
            ),
        ),
        rows=(
            Row("Now", _now()),
            Row("Queries", (_queries(), _settings())),
            Row("Polls", _polls()),
            Row("Requests and budgets", _requests()),
            Row("Data quality", trust()),
            Row("Series", series()),
            Row("Ledger", ledger()),
            Row("Replicas (a ledger on PostgreSQL)", replicas(), collapsed=True),
            Row("Process", _process()),
        ),
        alerts='ALERTS{alertstate="firing",alertname=~"Chatbot.*"}',
        tags=("operations",),
        since="now-24h",
    )


def _now() -> tuple[Panel, ...]:
    return (
        _stat(
            "Up",
            "1 if all selected exporters can be scraped.",
            f"min(up{{{JOB}}})",
            "bool_yes_no",
            _GOOD_AT_ONE,
        ),
        _stat(
            "Queries failing",
            "Queries whose last poll failed.",
            f"count({promql.once(f'{OWN}target_up{{{ANY}}}')} == 0) or vector(0)",
            "none",
            _BAD_FROM_ONE,
        ),
        _stat(
            "Oldest data",
            "Time since the end of the newest settled data, for the oldest query.",
            f"max(time() - {OWN}data_end_timestamp_seconds{{{ANY}}})",
            "s",
            ((None, BLUE), (14_400, ORANGE), (43_200, VERMILION)),
        ),
        _stat(
            "Circuits open",
            "Accounts that are paused after repeated failures.",
            f"sum({promql.once(f'{OWN}circuit_open{{{ANY}}}')})",
            "none",
            _BAD_FROM_ONE,
        ),
        _stat(
            "Suspicious responses (quarantined)",
            "Queries whose last response looks like a collapse. It is counted once confirmed.",
            f"sum({promql.once(f'{OWN}quarantined{{{ANY}}}')})",
            "none",
            _BAD_FROM_ONE,
        ),
        _stat(
            "Settings loaded",
            "Whether the last load of the settings succeeded.",
            f"min({OWN}config_last_reload_successful{{{JOB}}})",
            "bool_yes_no",
            _GOOD_AT_ONE,
        ),
    )


def _queries() -> Panel:
    def latest(name: str) -> str:
        return f"max {_BY} ({OWN}{name}_timestamp_seconds{{{ANY}}})"

    columns = {
        "Up": (f"min {_BY} ({OWN}target_up{{{ANY}}})", "bool_yes_no"),
        "Since attempt": (f"time() - {latest('last_attempt')}", "s"),
        "Since success": (f"time() - {latest('last_success')}", "s"),
        "Until next": (f"{latest('next_poll')} - time()", "s"),
        "Data age": (f"time() - {latest('data_end')}", "s"),
        "Behind": (f"time() - {latest('cursor')} - {promql.period(ANY)}", "s"),
        "Period shown": (
            (f'time() - max {_BY} (chatbot_period_end_timestamp_seconds{{{ANY},period="hour"}})'),
            "s",
        ),
        "Allowance": (f"max {_BY} ({OWN}expected_lag_seconds{{{ANY}}})", "s"),
    }
    caption = Caption(
        "Queries",
        "One row per query. Data is late if its age exceeds period and allowance. Behind: age of "
        "the oldest unsettled bucket. Empty cells: the first poll has not ended yet.",
        "none",
    )
    return table_panel(caption, columns, sort_by="Up")


def _settings() -> Panel:
    expr = f"max by ({promql.BY_QUERY}, granularity, timezone) ({OWN}target_info{{{ANY}}})"
    caption = Caption(
        "Settings in effect", "How each query counts; days follow its time zone.", "none"
    )
    return table_panel(caption, {"In effect": (expr, "none")}, hidden=("In effect",))


def _polls() -> tuple[Panel, ...]:
    return (
        lines(
            "Polls per hour",
            "Polls started.",
            (f"sum by (provider) ({promql.grown('polls', ANY, '1h')})", "{{provider}}"),
        ),
        lines(
            "Failed polls per hour",
            "By reason.",
            (promql.polls_lost("poll_failures", ANY, "1h"), f"{WHO} {{{{reason}}}}"),
        ),
        lines(
            "Skipped polls by reason",
            "Scheduled polls that did not run, per hour.",
            (promql.polls_lost("polls_skipped", ANY, "1h"), "{{target}} {{query}} {{reason}}"),
        ),
        lines(
            "Poll duration, p50 and p95",
            "Whole polls: requests, parsing and commit.",
            *quantiles("poll_duration_seconds", "provider", JOB),
            unit="s",
        ),
    )


def _requests() -> tuple[Panel, ...]:
    return (
        lines(
            "Requests by status code",
            "HTTP requests to providers.",
            (
                f"sum by (provider, code) (rate({OWN}api_requests_total{{{ANY}}}[{RATE}]))",
                "{{provider}} {{code}}",
            ),
            unit="reqps",
        ),
        lines(
            "Request duration, p50 and p95",
            "Single requests to providers.",
            *quantiles("api_request_duration_seconds", "provider", JOB),
            unit="s",
        ),
        lines(
            "Rate-limited requests per hour",
            "Requests that a provider rejected because of its rate limit.",
            (
                f"sum by (job, provider, target) ({promql.grown('throttled', ANY, '1h')})",
                "{{provider}} {{target}}",
            ),
        ),
        lines(
            "Budget left",
            "Requests that can be sent now.",
            (
                f"min by (job, provider, target, budget) ({OWN}budget_tokens{{{ANY}}})",
                "{{target}} {{budget}}",
            ),
            none="No target has a budget",
        ),
        lines(
            "Time until requests resume",
            "Wait for a budget, a Retry-After, a backoff or an open circuit; 0: no wait.",
            (
                (
                    f"clamp_min(max by (job, provider, target) ({OWN}blocked_until_timestamp_seconds"
                    f"{{{ANY}}}) - time(), 0)"
                ),
                "{{provider}} {{target}}",
            ),
            unit="s",
        ),
    )


def _process() -> tuple[Panel, ...]:
    return (
        lines(
            "CPU",
            "Share of one core.",
            (f"rate(process_cpu_seconds_total{{{JOB}}}[{RATE}])", "{{instance}}"),
            unit="percentunit",
        ),
        lines(
            "Memory",
            "Resident.",
            (f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),
            unit="bytes",
        ),
        lines(
            "Open files",
            "Share of the process limit.",
            (f"process_open_fds{{{JOB}}} / (process_max_fds{{{JOB}}} > 0)", "{{instance}}"),
            unit="percentunit",
        ),
        lines(
            "Time since the last settings reload",
            "Last successful load.",
            (
                (
                    f"time() - max by (job, instance) ({OWN}config_last_reload_success_timestamp_seconds"
                    f"{{{JOB}}})"
                ),
                "{{instance}}",
            ),
            unit="s",
        ),
        lines(
            "Dropped log lines per hour",
            "Log lines that could not be written.",
            hourly("log_lines_dropped"),
        ),
        lines(
            "Clock steps per hour",
            "Steps of the wall clock that were noticed and corrected.",
            hourly("clock_steps"),
        ),
        table_panel(
            Caption("Builds", "Running version, by instance.", "none"),
            {
                "Ledger schema": (
                    f"max by (job, instance) ({OWN}ledger_schema_version{{{JOB}}})",
                    "none",
                ),
                "Build": (
                    (
                        "max by (job, instance, version, revision, python_version) "
                        f"({OWN}build_info{{{JOB}}})"
                    ),
                    "none",
                ),
            },
            hidden=("Build",),
        ),
    )


def _stat(title: str, description: str, expr: str, unit: str, steps: Steps) -> Panel:
    return stat_panel(
        Caption(title, description, unit, "No successful poll yet"), expr, steps=steps
    )
