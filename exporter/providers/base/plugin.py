"""The plugin interface: what a provider is given, and what it returns."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from exporter.clock import Clock
from exporter.config.model import Limits, Privacy, Secret, TargetOptions
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.logs import hide
from exporter.model.query import LabelRule, PollRequest, QuerySpec
from exporter.model.samples import Family, MetricType, Readings
from exporter.providers.base.rows import Labels


class Query(Protocol):
    """What a target requests, and how to read the answers; ``DeclaredQuery`` fits most APIs.

    ``read``, an async generator, yields complete readings, oldest first, which together cover
    ``request.window``; all but the last have ``more`` set. Each is applied on its own. It raises a
    ``ProviderError`` if a part cannot be read.
    """

    @property
    def spec(self) -> QuerySpec: ...

    def read(self, client: ApiClient, request: PollRequest, /) -> Readings: ...


@dataclass(frozen=True, slots=True)
class CustomQuery:
    """A query with its own way of reading: a spec and a reader."""

    spec: QuerySpec
    read: Callable[[ApiClient, PollRequest], Readings]


@dataclass(frozen=True, slots=True)
class Target:
    """One configured account: its address, how to sign requests, and its queries."""

    name: str
    provider: str
    base_url: str
    sign: Callable[[], Mapping[str, str]]
    requests_per_second: float
    queries: tuple[Query, ...]
    keys: Callable[[], Mapping[str, str]] | None = None

    def client(self, transport: Transport, clock: Clock) -> ApiClient:
        """Return a client for a command's few requests: it observes nothing, reads keys inline."""
        return ApiClient(
            base_url=self.base_url,
            sign=self.sign,
            transport=transport,
            clock=clock,
            requests_per_second=self.requests_per_second,
        )


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """The file-wide settings that limit labels: caps, lengths, and the use of users' texts."""

    limits: Limits
    privacy: Privacy


@dataclass(frozen=True, slots=True)
class Provider:
    """A plugin: its name in ``exporter.yaml``, the model of its settings, its families and queries.

    ``families`` are the provider's own, ``feeds`` the names of those of ``exporter.model.families``
    that it feeds. ``sign`` returns the headers that sign a request; if they do not change with the
    account's key, ``keys`` returns something that does. Both read the secret each time.
    """

    name: str
    options: type[TargetOptions]
    families: tuple[Family, ...]
    feeds: frozenset[str]
    sign: Callable[[Any], Mapping[str, str]]
    queries: Callable[[Any, LabelSettings], Iterable[Query]]
    keys: Callable[[Any], Mapping[str, str]] | None = None

    def build(self, options: TargetOptions, settings: LabelSettings) -> Target:
        """Return the target that ``options`` describe."""
        return Target(
            name=options.name,
            provider=options.vendor,
            base_url=options.base_url,
            sign=partial(self.sign, options),
            requests_per_second=options.requests_per_second,
            queries=tuple(self.queries(options, settings)),
            keys=self.keys and partial(self.keys, options),
        )


@dataclass(frozen=True, slots=True)
class Feed:
    """A family that a query feeds, and the field of the answer behind it, which ``explain`` shows.

    ``known`` are the label values, after ``provider, target``, of a series that shows 0 from the
    start.
    """

    family: Family
    field: str
    known: tuple[str, ...] | None = None


def spec_for(
    options: TargetOptions,
    settings: LabelSettings,
    name: str,
    endpoint: str,
    feeds: Sequence[Feed] = (),
    *,
    meaning: Mapping[str, Any] | None = None,
    schema: int = 1,
    label_rules: Mapping[str, LabelRule] | None = None,
) -> QuerySpec:
    """Return query ``name``, which requests ``endpoint`` (``GET /path``), as ``options`` set it.

    Endpoint, ``meaning`` (filters, groups) and ``schema`` make its fingerprint: a change begins a
    new baseline. Raise ``schema`` when the code reads the same answer differently. Callers replace
    traits that the API dictates, such as the longest span.
    """
    rules = label_rules or {}
    labels = Labels(rules, settings.limits.label_value_bytes)
    known = [labels.series(each.family, *each.known) for each in feeds if each.known is not None]
    write_off = options.write_off_after
    counts = any(each.family.kind is MetricType.COUNTER for each in feeds)
    return QuerySpec(
        target=options.name,
        provider=options.vendor,
        name=name,
        meaning={"endpoint": endpoint, "schema": schema, **(meaning or {})},
        interval_ms=options.interval,
        settle_ms=options.settle,
        lookback_ms=options.lookback,
        initial_lookback_ms=options.initial_lookback if counts else None,
        zero_hold_ms=options.zero_hold,
        write_off_after_ms=None if write_off == "never" else write_off,
        timezone=options.timezone,
        holidays=options.holidays,
        history=options.start == "history",
        period_gauges=options.period_gauges,
        label_rules=rules,
        label_value_bytes=settings.limits.label_value_bytes,
        caps={each.family.name: each.family.cap for each in feeds} | settings.limits.families,
        target_cap=settings.limits.series_per_target,
        total_cap=settings.limits.series_total,
        known=tuple(dict.fromkeys(known)),
        fields={each.family.name: each.field for each in feeds},
        per_unit={f.family.name: f.family.per_unit for f in feeds if f.family.per_unit > 1},
    )


def key_of(secret: Secret) -> str:
    """Return the current key; raise ``Unauthorized`` if it is unreadable, or no request can carry it."""
    return hide(secret.read())


def budget_name(provider: str, account: str) -> str:
    """Return the name of an account's call budget; it does not disclose what ``account`` holds."""
    digest = hashlib.blake2b(account.encode(), digest_size=16, person=b"account")
    return f"{provider}/{digest.hexdigest()}"


def bearer(secret: Secret) -> Mapping[str, str]:
    """Return the header that signs a request with ``secret`` as a bearer token."""
    return {"Authorization": f"Bearer {key_of(secret)}"}
