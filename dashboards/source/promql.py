"""What dashboards and rules share: labels, selectors, names of recorded series."""

BOT = ("provider", "target", "project", "bot_environment")
QUERY = ("provider", "target", "query")
BY_BOT = ", ".join(BOT)
BY_QUERY = ", ".join(QUERY)

HOUR = "bot:chatbot_engagement:hour"
FAST = "avg3h"
DAILY = "avg24h"


def actual(window: str) -> str:
    """Return the recorded mean per hour of a window (``avg3h``, ``avg24h``)."""
    return f"bot:chatbot_engagement:{window}"


def expected(window: str) -> str:
    """Return the recorded mean per hour that earlier weeks let expect."""
    return f"bot:chatbot_engagement_expected:{window}"


def median(window: str) -> str:
    """Return the recorded median of the earlier weeks' means."""
    return f"bot:chatbot_engagement_median:{window}"


def adjacent(window: str) -> str:
    """Return the recorded middle of that median and those of the days before and after."""
    return f"bot:chatbot_engagement_adjacent:{window}"


def level() -> str:
    """Return the recorded part of how far a day was off that is expected to last."""
    return f"bot:chatbot_engagement_level:{DAILY}"


def earlier(window: str) -> str:
    """Return the recorded mean per hour of each earlier week, over the hours known now."""
    return f"bot:chatbot_engagement_earlier:{window}"


def weeks(window: str) -> str:
    """Return the recorded number of earlier weeks that the expectation rests on."""
    return f"bot:chatbot_engagement_weeks:{window}"


def residual(window: str) -> str:
    """Return the recorded distance from the expectation, 1 where chance would explain it."""
    return f"bot:chatbot_engagement_residual:{window}"


def scale(window: str) -> str:
    """Return the recorded usual size of that distance, learnt per bot, at least 1."""
    return f"bot:chatbot_engagement_scale:{window}"


def score(window: str) -> str:
    """Return the recorded distance in units of its usual size."""
    return f"bot:chatbot_engagement_score:{window}"


def bots(provider: str = "", *more: str) -> str:
    """Return the matchers of a board's bot variables; one provider is fixed, all are chosen."""
    chosen = f'provider="{provider}"' if provider else 'provider=~"$provider"'
    rest = (f'{label}=~"${label}"' for label in BOT[1:])
    return ",".join((chosen, *rest, *more))


def targets(provider: str = "") -> str:
    """Return the matchers of a board's account variables."""
    chosen = f'provider="{provider}"' if provider else 'provider=~"$provider"'
    return f'{chosen},target=~"$target"'


JOB = 'job=~"$job",instance=~"$instance"'


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
