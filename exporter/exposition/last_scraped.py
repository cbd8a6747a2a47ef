"""Reads from a Prometheus what it has scraped of this exporter."""

from collections.abc import Iterator, Mapping

import httpx
import msgspec

from exporter.errors import ExporterError, SchemaError
from exporter.http_client.client import decode
from exporter.http_client.transport import client_options, without_url
from exporter.ledger.rows import Shown
from exporter.model.samples import Family, MetricType

TIMEOUT_S = 60
QUERY = 'last_over_time({{__name__=~"chatbot_.+_total",target="{target}"{more}}}[7d])'


class ScrapesUnavailable(ExporterError):
    """Prometheus gave no answer, or more than one value for a series."""


class Sample(msgspec.Struct):
    """A series and its value, with the time of the query in seconds."""

    metric: dict[str, str]
    value: tuple[float, str]


class _Vector(msgspec.Struct):
    result: list[Sample]


class _Answer(msgspec.Struct):
    data: _Vector | None = None
    error: str = ""


def last_scraped(
    url: str, target: str, matching: str, families: Mapping[str, Family]
) -> Iterator[Shown]:
    """Yield each counter of ``target`` as last scraped by the Prometheus at ``url``, within 7 days.

    ``matching`` are label matchers, for when several exporters have a target of this name. Raises
    ``ScrapesUnavailable``. Source: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
    """
    found: dict[tuple[str, tuple[str, ...]], Sample] = {}
    for sample in query(url, QUERY.format(target=target, more=f",{matching}" if matching else "")):
        family = families.get(sample.metric["__name__"])
        if family is None or family.kind is not MetricType.COUNTER:
            continue
        labels = tuple(sample.metric.get(name, "") for name in family.labels)
        if other := found.get((family.name, labels)):
            differ = sorted(
                f'{name}="{value}"' for name, value in sample.metric.items() ^ other.metric.items()
            )
            raise ScrapesUnavailable(
                f"{family.name} of {target} has more than one series: {', '.join(differ)}; "
                "choose one with --matching"
            )
        found[family.name, labels] = sample
    for (name, labels), sample in found.items():
        yield Shown(name, labels, float(sample.value[1]))


def query(url: str, text: str) -> list[Sample]:
    """Return the result of the instant query ``text``; raise ``ScrapesUnavailable``."""
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/api/v1/query",
            params={"query": text},
            timeout=TIMEOUT_S,
            **client_options(url),
        )
        read = decode(answer.content, _Answer, "its answer")
    except (httpx.HTTPError, httpx.InvalidURL, SchemaError) as error:
        raise ScrapesUnavailable(f"cannot query Prometheus: {without_url(error)}") from None
    if read.data is None:
        raise ScrapesUnavailable(f"Prometheus answers HTTP {answer.status_code}: {read.error}")
    return read.data.result
