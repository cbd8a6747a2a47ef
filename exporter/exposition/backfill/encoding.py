"""Requests of remote write 1.0 and 2.0: protobuf, compressed with snappy."""

from collections.abc import Sequence
from typing import NamedTuple

import cramjam

from exporter.exposition.backfill.past import PastSeries
from exporter.exposition.backfill.wire_pb2 import Request, Sample, WriteRequest
from exporter.model.samples import MetricType

NAME = "__name__"
COUNTER, GAUGE = 1, 2
"""Numbers of types in the metadata of 2.0."""


class Part(NamedTuple):
    """Some samples of one series, oldest first: instants in milliseconds and values."""

    series: PastSeries
    samples: list[tuple[int, float]]


def encode(parts: Sequence[Part], protocol: int) -> bytes:
    """Return the body of a request that carries ``parts``."""
    message = _symbols(parts) if protocol > 1 else _labelled(parts)
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString(deterministic=True)))


def _labelled(parts: Sequence[Part]) -> WriteRequest:
    request = WriteRequest()
    for past, samples in parts:
        series = request.timeseries.add()
        for name, value in _named(past):
            series.labels.add(name=name, value=value)
        series.samples.extend(Sample(value=value, timestamp=at) for at, value in samples)
    return request


def _symbols(parts: Sequence[Part]) -> Request:
    numbers = {"": 0}
    request = Request()

    def number(text: str) -> int:
        return numbers.setdefault(text, len(numbers))

    for past, samples in parts:
        series = request.timeseries.add()
        series.labels_refs.extend(number(text) for pair in _named(past) for text in pair)
        counts = past.family.kind is MetricType.COUNTER
        series.metadata.type = COUNTER if counts else GAUGE
        series.metadata.help_ref = number(past.family.help)
        start = past.start_ms or 0
        series.samples.extend(
            Sample(value=value, timestamp=at, start_timestamp=start if start < at else 0)
            for at, value in samples
        )
    request.symbols.extend(numbers)
    return request


def _named(past: PastSeries) -> list[tuple[str, str]]:
    return sorted([(NAME, past.family.name), *past.labels])
