"""PromQL shared by dashboards and rules: labels, selectors, and queries over several replicas.

Replicas of one exporter, scraped separately, differ in ``instance`` and ``pod`` and show the same
values; exporters differ in ``job``. So every query about a bot or a target first picks one replica
(``once``), or adds up what each replica has done itself (``SELF_COUNTED``).
"""

BOT = ("provider", "target", "project", "bot_environment")
QUERY = ("provider", "target", "query")
BY_BOT = ", ".join(("job", *BOT))
BY_QUERY = ", ".join(("job", *QUERY))
JOB = 'job=~"$job",instance=~"$instance"'
REPLICA = "instance, pod"
SELF_COUNTED = frozenset(
    {"polls", "poll_failures", "polls_skipped", "api_requests", "throttled"}  # per replica
)


def once(query: str) -> str:
    """Return ``query`` reduced to one series for all replicas."""
    return f"max without ({REPLICA}) ({query})"


def engagement(family: str, window: str = "", matchers: str = "", offset: str = "") -> str:
    """Return an engagement gauge (``""``, ``"expected"``, ``"score"`` …), for a window if given."""
    name = f"chatbot_engagement_{family}".rstrip("_")
    select = ",".join(each for each in (f'window="{window}"' if window else "", matchers) if each)
    return once(f"{name}{{{select}}}{offset}" if select else name)


def grown(counter: str, matchers: str, window: str) -> str:
    """Return the growth of an exporter counter (without prefix and ``_total``) in a window."""
    series = f"chatbot_exporter_{counter}_total"
    query = (
        f"increase({series}{{{matchers}}}[{window}])"
        if matchers
        else f"increase({series}[{window}])"
    )
    return query if counter in SELF_COUNTED else once(query)


def polls_lost(counter: str, matchers: str, window: str) -> str:
    """Return the number of failed or skipped polls (``counter``) by query and reason.

    A target without any shows 0.
    """
    target = "job, provider, target"
    lost = f"sum by ({BY_QUERY}, reason) ({grown(counter, matchers, window)}) > 0"
    polls = f"0 * sum by ({target}) ({grown('polls', matchers, window)})"
    return f"({lost}) or on ({target}) {polls}"


def bots(provider: str = "", *more: str) -> str:
    """Return the matchers of a board's bot variables, with a fixed ``provider`` if given."""
    rest = (f'{label}=~"${label}"' for label in BOT[2:])
    return ",".join((targets(provider), *rest, *more))


def targets(provider: str = "") -> str:
    """Return the matchers of a board's account variables."""
    chosen = f'provider="{provider}"' if provider else 'provider=~"$provider"'
    return f'{chosen},target=~"$target"'


def period(matchers: str = "") -> str:
    """Return the length of each query's period in seconds: an hour, or a local day.

    A day counts as 25 hours, its longest, when clocks go back.
    """
    info = "chatbot_exporter_target_info"
    more = f"{matchers}," if matchers else ""
    by = f"max by ({BY_QUERY})"
    return (
        f'(90000 * {by} ({info}{{{more}granularity="day"}}) '
        f'or 3600 * {by} ({info}{{{more}granularity!="day"}}))'
    )
