"""The plugin interface: what a provider is given, and what it gives."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from exporter.api import Api
from exporter.config.model import Limits, Privacy, TargetOptions
from exporter.query import Ask, QuerySpec
from exporter.samples import Family, Reading


@dataclass(frozen=True, slots=True)
class Query:
    """One kind of request to one target, and how to read it.

    ``read`` yields one reading per stretch of ``ask.window``, oldest first, together covering all
    of it; each is applied by itself, so that progress survives a crash. It raises a
    ``ProviderError`` when a stretch cannot be had, and never yields a partial one.
    """

    spec: QuerySpec
    read: Callable[[Api, Ask], AsyncIterator[Reading]]


@dataclass(frozen=True, slots=True)
class Target:
    """One configured account: where it is, how to sign requests, what to ask."""

    name: str
    provider: str
    base_url: str
    sign: Callable[[], Mapping[str, str]]
    requests_per_second: float
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The file-wide settings that a provider's labels obey."""

    limits: Limits
    privacy: Privacy


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """A plugin: its name in ``exporter.yaml``, its settings, its own families, its targets.

    ``options`` is a subclass of ``TargetOptions`` with every key of a target of this provider;
    ``build`` turns one into a target. Normalised families are in ``exporter.families``;
    ``families`` are those that only this provider has, and ``feeds`` the normalised ones it feeds.
    """

    name: str
    options: type[TargetOptions]
    families: tuple[Family, ...]
    feeds: frozenset[str]
    build: Callable[[TargetOptions, Rules], Target]
