"""What a target asks that a manifest describes: one query for each query, and each of its loop."""

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.errors import Unauthorized
from exporter.model.families import NORMALISED
from exporter.model.query import Budget, Cost
from exporter.model.samples import HOUR_MS
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, spec_for
from exporter.providers.manifest import mapping
from exporter.providers.manifest.mapping import BoundQuery
from exporter.providers.manifest.options import ManifestOptions
from exporter.providers.manifest.reader import ManifestReader
from exporter.providers.manifest.requests import ManifestAccount, RequestBuilder

MEANING: Any = {
    "request": {"method", "path", "params", "arrays", "body"},
    "window": {"bucket", "timezone", "end"},
    **dict.fromkeys(("shape", "rows", "at", "until", "id", "mutable", "only", "excluded"), True),
    **dict.fromkeys(("labels", "null_labels", "count"), True),
}
"""What of a query changes what its numbers mean; the rest may change without a new baseline."""

MORE = "more calls where an answer has several pages"


def queries(options: ManifestOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target."""
    account = ManifestAccount(options)
    known = NORMALISED | {family.name: family for family in options.manifest.families}
    for name in options.queries or options.manifest.queries:
        for each, query in mapping.bind(options.manifest.queries[name], known, options.texts()):
            yield _query(options, settings, account, query, each)


def _query(
    options: ManifestOptions,
    settings: LabelSettings,
    account: ManifestAccount,
    query: BoundQuery,
    each: Mapping[str, str],
) -> Query:
    requests = RequestBuilder(query.settings, options.texts(), each)
    name = "/".join((query.name, *each.values()))
    meaning = query.settings.model_dump(include=MEANING) | {"each": each}
    meaning |= {"per_unit": {each.family.name: each.family.per_unit for each in query.feeds}}
    spec = spec_for(
        options,
        settings,
        name,
        requests.endpoint,
        [_feed(bound) for bound in query.feeds],
        meaning={"query": meaning, "variables": options.texts()},
        label_rules=query.label_rules,
        **_traits(options, query),
    )
    return ManifestReader(spec, query, requests, account)


def _traits(options: ManifestOptions, query: BoundQuery) -> dict[str, Any]:
    """Return what the manifest says of windows and costs; the target's own settings come first."""
    asked, given = query.settings, options.model_fields_set
    window, budget = asked.window, options.manifest.settings.rate.budget
    stream = asked.shape == "records" and not asked.mutable
    traits: dict[str, Any] = {
        "granularity_ms": window.bucket,
        "span_ms": window.bucket if asked.shape == "range" else window.max_span,
        "stream": stream,
        "cost": Cost(page_rows=asked.pages.size, note="" if asked.pages.kind == "none" else MORE),
    }
    if "settle" not in given:
        traits["settle_ms"] = window.settle
    if "lookback" not in given:
        traits["lookback_ms"] = window.lookback
    if asked.interval is not None and "interval" not in given:
        traits["interval_ms"] = asked.interval
    if window.bucket > HOUR_MS:  # days are those of UTC
        traits["timezone"] = "UTC"
    if stream:  # a bound as coarse as a bucket leaves out the open one until it is over
        lookback_ms = max(traits.get("lookback_ms", options.lookback), window.bucket)
        traits |= {"lookback_ms": lookback_ms, "ids_kept_ms": lookback_ms + HOUR_MS}
    if budget is not None:
        name = f"manifest/{options.manifest.settings.name}/{options.name}"
        traits["budget"] = Budget(name, budget.per // budget.calls)
    return traits


def _feed(bound: mapping.BoundFeed) -> Feed:
    """Return a family and its field; a series whose labels are all known shows 0 from the start."""
    additive = bound.feed.of == "additive"
    return Feed(bound.family, bound.feed.field, bound.constants if additive else None)


def _keys(options: ManifestOptions) -> Mapping[str, str]:
    return ManifestAccount(options).read()


def _sign(options: ManifestOptions) -> Mapping[str, str]:
    headers = ManifestAccount(options).sign()
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise Unauthorized("a header holds a character that no request can carry")
    return headers


PROVIDER = Provider(
    name="manifest",
    options=ManifestOptions,
    families=(),
    feeds=frozenset[str](),
    sign=_sign,
    queries=queries,
    keys=_keys,
)
