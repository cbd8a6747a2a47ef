"""What dashboards and rules share: labels, selectors, and queries over several replicas.

Replicas of one exporter, scraped one by one, differ in ``instance`` and ``pod`` and show the same
values; exporters differ in ``job``. So every query about a bot or a target first takes one of the
replicas (``once``), or adds what each of them has done itself (``SELF_COUNTED``).
"""

BOT = ("provider", "target", "project", "bot_environment")
QUERY = ("provider", "target", "query")
BY_BOT = ", ".join(("job", *BOT))
BY_QUERY = ", ".join(("job", *QUERY))
JOB = 'job=~"$job",instance=~"$instance"'
REPLICA = "instance, pod"
SELF_COUNTED = frozenset(
    {"polls", "poll_failures", "polls_skipped", "api_requests", "throttled"}  # each replica its own
)


def once(query: str) -> str:
    """Return ``query`` with one series in place of those of several replicas."""
    return f"max without ({REPLICA}) ({query})"


def engagement(family: str, window: str = "", matchers: str = "", offset: str = "") -> str:
    """Return an engagement gauge (``""``, ``"expected"``, ``"score"`` …), of one window if given."""
    name = f"chatbot_engagement_{family}".rstrip("_")
    select = ",".join(each for each in (f'window="{window}"' if window else "", matchers) if each)
    return once(f"{name}{{{select}}}{offset}" if select else name)


def grown(counter: str, matchers: str, window: str) -> str:
    """Return how much a counter of the exporter (without prefix and ``_total``) grew in a window."""
    series = f"chatbot_exporter_{counter}_total"
    query = (
        f"increase({series}{{{matchers}}}[{window}])"
        if matchers
        else f"increase({series}[{window}])"
    )
    return query if counter in SELF_COUNTED else once(query)


def polls_lost(counter: str, matchers: str, window: str) -> str:
    """Return how many polls failed or were skipped (``counter``) by query and reason.

    It is 0 for a target of which none was.
    """
    target = "job, provider, target"
    lost = f"sum by ({BY_QUERY}, reason) ({grown(counter, matchers, window)}) > 0"
    polls = f"0 * sum by ({target}) ({grown('polls', matchers, window)})"
    return f"({lost}) or on ({target}) {polls}"


def bots(provider: str = "", *more: str) -> str:
    """Return the matchers of a board's bot variables; one provider is fixed, all are chosen."""
    rest = (f'{label}=~"${label}"' for label in BOT[2:])
    return ",".join((targets(provider), *rest, *more))


def targets(provider: str = "") -> str:
    """Return the matchers of a board's account variables."""
    chosen = f'provider="{provider}"' if provider else 'provider=~"$provider"'
    return f'{chosen},target=~"$target"'


def period(matchers: str = "") -> str:
    """Return a query for the length of each query's period in seconds: an hour, or a local day.

    A day is taken as 25 hours, its length where the clock goes back.
    """
    info = "chatbot_exporter_target_info"
    more = f"{matchers}," if matchers else ""
    by = f"max by ({BY_QUERY})"
    return (
        f'(90000 * {by} ({info}{{{more}granularity="day"}}) '
        f'or 3600 * {by} ({info}{{{more}granularity!="day"}}))'
    )
