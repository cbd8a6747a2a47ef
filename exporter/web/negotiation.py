"""Which of our two formats and two encodings a client wants, by RFC 9110's rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Wish:
    """One element of an ``Accept`` or ``Accept-Encoding`` list."""

    name: str
    parameters: dict[str, str]
    quality: float


@dataclass(frozen=True, slots=True)
class _Offer:
    kind: str
    subtype: str
    version: str

    def wanted(self, wishes: Iterable[_Wish]) -> tuple[float, int]:
        """Return quality and specificity of the closest wish; ``(0, 0)`` when none fits."""
        fits = [(self._specificity(wish), wish.quality) for wish in wishes]
        specificity, quality = max(fits, default=(0, 0.0))
        return (quality, specificity) if specificity and quality else (0.0, 0)

    def _specificity(self, wish: _Wish) -> int:
        if wish.parameters.get("version", self.version) != self.version:
            return 0
        exact = 4 if "version" in wish.parameters else 3
        ranges = {f"{self.kind}/{self.subtype}": exact, f"{self.kind}/*": 2, "*/*": 1}
        return ranges.get(wish.name, 0)


_TEXT = _Offer("text", "plain", "0.0.4")
_OPENMETRICS = _Offer("application", "openmetrics-text", "1.0.0")


@lru_cache(maxsize=32)
def wants_openmetrics(accept: str) -> bool:
    """Return whether ``accept`` prefers OpenMetrics 1.0.0 to the text format 0.0.4.

    A wildcard is no preference: a person with a browser or curl gets plain text. So does a client
    that accepts neither, since an answer helps more than a 406.
    """
    wishes = _wishes(accept)
    return _OPENMETRICS.wanted(wishes) > _TEXT.wanted(wishes)


@lru_cache(maxsize=32)
def wants_gzip(accept_encoding: str) -> bool:
    """Return whether gzip is acceptable and not worse than sending the body as it is."""
    wishes = {wish.name: wish.quality for wish in _wishes(accept_encoding)}
    gzip = wishes.get("gzip", wishes.get("x-gzip", wishes.get("*", 0.0)))
    return gzip > 0 and gzip >= wishes.get("identity", 0.0)


def _wishes(header: str) -> list[_Wish]:
    wishes = (_wish(element) for element in header.split(","))
    return [wish for wish in wishes if wish is not None]


def _wish(element: str) -> _Wish | None:
    name, *rest = (part.strip() for part in element.split(";"))
    pairs = (part.partition("=") for part in rest)
    parameters = {key.strip().lower(): value.strip(' "') for key, _, value in pairs}
    quality = _quality(parameters.pop("q", "1"))
    return _Wish(name.lower(), parameters, quality) if name and quality is not None else None


def _quality(text: str) -> float | None:
    try:
        quality = float(text)
    except ValueError:
        return None
    return quality if 0 <= quality <= 1 else None
