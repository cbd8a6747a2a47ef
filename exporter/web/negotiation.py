"""Which of our two formats and two encodings a client wants, by RFC 9110's rules."""

from collections.abc import Iterator, Mapping

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def wants_openmetrics(accept: str) -> bool:
    """Return whether ``accept`` prefers OpenMetrics 1.0.0 to the text format 0.0.4.

    A wildcard is no preference: a person with a browser or curl gets plain text. So does a client
    that accepts neither, since an answer helps more than a 406.
    """
    openmetrics = _wanted(accept, "application", "openmetrics-text", "1.0.0")
    return openmetrics > _wanted(accept, "text", "plain", "0.0.4")


def wants_gzip(accept_encoding: str) -> bool:
    """Return whether gzip is acceptable and not worse than sending the body as it is."""
    wishes = {name: quality for name, _, quality in _wishes(accept_encoding)}
    gzip = wishes.get("gzip", wishes.get("x-gzip", wishes.get("*", 0.0)))
    return gzip > 0 and gzip >= wishes.get("identity", 0.0)


def _wanted(accept: str, kind: str, subtype: str, version: str) -> tuple[float, int]:
    """Return quality and specificity of the closest wish; ``(0, 0)`` when none fits."""
    ranges = {f"{kind}/{subtype}": 3, f"{kind}/*": 2, "*/*": 1}
    fits = [
        (ranges[name] + ("version" in parameters), quality)
        for name, parameters, quality in _wishes(accept)
        if name in ranges and parameters.get("version", version) == version
    ]
    specificity, quality = max(fits, default=(0, 0.0))
    return (quality, specificity) if quality else (0.0, 0)


def _wishes(header: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Yield name, parameters and quality of each valid element of ``header``."""
    for element in header.split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip(' "') for key, _, value in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if name and 0 <= quality <= 1:
            yield name.lower(), parameters, quality
