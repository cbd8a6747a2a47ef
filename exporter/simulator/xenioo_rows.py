"""The truth as rows of Xenioo's statistics: a value per group, bot, channel and event."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

from exporter.simulator.conversations import Kind
from exporter.simulator.times import DAY_MS, HOUR_MS
from exporter.simulator.traffic import Traffic, Window

EVENTS = (
    "New User",
    "Returning User",
    "Active User",
    "Messages",
    "Action Messages",
    "Fallback Reply",
    "NLP Detected",
    "NLP Missed",
    "Conversation Length",
    "Time To Pick Up",
    "Takeover Rate",
    "Support Conversation Length",
    "Goal Reached",
    "Incoming Message",
    "API Request",
    "API Request Error",
    "Time To First Message",
    "Operator Message",
)
"""The events of an account by their codes."""

CHANNELS = {"": "Web", "web": "Web", "whatsapp": "WhatsApp", "messenger": "Facebook"} | {
    "telegram": "Telegram"
}
FORMS = {"hour": "%Y-%m-%d %H", "day": "%Y-%m-%d"}

ROW_MODES = frozenset(
    {
        "zero_filled",  # every event of every known bot and channel in every group
        "same_names",  # all bots are called the same
        "second_number",  # one more number in each row
        "lower_keys",  # groupLabel → grouplabel
        "codes_as_events",  # EventLabel is the code
        "shouted_events",  # EventLabel in capitals, without spaces
        "zone",  # of= the account, by whole hours from UTC, which it is otherwise
        "rolling_days",  # 24 h a day until now; otherwise today and the days before
    }
)


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot of the account; what happens in the environment ``staging`` is the second one's."""

    key: str
    name: str


BOTS = (Bot("Kq7RtZ2mXw9LpV4s", "Shop bot"), Bot("Hn3YcB8vFd6JgT1e", 'Größe "XL" 👟'))


@dataclass(frozen=True, slots=True)
class StatisticsScope:
    """What is asked for, by whom and when."""

    now_ms: int
    bots: tuple[Bot, ...]
    types: tuple[int, ...]
    mode: str
    days: int
    zone: tzinfo
    modes: Mapping[str, Mapping[str, Any]]

    @property
    def start_ms(self) -> int:
        """Return where the days begin that were asked for."""
        if "rolling_days" in self.modes:
            return self.now_ms - self.days * DAY_MS
        today = self.local(self.now_ms).date()
        first = datetime.combine(today - timedelta(days=self.days - 1), time(), self.zone)
        return round(first.timestamp() * 1000)

    def local(self, at_ms: int) -> datetime:
        """Return an instant in the account's time zone."""
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self.zone)

    def group(self, at_ms: int) -> str:
        """Return the label of the group that an instant belongs to."""
        return self.local(at_ms).strftime(FORMS[self.mode])

    @property
    def window(self) -> Window:
        """Return what is asked for, to this instant."""
        return self.start_ms, self.now_ms + 1


Place = tuple[str, str, str]
"""A group's label, the key of a bot, the name of a channel."""


@dataclass(slots=True)
class Cell:
    """What happened in one place."""

    counts: Counter[Kind] = field(default_factory=Counter)
    users: defaultdict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    failures: int = 0

    def value(self, code: int) -> float | None:
        """Return the value of an event; None for an average of nothing."""
        if code in _AVERAGES:
            factor, of, per = _AVERAGES[code]
            return (
                round(factor * self.counts[of] / self.counts[per], 2) if self.counts[per] else None
            )
        if code in _DISTINCT:
            return len(self.users[_DISTINCT[code]])
        if code == API_ERRORS:
            return self.failures
        return sum(self.counts[kind] for kind in _COUNTED[code])


