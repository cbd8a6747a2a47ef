"""What happens in one hour of a bot, and how often: conversations as occurrences."""

import math
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BIRTH_HOUR = 482_136  # 2025-01-01T00:00Z, in hours since 1970; nothing happened before it
NEW_SHARE = 0.2
RECENCY_DAYS = 14
_BY_HOUR = (
    *(0.45, 0.40, 0.40, 0.40, 0.45, 0.55, 0.70, 0.90, 1.20, 1.45, 1.55, 1.50),
    *(1.40, 1.40, 1.45, 1.40, 1.30, 1.25, 1.30, 1.35, 1.25, 1.00, 0.75, 0.55),
)
_BY_WEEKDAY = (1.15, 1.10, 1.05, 1.05, 1.05, 0.80, 0.80)  # from Monday
_UNTIL_HOUR = tuple(sum(_BY_HOUR[:hour]) / sum(_BY_HOUR) for hour in range(24))
LATEST_MS = 90 * 60_000
"""The longest time from an occurrence until its generated record is visible."""

CHANNELS = ("web", "whatsapp", "messenger", "telegram")
ENVIRONMENTS = ("main", "main", "main", "staging")
INTENTS = ("order_status", "greeting", "opening_hours", "returns", 'refund "now"\n', "größe ändern")
TEXTS = ("hello", "hi", "/start", "price", "where is my order", '"quoted" 😀', "two\nlines")
TOOLS = {"tool-1": "Order lookup", "tool-2": 'CRM "v2"\\beta', "tool-3": "Stock\ncheck"}
FUNCTIONS = {"fn-1": "format_price", "fn-2": "geo code", "fn-3": "format_price"}
INTEGRATIONS = ("google-sheets-read", "zendesk-ticket", "hubspot-contact")
DOCUMENTS = tuple(f"doc-{number}" for number in range(1, 9))
MODELS = ("model-a", "model-b")
PRICES = {"input": 3, "output": 15}  # micro-dollars per token
PLACES: tuple[dict[str, str], ...] = (
    {},
    {"diagram": "64b1f0aa11bb22cc33dd4501", "node": "64b1f0aa11bb22cc33dd4502"},
)
FLOWS = {
    "65c0aa11bb22cc33dd44ee55": "Order status",
    "65c0aa11bb22cc33dd44ee56": "Untitled Flow",
    "65c0aa11bb22cc33dd44ee57": "Untitled Flow",
    "65c0aa11bb22cc33dd44ee58": 'Say "hi" 👋',
}
GOALS = ("lead", "booking", "purchase")
RATINGS = ("positive", "positive", "negative", "neutral")


