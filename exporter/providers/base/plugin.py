"""The plugin interface: what a provider is given, and what it gives."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

from exporter.config.model import Limits, Privacy, Secret, TargetOptions
from exporter.errors import Unauthorized
from exporter.http_client.client import ApiClient
from exporter.logs import hide
from exporter.model.query import PollRequest, QuerySpec
from exporter.model.samples import Family, Reading, Window, ceil_to, floor_to


@dataclass(frozen=True, slots=True)
class Query:
    """One kind of request to one target, and how to read it.

    ``read`` yields one reading per stretch of ``ask.window``, oldest first, together covering all
    of it; each is applied by itself, so that progress survives a crash. It raises a
    ``ProviderError`` when a stretch cannot be had, and never yields a partial one.
    """

    spec: QuerySpec
    read: Callable[[ApiClient, PollRequest], AsyncIterator[Reading]]


@dataclass(frozen=True, slots=True)
class Target:
    """One configured account: where it is, how to sign requests, what to ask.

    ``keys`` is what changes with its key, where that is not what requests are signed with.
    """

    name: str
    provider: str
    base_url: str
    sign: Callable[[], Mapping[str, str]]
    requests_per_second: float
    queries: tuple[Query, ...]
    keys: Callable[[], Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The file-wide settings that a provider's labels obey."""

    limits: Limits
    privacy: Privacy


@dataclass(frozen=True, slots=True)
class Provider:
    """A plugin: its name in ``exporter.yaml``, its settings, its own families, its targets.

    ``options`` is a subclass of ``TargetOptions`` with every key of a target of this provider;
    ``build`` turns one into a target. Normalised families are in ``exporter.model.families``;
    ``families`` are those that only this provider has, and ``feeds`` the normalised ones it feeds.
    """

    name: str
    options: type[TargetOptions]
    families: tuple[Family, ...]
    feeds: frozenset[str]
    build: Callable[[TargetOptions, Rules], Target]


def spec_for(
    options: TargetOptions, rules: Rules, name: str, meaning: Mapping[str, object]
) -> QuerySpec:
    """Return the traits of query ``name`` that the settings give to every query of a target.

    The provider replaces what is special: ``replace(spec_for(…), span_ms=…, label_rules=…)``.
    """
    write_off = options.write_off_after
    return QuerySpec(
        target=options.name,
        provider=options.provider,
        name=name,
        meaning=meaning,
        interval_ms=options.interval,
        settle_ms=options.settle,
        lookback_ms=options.lookback,
        zero_hold_ms=options.zero_hold,
        write_off_after_ms=None if write_off == "never" else write_off,
        timezone=options.timezone,
        history=options.start == "history",
        period_gauges=options.period_gauges,
        caps=rules.limits.families,
        target_cap=rules.limits.series_per_target,
        total_cap=rules.limits.series_total,
    )


def key_of(secret: Secret) -> str:
    """Return the key as it is now; raise ``Unauthorized`` if no request could carry it."""
    key = hide(secret.read())
    if not key or not key.isascii() or not key.isprintable():
        raise Unauthorized("the key is empty or holds a character that no request can carry")
    return key


def spans(window: Window, step_ms: int, span_ms: int) -> Iterator[Window]:
    """Yield ``window``, grown to whole steps, in parts of at most ``span_ms``, oldest first."""
    end_ms = ceil_to(window.end_ms, step_ms)
    for start_ms in range(floor_to(window.start_ms, step_ms), end_ms, span_ms):
        yield Window(start_ms, min(start_ms + span_ms, end_ms))


def trailing(now_ms: int, window_ms: int, step_ms: int) -> Window:
    """Return the newest whole steps before ``now_ms`` that together last ``window_ms``."""
    end_ms = floor_to(now_ms, step_ms)
    return Window(end_ms - window_ms, end_ms)
