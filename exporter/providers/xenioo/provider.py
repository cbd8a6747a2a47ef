"""A Xenioo target: one statistics call per hour, for all bots and types, budgeted in advance.

Source: https://docs.xenioo.com, "Account Statistics Data"
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, TypeAlias
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, field_validator

from exporter.config.model import Duration, Secret, Strict, TargetOptions, Url
from exporter.config.values import can_be_sent, invalid
from exporter.errors import (
    ProviderError,
    Refused,
    SchemaError,
    ServerError,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from exporter.http_client.client import ApiCall, ApiClient
from exporter.logs import hide
from exporter.model.families import MESSAGES_SENT
from exporter.model.numbers import parse_number
from exporter.model.query import Budget, Cost, PollRequest, QuerySpec
from exporter.model.samples import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Reading,
    Readings,
    Window,
    ceil_to,
    floor_to,
)
from exporter.providers.base.plugin import (
    LabelSettings,
    Provider,
    Query,
    budget_name,
    key_of,
    spec_for,
)
from exporter.providers.xenioo import mapping
from exporter.providers.xenioo.mapping import GroupMode, closed_day, day_window

TimeUnit: TypeAlias = Literal["milliseconds", "seconds", "minutes", "hours"]
ShareUnit: TypeAlias = Literal["percent", "ratio"]

AUTHORIZATION = "/authorization/integration"
RENEW_AT = 0.8
PATH = "/analytics/statistics/account"
TYPES = ",".join(str(code) for code in range(len(mapping.STATISTICS)))
MAX_DAYS = 30
DAYS_FOR_A_DAY = 3  # contains all of yesterday, however the vendor counts days
MAX_EXTRA_WAIT_S = 300
_PROBE = datetime(2024, 2, 29, 13, tzinfo=UTC)


def _unit_of(code: str) -> Any:
    return Field(default=None, description=f"the unit of code {code}")


class Units(BaseModel):
    """Units of values that Xenioo returns without one; None exports them as returned."""

    model_config = Strict

    conversation_length: TimeUnit | None = _unit_of("8, Conversation Length")
    time_to_pick_up: TimeUnit | None = _unit_of("9, Time To Pick Up")
    support_conversation_length: TimeUnit | None = _unit_of("11, Support Conversation Length")
    time_to_first_message: TimeUnit | None = _unit_of("16, Time To First Message")
    takeover_rate: ShareUnit | None = _unit_of("10, Takeover Rate")


class XeniooOptions(TargetOptions):
    """One Xenioo account: ``bot`` is ``*``, or the API key of one of its bots.

    ``label_format`` is the ``strptime`` format of group labels, if it is not a usual one.
    """

    base_url: str = "https://publicapi.xenioo.com"
    requests_per_second: float = Field(default=0, ge=0)
    interval: Duration = HOUR_MS
    account_key: Secret = Field(
        description="the account's API key; targets with the same key share its one call per hour"
    )
    service_url: Url = Field(
        description="the account's service endpoint, where the key is exchanged for a token"
    )
    bot: str = Field(
        default="*", min_length=1, repr=False, description="every bot, or the API key of one"
    )
    value_field: str | None = Field(
        default=None,
        min_length=1,
        description="the member of a row that holds its value, if a row has several numbers",
    )
    label_format: str | None = Field(
        default=None,
        min_length=1,
        description="the `strptime` format of group labels, down to the hour; tried before the usual ones",
    )
    units: Units = Field(
        default=Units(),
        description="units of values that Xenioo returns without one; a unit replaces the raw "
        "gauge with the normalised one",
    )
    messages_are_sent: bool = Field(
        default=False,
        description="count type 3, Messages, as messages sent too; Xenioo does not document what it is",
    )

    @field_validator("interval")
    @classmethod
    def _is_an_hour(cls, value: int) -> int:
        if value < HOUR_MS:
            raise invalid("interval", "below the provider's limit of one call an hour", "use 1h")
        return value

    @field_validator("label_format")
    @classmethod
    def _tells_hours_apart(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = None
        with suppress(ValueError, re.error):  # no such directive; one that comes twice
            found = datetime.strptime(_PROBE.strftime(value), value)  # noqa: DTZ007
        if found is None or found.replace(tzinfo=UTC) != _PROBE:
            words = "the format does not tell one hour from all others"
            raise invalid("format", words, "as in %d/%m/%Y %H:%M")
        return value


class AccessTokens:
    """Exchanges the account key for tokens, and keeps each until its renewal is due."""

    def __init__(self, account_key: Secret, service_url: str) -> None:
        self._read_key = partial(key_of, account_key)
        self._service_url = service_url
        self._token = ""
        self._key = ""
        self._renew_ms = 0.0

    async def current(self, client: ApiClient, now_ms: int, *, renew: bool = False) -> str:
        """Return a token for the current key, kept or new."""
        key = await client.read_key(self._read_key)
        if renew or key != self._key or now_ms >= self._renew_ms:
            await self._request(client, key, now_ms)
        return self._token

    def expire(self) -> None:
        """Make the next call get a new token: an expired one may be answered with a 400."""
        self._renew_ms = 0.0

    async def _request(self, client: ApiClient, key: str, now_ms: int) -> None:
        call = ApiCall(
            "POST", AUTHORIZATION, json={"AccountAPIKey": key}, base=self._service_url, signed=False
        )
        try:
            response = await client.fetch(call, dict[str, Any])
        except Refused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            unknown = f"{call.endpoint}: HTTP 404; the account key is unknown there"
            raise Unauthorized(unknown, status=error.status) from None
        # The vendor's pages spell these names in three ways.
        members = {name.casefold(): value for name, value in response.items()}
        token = members.get("token")
        if not isinstance(token, str) or not (token and can_be_sent(token)):
            raise SchemaError(f"{call.endpoint}: token: missing", "missing")
        lives_min = parse_number(members.get("expires", members.get("expire"))) or 0
        self._token, self._key = hide(token), key
        self._renew_ms = now_ms + RENEW_AT * min(lives_min * MINUTE_MS, DAY_MS)


@dataclass(frozen=True, slots=True)
class StatisticsQuery:
    """Reads hours or, once per local day, that day's distinct counts and averages.

    In the memo, ``day`` is the newest day read and ``trying`` a day whose call was sent.
    """

    spec: QuerySpec
    options: XeniooOptions
    tokens: AccessTokens

    async def read(self, client: ApiClient, request: PollRequest, /) -> Readings:
        """Yield one reading: hours of ``request.window``, or the newest settled day."""
        token = await self.tokens.current(client, request.now_ms)
        day = self._day_due(request)
        await request.spend()
        if day is None:
            yield await self._hours(client, request, token)
            return
        # Committed before the call is sent: if it fails, the next call is for hours.
        nothing = Window(request.now_ms, request.now_ms)
        trying = {**request.memo, "trying": day.isoformat()}
        yield Reading(nothing, gauges_only=True, memo=trying, more=True)
        yield await self._day(client, request, token, day)

    def _day_due(self, request: PollRequest) -> date | None:
        """Return the day that this call is for; None for hours, as at the first poll.

        After an outage hours come first: the oldest may soon be beyond the API's reach.
        """
        day = closed_day(request.now_ms - self.options.settle, self.options.timezone)
        seen = {request.memo.get("day"), request.memo.get("trying")}
        hours_first = request.first or is_behind(
            request.window, request.now_ms, self.options.lookback
        )
        return None if hours_first or day.isoformat() in seen else day

    async def _hours(self, client: ApiClient, request: PollRequest, token: str) -> Reading:
        days = days_for(request.window, request.now_ms, self.options.lookback)
        rows = await self._rows(client, request, token, "hour", days)
        reading = mapping.hours_to_reading(
            rows,
            self._row_format("hour"),
            self.spec,
            window=request.window,
            now_ms=request.now_ms,
            certain_ms=certain_ms(days, request.now_ms, self.options.timezone),
        )
        memo = {name: value for name, value in request.memo.items() if name != "trying"}
        return replace(reading, memo=memo)

    async def _day(self, client: ApiClient, request: PollRequest, token: str, day: date) -> Reading:
        rows = await self._rows(client, request, token, "day", DAYS_FOR_A_DAY)
        window = day_window(day, self.options.timezone)
        reading = mapping.day_to_reading(
            rows, self._row_format("day"), self.spec, day=window, now_ms=request.now_ms
        )
        return replace(reading, memo={"day": day.isoformat()})

    async def _rows(
        self, client: ApiClient, request: PollRequest, token: str, mode: GroupMode, days: int
    ) -> list[dict[str, Any]]:
        """Return the response; a 401 renews the token once, without spending a second call."""
        try:
            try:
                return await client.fetch(self._call(mode, days, token), list[dict[str, Any]])
            except Unauthorized as error:
                if error.status != HTTPStatus.UNAUTHORIZED:
                    raise
            token = await self.tokens.current(client, request.now_ms, renew=True)
            return await client.fetch(self._call(mode, days, token), list[dict[str, Any]])
        except (Refused, ServerError, Throttled, TimedOut, Unauthorized, Unreachable) as error:
            self.tokens.expire()
            raise with_hourly_wait(error, wait_s(self.options.name, request.now_ms)) from None

    def _call(self, mode: GroupMode, days: int, token: str) -> ApiCall:
        return ApiCall(
            "GET",
            f"{PATH}/{quote(self.options.bot, safe='*')}/{TYPES}/{mode}/{days}",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            label=f"{PATH}/…/{mode}/{days}",  # the path may contain a bot's key
            signed=False,
            retries=0,
        )

    def _row_format(self, mode: GroupMode) -> mapping.RowFormat:
        given = self.options
        names = given.label_format, given.value_field
        units = given.units.model_dump(exclude_none=True)
        return mapping.RowFormat(mode, given.timezone, *names, units, given.messages_are_sent)


def is_behind(window: Window, now_ms: int, lookback_ms: int) -> bool:
    """Return whether ``window`` reaches back further than the lookback, as after an outage."""
    return floor_to(now_ms, HOUR_MS) - window.start_ms > lookback_ms + HOUR_MS


def days_for(window: Window, now_ms: int, lookback_ms: int) -> int:
    """Return DAYS: enough for ``window``, and a day to spare after an outage."""
    if not is_behind(window, now_ms, lookback_ms):
        return min(ceil_to(lookback_ms, DAY_MS) // DAY_MS + 1, MAX_DAYS)
    return min(ceil_to(now_ms - window.start_ms, DAY_MS) // DAY_MS + 2, MAX_DAYS)


def certain_ms(days: int, now_ms: int, zone: str) -> int:
    """Return the instant since which ``days`` of history are complete.

    It is not documented whether they are days of 24 hours before now, or today and the local days
    before it; return the later of the two.
    """
    today = datetime.fromtimestamp(now_ms / SECOND_MS, ZoneInfo(zone)).date()
    midnight_ms = day_window(today - timedelta(days=days - 1), zone).start_ms
    return max(midnight_ms, now_ms - days * DAY_MS)


def wait_s(target: str, now_ms: int) -> float:
    """Return the seconds in an hour plus up to five minutes, spread over targets and calls."""
    digest = hashlib.blake2b(f"{target}/{now_ms}".encode(), digest_size=4).digest()
    return HOUR_MS / SECOND_MS + MAX_EXTRA_WAIT_S * int.from_bytes(digest) / 2**32


def with_hourly_wait(error: ProviderError, least_s: float) -> ProviderError:
    """Return the error of a failed statistics call, which rules out another for an hour.

    How Xenioo rejects a call that comes too early is not documented, so any answer may mean that,
    and a call without an answer may count. A shorter ``Retry-After`` does not help.
    """
    wait = max(least_s, error.retry_after_s or 0.0)
    match error:
        case Refused(status=404):
            return error
        case Unauthorized(status=401):
            return Unauthorized(str(error), wait, status=HTTPStatus.UNAUTHORIZED)
        case TimedOut() | Unreachable():
            return type(error)(f"{error}; waiting for the next hour", wait)
        case _:
            return Throttled(f"{error}; waiting for the next hour", wait)


def account_name(account_key: Secret) -> str:
    """Return the name of the account's budget, which does not disclose the account key.

    If the key cannot be read now, targets with the same reference to it share a budget.
    """
    try:
        key = key_of(account_key)
    except Unauthorized:
        key = repr(account_key)
    return budget_name("xenioo", key)


def queries(options: XeniooOptions, settings: LabelSettings) -> list[Query]:
    """Return the one query of a target."""
    sent = options.messages_are_sent
    feeds = [each for each in mapping.FEEDS if sent or each.family is not MESSAGES_SENT]
    meaning = {
        "bot": options.bot,
        "types": TYPES,
        "group": "hour",
        "timezone": options.timezone,
        "value_field": options.value_field,
        # Only if set, so that the fingerprint of other targets stays what their ledgers have.
        **({"messages": "sent"} if sent else {}),
    }
    spec = replace(
        spec_for(options, settings, "statistics", f"GET {PATH}", feeds, meaning=meaning),
        local_hours=True,
        reach_ms=MAX_DAYS * DAY_MS,
        cost=Cost(note="access tokens need calls of their own, about one per hour"),
        budget=Budget(account_name(options.account_key), HOUR_MS, margin_ms=MINUTE_MS),
    )
    tokens = AccessTokens(options.account_key, options.service_url)
    return [StatisticsQuery(spec, options, tokens)]


PROVIDER = Provider(
    name="xenioo",
    options=XeniooOptions,
    families=mapping.OWN_FAMILIES,
    feeds=frozenset(
        {each.family.name for each in mapping.FEEDS} - {each.name for each in mapping.OWN_FAMILIES}
    ),
    sign=lambda _: {},
    queries=queries,
    keys=lambda options: {"account": key_of(options.account_key)},
)
