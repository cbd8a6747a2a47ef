"""Scalars of ``exporter.yaml``: durations, sizes, zones and addresses.

The ``title`` of a type is its name in the settings reference.

A message never quotes a value, which may be a secret in the wrong place; it names the known word
that the value nearly spells. ``hint`` in an error's context becomes the part after the semicolon.
"""

import ipaddress
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d|w)")
_LONGEST_MS = 3_650 * 86_400_000
_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"([1-9]\d{0,5})(KiB|MiB|GiB)")
_SERVER = re.compile(r"([^@]*@)?(\[[^]/?]*\]|[^][/:?]*)(:[0-9]{0,5})?(/|\?|$)")
_HIGHEST_PORT = 65_535


def suggestion(value: Any, known: Iterable[str]) -> str:
    """Return ``did you mean "…"?`` if ``value`` nearly spells one of ``known``, else nothing."""
    by_lower_case = {name.casefold(): name for name in known}
    word = value.casefold() if isinstance(value, str) else ""
    found = get_close_matches(word, by_lower_case, n=1, cutoff=0.75)
    return f'did you mean "{by_lower_case[found[0]]}"?' if found else ""


def kind_of(value: Any) -> str:
    """Return what kind of value ``value`` is, in plain words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "keys and values"


def invalid(kind: str, problem: str, hint: str = "") -> PydanticCustomError:
    """Return the error for one value; braces in the text are kept."""
    return PydanticCustomError(kind, "{problem}", {"problem": problem, "hint": hint})


def parse_duration(value: Any) -> int:
    """Return the milliseconds of a text such as ``90s``, ``5m``, ``1h30m`` or ``2d``."""
    if not isinstance(value, str) or not re.fullmatch(rf"(?:{_DURATION.pattern})+", value):
        raise invalid("duration", "expected a duration such as 90s, 5m, 1h or 2d")
    total = sum(int(n) * _UNITS[unit] for n, unit in _DURATION.findall(value))
    if total > _LONGEST_MS:
        raise invalid("duration", "longer than ten years")
    return total


def parse_duration_or_zero(value: Any) -> int:
    """Return the milliseconds of a duration, or of the number 0, which needs no unit."""
    if value == "0":
        raise invalid("duration", "expected a duration such as 35d, or 0", "write 0 without quotes")
    return 0 if type(value) is int and value == 0 else parse_duration(value)


def parse_write_off(value: Any) -> int | Literal["never"]:
    """Return milliseconds, or ``never``."""
    if value == "never":
        return "never"
    try:
        return parse_duration(value)
    except PydanticCustomError:
        raise invalid(
            "duration", "expected a duration such as 6h, or never", suggestion(value, ("never",))
        ) from None


def parse_zone(value: Any) -> str:
    """Return ``value`` if it is an IANA time zone."""
    if isinstance(value, str) and value in _zones():
        return ZoneInfo(value).key
    # An abbreviation resembles many with another meaning: CEST and EST.
    places = [zone for zone in _zones() if "/" in zone and not zone.startswith("Etc/")]
    hint = suggestion(value, places) or "use one such as UTC or Europe/Berlin"
    raise invalid("zone", "not an IANA time zone", hint)


def parse_size(value: Any) -> int:
    """Return the bytes of a text such as ``64KiB``, ``500MiB`` or ``1GiB``."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid("size", "expected a size such as 500MiB or 1GiB")
    return int(match[1]) * _SIZES[match[2]]


def parse_listen(value: Any) -> tuple[str, int]:
    """Return host and port of ``127.0.0.1:10877``, ``[::1]:10877`` or ``:10877`` (any address)."""
    text = value if isinstance(value, str) else ""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    well_formed = colon and re.fullmatch(r"[0-9]{1,5}", port) and re.fullmatch(r"[\w.:%-]*", bare)
    if not well_formed or int(port) > _HIGHEST_PORT or (":" in bare and bare == host):
        raise invalid("listen", "expected host:port", "write an address such as 127.0.0.1:10877")
    return bare, int(port)