class Kind(StrEnum):
    """What can happen; comments name attributes besides those of the conversation."""

    CONVERSATION_STARTED = "conversation_started"
    CONVERSATION_ENDED = "conversation_ended"  # amount: its length in seconds
    NEW_USER = "new_user"
    RETURNING_USER = "returning_user"
    INTERACTION = "interaction"  # interaction_type: live, test
    MESSAGE_RECEIVED = "message_received"  # text
    MESSAGE_SENT = "message_sent"
    OPERATOR_MESSAGE_SENT = "operator_message_sent"
    FALLBACK = "fallback"
    NLP_MATCH = "nlp_match"  # intent
    NLP_MISS = "nlp_miss"
    HANDOVER = "handover"
    GOAL = "goal"  # goal
    FEEDBACK = "feedback"  # rating
    SEARCH = "search"
    API_CALL = "api_call"  # tool, ok: true, false
    FUNCTION_CALL = "function_call"  # function, ok
    INTEGRATION_CALL = "integration_call"  # integration, ok
    KB_HIT = "kb_hit"  # document
    FLOW_TRIGGER = "flow_trigger"  # flow
    TOKENS = "tokens"  # model, token_type: input, output, diagram, node; amount: tokens
    LLM_CALL = "llm_call"  # as the input tokens of the call
    LLM_COST = "llm_cost"  # as the tokens that cost it; amount: micro-dollars


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened at ``at_ms`` and that the vendor shows from ``visible_ms`` on.

    ``context`` is shared by a conversation: user, conversation, channel, environment. The id is
    built on demand, since stored ids would take a third of the memory of all records.
    """

    source: str
    number: int
    at_ms: int
    kind: Kind
    visible_ms: int
    context: Mapping[str, str]
    detail: Mapping[str, str] = field(default_factory=dict)
    amount: int = 1

    @property
    def id(self) -> str:
        """Return the unique id."""
        return f"{self.source}-{self.number}"

    def get(self, name: str) -> str:
        """Return the attribute ``name``, or an empty text if there is none."""
        return self.detail.get(name) or self.context.get(name, "")


def relative_volume(hour: int) -> float:
    """Return the traffic of an hour, counted since 1970, relative to the first year's mean."""
    weekday = (hour // 24 + 3) % 7  # 1970-01-01 was a Thursday
    years = (hour - BIRTH_HOUR) / 8766  # hours in a year
    season = 1 + 0.15 * math.cos(2 * math.pi * years)
    trend = 1 + 0.2 * max(years, 0.0)
    return _BY_HOUR[hour % 24] * _BY_WEEKDAY[weekday] * season * trend


def known_users(hour: int, per_hour: float) -> int:
    """Return how many users the bot had met before ``hour``, without replaying its history.

    New users follow a closed form, so that the level of any hour costs nothing and rises by exactly
    the new users of each hour.
    """
    since = max(hour - BIRTH_HOUR, 0)
    days = since // 24 + _UNTIL_HOUR[since % 24]
    return math.floor(per_hour * 24 * NEW_SHARE * days)


def occurrences(seed: int, hour: int, per_hour: float, late_share: float) -> Iterator[Occurrence]:
    """Yield everything in the conversations that begin in an hour, the same each time."""
    if hour < BIRTH_HOUR:
        return
    rng = random.Random(f"{seed}/{hour}")  # noqa: S311 - scripted traffic
    mean = per_hour * relative_volume(hour)
    known = known_users(hour, per_hour)
    new = known_users(hour + 1, per_hour) - known
    for number in range(max(new, round(rng.gauss(mean, mean**0.5)))):
        at_ms = hour * HOUR_MS + rng.randrange(HOUR_MS)
        is_new = number < new
        index = known + number if is_new else returning_user(rng, known, per_hour)
        lag_ms = _lag(rng, late_share)
        user = sys.intern(f"user-{index}")  # users return, and a month of records is kept
        yield from conversation(
            f"{seed}-{hour}-{number}", at_ms, user, is_new=is_new, lag_ms=lag_ms, late=late_share
        )


def returning_user(rng: random.Random, known: int, per_hour: float) -> int:
    """Return the index of one of the ``known`` users, most likely a recent one."""
    mean_age = max(per_hour * 24 * NEW_SHARE * RECENCY_DAYS, 1.0)
    return max(known - 1 - int(rng.expovariate(1 / mean_age)), 0)


def _lag(rng: random.Random, late_share: float) -> int:
    return rng.randrange(60_000, LATEST_MS) if _chance(rng, late_share) else 0


def _chance(rng: random.Random, share: float) -> bool:
    return rng.random() < share


Step = tuple[int, Kind, dict[str, str], int]


def conversation(
    name: str,
    start_ms: int,
    user: str,
    *,
    is_new: bool = False,
    lag_ms: int = 0,
    late: float = 0,
) -> Iterator[Occurrence]:
    """Yield everything in a conversation, its start first; most depends on its name only.

    ``lag_ms`` is how late its start is visible, ``late`` the share of the rest that is late.
    """
    rng = random.Random(name)  # noqa: S311 - scripted traffic
    context = {
        "user": user,
        "conversation": name,
        "channel": rng.choice(CHANNELS),
        "environment": rng.choice(ENVIRONMENTS),
    }
    greeted = Kind.NEW_USER if is_new else Kind.RETURNING_USER
    for number, kind in enumerate((Kind.CONVERSATION_STARTED, greeted)):
        yield Occurrence(name, number, start_ms, kind, start_ms + lag_ms, context)
    for number, (at_ms, kind, detail, amount) in enumerate(_steps(rng, start_ms), start=2):
        visible_ms = at_ms + _lag(rng, late)
        shared = _shared(tuple(detail.items()))
        one = Occurrence(name, number, at_ms, kind, visible_ms, context, shared, amount)
        yield one
        if kind is Kind.TOKENS:
            yield from _billed(one)


def _billed(tokens: Occurrence) -> Iterator[Occurrence]:
    """Yield the cost of tokens and the call behind them; all share one id and vanish together."""
    direction = tokens.get("token_type")
    yield replace(tokens, kind=Kind.LLM_COST, amount=tokens.amount * PRICES[direction])
    if direction == "input":
        yield replace(tokens, kind=Kind.LLM_CALL, amount=1)


@lru_cache(maxsize=1000)
def _shared(detail: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    # Details repeat; a dict for each record would be half of its memory.
    return dict(detail)


def _steps(rng: random.Random, start_ms: int) -> Iterator[Step]:
    at_ms = start_ms
    interaction_type = "test" if _chance(rng, 0.05) else "live"
    for _ in range(rng.randint(1, 8)):
        yield from _turn(rng, at_ms, interaction_type)
        at_ms += rng.randrange(4_000, 60_000)
    yield from _ending(rng, start_ms, at_ms)


def _turn(rng: random.Random, at_ms: int, interaction_type: str) -> Iterator[Step]:
    yield at_ms, Kind.INTERACTION, {"interaction_type": interaction_type}, 1
    yield at_ms, Kind.MESSAGE_RECEIVED, {"text": rng.choice(TEXTS)}, 1
    if _chance(rng, 0.12):
        yield at_ms, Kind.NLP_MISS, {}, 1
        yield at_ms + 500, Kind.FALLBACK, {}, 1
    else:
        yield at_ms, Kind.NLP_MATCH, {"intent": rng.choice(INTENTS)}, 1
        yield from _action(rng, at_ms)
    for number in range(rng.randint(1, 2)):
        yield at_ms + 900 + number, Kind.MESSAGE_SENT, {}, 1


def _action(rng: random.Random, at_ms: int) -> Iterator[Step]:
    ok = "false" if _chance(rng, 0.04) else "true"
    match rng.randrange(6):
        case 0:
            yield at_ms + 100, Kind.API_CALL, {"tool": rng.choice(list(TOOLS)), "ok": ok}, 1
        case 1:
            detail = {"function": rng.choice(list(FUNCTIONS)), "ok": ok}
            yield at_ms + 100, Kind.FUNCTION_CALL, detail, 1
        case 2:
            detail = {"integration": rng.choice(INTEGRATIONS), "ok": ok}
            yield at_ms + 100, Kind.INTEGRATION_CALL, detail, 1
        case 3:
            place = rng.choice(PLACES)
            model = rng.choice(MODELS)
            yield at_ms + 100, Kind.KB_HIT, {"document": rng.choice(DOCUMENTS)}, 1
            for token_type, most in (("input", 4000), ("output", 400)):
                detail = {"model": model, "token_type": token_type, **place}
                yield at_ms + 200, Kind.TOKENS, detail, rng.randint(20, most)
        case 4:
            yield at_ms + 100, Kind.FLOW_TRIGGER, {"flow": rng.choice(list(FLOWS))}, 1
        case _:
            yield at_ms + 100, Kind.SEARCH, {}, 1


def _ending(rng: random.Random, start_ms: int, at_ms: int) -> Iterator[Step]:
    if _chance(rng, 0.15):
        yield at_ms, Kind.GOAL, {"goal": rng.choice(GOALS)}, 1
    if _chance(rng, 0.06):
        yield at_ms, Kind.HANDOVER, {}, 1
        yield at_ms + 30_000, Kind.OPERATOR_MESSAGE_SENT, {}, 1
    if _chance(rng, 0.10):
        yield at_ms, Kind.FEEDBACK, {"rating": rng.choice(RATINGS)}, 1
    yield at_ms, Kind.CONVERSATION_ENDED, {}, (at_ms - start_ms) // 1000