API_ERRORS = 15
_COUNTED = {
    0: (Kind.NEW_USER,),
    3: (Kind.MESSAGE_RECEIVED, Kind.MESSAGE_SENT, Kind.OPERATOR_MESSAGE_SENT),
    4: (Kind.FLOW_TRIGGER,),
    5: (Kind.FALLBACK,),
    6: (Kind.NLP_MATCH,),
    7: (Kind.NLP_MISS,),
    12: (Kind.GOAL,),
    13: (Kind.MESSAGE_RECEIVED,),
    14: (Kind.API_CALL,),
    17: (Kind.OPERATOR_MESSAGE_SENT,),
}
_DISTINCT = {1: Kind.RETURNING_USER, 2: Kind.MESSAGE_RECEIVED}
_AVERAGES = {
    8: (7.5, Kind.MESSAGE_RECEIVED, Kind.CONVERSATION_STARTED),
    9: (30.5, Kind.HANDOVER, Kind.HANDOVER),
    10: (100, Kind.HANDOVER, Kind.CONVERSATION_STARTED),
    11: (60.25, Kind.OPERATOR_MESSAGE_SENT, Kind.HANDOVER),
    16: (1.5, Kind.MESSAGE_SENT, Kind.CONVERSATION_STARTED),
}
"""Made-up averages: so much for each of the first, per each of the second."""

_COUNTED_KINDS = frozenset(
    [kind for kinds in _COUNTED.values() for kind in kinds]
    + list(_DISTINCT.values())
    + [kind for _, of, per in _AVERAGES.values() for kind in (of, per)]
)


def rows(traffic: Traffic, scope: StatisticsScope) -> list[dict[str, Any]]:
    """Return the rows of ``scope``, in no order."""
    cells = _cells(traffic, scope)
    if "zero_filled" in scope.modes:
        cells = _filled(cells, scope)
    names = {bot.key: BOTS[0].name if "same_names" in scope.modes else bot.name for bot in BOTS}
    found = [
        _row(scope, place, names[place[1]], code, value)
        for place, cell in cells.items()
        for code in scope.types
        if (value := cell.value(code)) or (value == 0 and "zero_filled" in scope.modes)
    ]
    return sorted(found, key=_shuffled)


def _cells(traffic: Traffic, scope: StatisticsScope) -> dict[Place, Cell]:
    cells: defaultdict[Place, Cell] = defaultdict(Cell)
    for kind in _COUNTED_KINDS:
        for place, _, number in _sums(traffic, scope, kind):
            cells[place].counts[kind] += number
    for place, _, number in _sums(traffic, scope, Kind.API_CALL, ok="false"):
        cells[place].failures += number
    for kind in _DISTINCT.values():
        for place, user, _ in _sums(traffic, scope, kind, "user"):
            cells[place].users[kind].add(user)
    return cells


def _sums(
    traffic: Traffic, scope: StatisticsScope, kind: Kind, *more: str, **only: str
) -> Iterator[tuple[Place, str, int]]:
    """Yield how often ``kind`` happened in each place, by one attribute more where it is named."""
    by = ("environment", "channel", *more)
    sums = traffic.hourly(kind, scope.window, scope.now_ms, by=by, **only)
    labels = {hour_ms: scope.group(hour_ms) for hour_ms in {key[0] for key in sums}}
    for (hour_ms, *values), number in sums.items():
        environment, channel, *rest = map(str, values)
        bot = BOTS[environment == "staging"]
        if bot in scope.bots:
            place = labels[hour_ms], bot.key, CHANNELS.get(channel, channel)
            yield place, "".join(rest), number


def _filled(cells: Mapping[Place, Cell], scope: StatisticsScope) -> dict[Place, Cell]:
    pairs = {(bot, channel) for _, bot, channel in cells}
    groups = {scope.group(at_ms) for at_ms in range(*scope.window, HOUR_MS)}
    empty = {(group, *pair): Cell() for group in groups for pair in pairs}
    return empty | dict(cells)


def _row(
    scope: StatisticsScope, place: Place, name: str, code: int, value: float
) -> dict[str, Any]:
    modes = scope.modes
    event = EVENTS[code]
    if "codes_as_events" in modes:
        event = str(code)
    if "shouted_events" in modes:
        event = event.upper().replace(" ", "")
    row = {
        "GroupLabel": place[0],
        "BotName": name,
        "ChannelName": place[2],
        "EventLabel": event,
        "Value": value,
    }
    if "second_number" in modes:
        row["Previous"] = value + 1
    return {key.lower(): cell for key, cell in row.items()} if "lower_keys" in modes else row


def _shuffled(row: Mapping[str, Any]) -> bytes:
    return hashlib.blake2b(repr(row).encode(), digest_size=8).digest()
