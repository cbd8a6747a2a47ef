"""What a target asks that a manifest describes: one query for each query, and each of its loop."""

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.errors import Unauthorized
from exporter.model.query import Budget, Cost
from exporter.model.samples import HOUR_MS
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, spec_for
from exporter.providers.manifest.options import ManifestAccount, ManifestOptions
from exporter.providers.manifest.program import CompiledQuery, RowFeed
from exporter.providers.manifest.reader import ManifestReader, RequestBuilder

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
    for name in options.queries or options.manifest.queries:
        for each, query in options.manifest.queries[name].bind(options.texts()):
            yield _query(options, settings, account, query, each)


def _query(
    options: ManifestOptions,
    settings: LabelSettings,
    account: ManifestAccount,
    query: CompiledQuery,
    each: Mapping[str, str],
) -> Query:
    requests = RequestBuilder(query.settings, options.texts(), each)
    name = "/".join((query.name, *each.values()))
    meaning = query.settings.model_dump(include=MEANING) | {"each": each}
    meaning |= {"per_unit": {f.family.name: f.family.per_unit for f in query.program.feeds}}
    spec = spec_for(
        options,
        settings,
        name,
        requests.endpoint,
        [_feed(feed) for feed in query.program.feeds],
        meaning={"query": meaning, "variables": options.texts()},
        label_rules=query.label_rules,
        **_traits(options, query),
    )
    return ManifestReader(spec, query, requests, account)


def _traits(options: ManifestOptions, query: CompiledQuery) -> dict[str, Any]:
    """Return what the manifest says of windows and costs; the target's own settings come first."""
    asked, given = query.settings, options.model_fields_set
    window, budget = asked.window, options.manifest.settings.rate.budget
    traits: dict[str, Any] = {
        "granularity_ms": window.bucket,
        "span_ms": window.bucket if asked.shape == "range" else window.max_span,
        "stream": query.stream,
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
    if query.stream:  # a bound as coarse as a bucket leaves out the open one until it is over
        lookback_ms = max(traits.get("lookback_ms", options.lookback), window.bucket)
        traits |= {"lookback_ms": lookback_ms, "ids_kept_ms": lookback_ms + HOUR_MS}
    if budget is not None:
        name = f"manifest/{options.manifest.settings.name}/{options.name}"
        traits["budget"] = Budget(name, budget.per // budget.calls)
    return traits


def _feed(feed: RowFeed) -> Feed:
    """Return a family and its field; a series whose labels are all known shows 0 from the start."""
    return Feed(feed.family, feed.field, feed.constants if feed.of == "additive" else None)


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