def check_listen(value: Any) -> str:
    """Return ``value`` if it is ``host:port``."""
    parse_listen(value)
    return str(value)


def check_url(value: str) -> str:
    """Return ``value`` without a trailing slash, if keys may be sent to it.

    They may be sent to ``https://…``, and by plain ``http://`` to a loopback address.
    """
    parts = _split(value)
    if parts is None or parts.query or parts.fragment or re.search(r"[\s?#{}]", value):
        raise invalid("url", "expected an address such as https://api.example.com/v1")
    if parts.username is not None:
        raise invalid("url", "an address must not contain a user or password")
    if parts.scheme == "http" and not is_loopback_host(parts.hostname or ""):
        raise invalid("url", "plain http would send the key in the clear", "use https")
    return value.rstrip("/")


def can_be_sent(text: str) -> bool:
    """Return whether a header can carry ``text``."""
    return text.isascii() and text.isprintable()


def check_ledger_url(value: str) -> str:
    """Return ``value`` if it names an SQLite file or a PostgreSQL database."""
    scheme, _, rest = value.partition("://")
    if scheme in ("postgresql", "postgresql+psycopg") and rest and _SERVER.match(rest):
        return value
    if scheme != "sqlite" or not rest.startswith("/") or rest == "/":
        raise invalid("ledger", "expected sqlite:///FILE or postgresql://HOST/DATABASE")
    if "?" in rest:
        raise invalid("ledger", "a file takes no options", "remove the ? and what follows it")
    if rest.startswith("/:memory:"):
        raise invalid("ledger", "a ledger in memory loses its counts", "give the path of a file")
    return value


def ledger_url_from(url: str, base: Path) -> str:
    """Return ``url`` with a relative SQLite path made absolute, starting at ``base``."""
    prefix = "sqlite:///"
    if not url.startswith(prefix):
        return url
    folder = str(base.absolute()).replace("%", "%25").replace("?", "%3F")
    return prefix + str(Path(folder) / url.removeprefix(prefix))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())  # which walks the disk


def _split(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if known else None


def is_loopback_host(host: str) -> bool:
    """Return whether ``host`` is a loopback address or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Duration: TypeAlias = Annotated[
    int,
    BeforeValidator(parse_duration),
    Field(title="duration"),
    WithJsonSchema({"type": "string", "pattern": f"^({_DURATION.pattern})+$"}),
]
"""Milliseconds, written as ``90s``, ``5m``, ``1h`` or ``2d``."""

DurationOrZero: TypeAlias = Annotated[
    int,
    BeforeValidator(parse_duration_or_zero),
    Field(title="duration or `0`"),
    WithJsonSchema(
        {"anyOf": [{"const": 0}, {"type": "string", "pattern": f"^({_DURATION.pattern})+$"}]}
    ),
]
"""Milliseconds; ``0`` needs no unit."""

WriteOff: TypeAlias = Annotated[
    int | Literal["never"],
    PlainValidator(parse_write_off),
    Field(title="duration or `never`"),
    WithJsonSchema({"type": "string", "pattern": f"^(({_DURATION.pattern})+|never)$"}),
]
"""Milliseconds, or ``never``."""

Zone: TypeAlias = Annotated[str, BeforeValidator(parse_zone), Field(title="zone")]
"""An IANA time zone name."""

Size: TypeAlias = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(title="size"),
    WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$"}),
]
"""Bytes, written as ``64KiB``, ``500MiB`` or ``1GiB``."""

Listen: TypeAlias = Annotated[str, BeforeValidator(check_listen), Field(title="`host:port`")]
"""``host:port``."""

Url: TypeAlias = Annotated[str, AfterValidator(check_url), Field(title="address")]
"""An address that keys may be sent to: https, or http to loopback; no trailing slash."""

LedgerUrl: TypeAlias = Annotated[
    str, AfterValidator(check_ledger_url), Field(title="address of a ledger")
]
"""``sqlite:///FILE`` or ``postgresql://…``."""
