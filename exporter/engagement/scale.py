"""The scale on which counts are compared: chance and roughness have the same size everywhere."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import asinh, sqrt

LOW, HIGH = 0.6, 1.6
"""Six hours that hold less or more than this share of their expectation may be an event."""


def stabilise(count: float, roughness: float) -> float:
    """Return ``count`` on a scale where a variance of ``x + (roughness * x)**2`` becomes 1."""
    return 2 / roughness * asinh(roughness * sqrt(max(count, 0.0) + 0.375))


def distance(count: float, expected: float, roughness: float) -> float:
    """Return how many standard deviations ``count`` lies above ``expected``."""
    return stabilise(count, roughness) - stabilise(expected, roughness)


def share(count: float, expected: float) -> float:
    """Return the share of ``expected`` that ``count`` is, drawn towards 1 for small numbers."""
    return (count + 2) / (expected + 2)


def is_event(count: float, expected: float, limit: float) -> bool:
    """Say whether six hours are so far off their expectation that they show no habit."""
    if LOW <= share(count, expected) <= HIGH:
        return False
    return abs(distance(count, expected, 0.12)) > limit


def running_sums(values: Iterable[float]) -> list[float]:
    """Return the sums of the first 0, 1, 2 … values."""
    return list(accumulate(values, initial=0.0))


def known(counts: Sequence[float | None]) -> list[float]:
    """Return ``counts`` with 0 for hours that are not known."""
    return [0.0 if count is None else count for count in counts]
