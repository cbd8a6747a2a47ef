"""Reads a web configuration file, reporting all errors at once, as for ``exporter.yaml``."""

import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from exporter.config.files import SETTINGS_BYTES, read_regular, why
from exporter.config.messages import checked
from exporter.config.model import Strict
from exporter.config.source import Source, is_blank, read, unusable
from exporter.config.values import Duration, can_be_sent, kind_of, suggestion
from exporter.errors import SettingsError, SettingsProblem
from exporter.format import span
from exporter.web import certificates
from exporter.web.certificates import TlsOptions, Unusable

_Signature: TypeAlias = tuple[tuple[int, ...] | None, ...]
_FIXED = {"client_auth_type", "min_version", "max_version", "cipher_suites"} | {
    "prefer_server_cipher_suites",
    "curve_preferences",
}
_TLS = "tls_server_config"
_HEADERS = ("http_server_config", "headers")
_USERS = "basic_auth_users"
HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be set, and the values that each may have; none means any."""

HIGHEST_COST = 15
"""A bcrypt cost that takes two seconds; a scrape with a new password waits for its check."""
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")


class HttpOptions(BaseModel):
    """``http_server_config``."""

    model_config = Strict

    http2: bool | None = None
    headers: dict[str, str] = Field(default_factory=dict)


class RateOptions(BaseModel):
    """``rate_limit``: ``burst`` requests at once, then one per ``interval``; 0: no limit."""

    model_config = Strict

    burst: int = Field(default=0, ge=0)
    interval: Literal[0] | Duration = 0


class WebFile(BaseModel):
    """A whole web configuration file."""

    model_config = Strict

    tls_server_config: TlsOptions = TlsOptions()
    http_server_config: HttpOptions = HttpOptions()
    rate_limit: RateOptions = RateOptions()
    basic_auth_users: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Access:
    """Users, extra response headers and rate limit; without users, everyone has access."""

    users: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate: RateOptions = field(default_factory=RateOptions)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The content of a web configuration file. ``context`` None: plain HTTP.

    ``remarks`` are sentences for the log on where the server deviates from the file. ``files`` are
    the certificates and keys that it refers to.
    """

    access: Access = field(default_factory=Access)
    tls: TlsOptions = field(default_factory=TlsOptions)
    context: ssl.SSLContext | None = None
    remarks: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def load(path: Path) -> WebConfig:
    """Load the file at ``path``; raise ``SettingsError`` with all its errors."""
    file = os.fspath(path)
    try:
        raw = read_regular(path, SETTINGS_BYTES)
    except OSError as error:
        raise unusable(file, f"cannot be read: {why(error)}") from None
    if is_blank(raw):
        return WebConfig()
    source = read(raw, file)
    web = _shaped(source)
    tls, headers = web.tls_server_config, web.http_server_config.headers
    files = [
        path.parent / file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file
    ]
    problems = [*source.problems, *_header_problems(source, web), *_other_problems(source, web)]
    context, wrong = _context(tls, path.parent) if tls.model_fields_set else (None, [])
    problems += [
        source.problem((_TLS, each.key) if each.key else (_TLS,), each.problem, each.hint)
        for each in wrong
    ]
    if problems:
        raise SettingsError(problems, files)
    set_ = {name: value for name, value in headers.items() if value}
    return WebConfig(
        access=Access(web.basic_auth_users, set_, web.rate_limit),
        tls=tls,
        context=context,
        remarks=tuple(_remarks(web)),
        files=tuple(files),
    )


def _shaped(source: Source) -> WebFile:
    if not isinstance(source.data, dict):
        problem = f"expected keys and values, found {kind_of(source.data)}"
        raise SettingsError([source.problem((), problem)])
    empty = {key for key, value in source.data.items() if value is None} & set(WebFile.model_fields)
    given = {key: value for key, value in source.data.items() if key not in empty}
    web, wrong = checked(WebFile, given)
    if web is None:
        raise SettingsError([*source.problems, *(each.located(source, ()) for each in wrong)])
    return web


def _header_problems(source: Source, web: WebFile) -> Iterator[SettingsProblem]:
    for name, value in web.http_server_config.headers.items():
        path = (*_HEADERS, name)
        choice = HEADERS.get(name)
        if choice is None:
            hint = suggestion(name, HEADERS) or "known here: " + ", ".join(HEADERS)
            problem = "this header cannot be set"
            yield source.problem(_HEADERS, problem, hint, at=source.keys[path])
        elif choice and value and value not in choice:
            yield source.problem(path, f"{name}: expected {' or '.join(choice)}")
        elif not can_be_sent(value):
            yield source.problem(path, f"{name}: not a valid header value")


def _other_problems(source: Source, web: WebFile) -> Iterator[SettingsProblem]:
    for name, hashed in web.basic_auth_users.items():
        if ":" in name:
            at = source.keys[_USERS, name]
            yield source.problem((_USERS, name), "a user name cannot contain a colon", at=at)
        if not _HASH.fullmatch(hashed):
            hint = 'create one with htpasswd -nBC 10 "" | tr -d ":\\n"'
            yield source.problem((_USERS, name), "not a bcrypt hash", hint)
    if web.rate_limit.interval and not web.rate_limit.burst:
        yield source.problem(("rate_limit",), "burst is 0, so every request would be refused")


def _context(tls: TlsOptions, base: Path) -> tuple[ssl.SSLContext | None, list[Unusable]]:
    if wrong := [*certificates.contradictions(tls)]:
        return None, wrong
    try:
        return certificates.context(tls, base), []
    except Unusable as error:
        return None, [error]


def _remarks(web: WebFile) -> Iterator[str]:
    yield from certificates.remarks(web.tls_server_config)
    if web.http_server_config.http2:
        yield "http2: HTTP/2 is not supported; HTTP/1.1 is served"
    highest = max(map(cost_of, web.basic_auth_users.values()), default=0)
    if highest > HIGHEST_COST:
        seconds = span(2.0 ** (highest - 12) / 4)  # a quarter of a second at 12
        yield f"basic_auth_users: a hash of cost {highest} takes about {seconds} to check; use 10"


def cost_of(hashed: str) -> int:
    """Return the cost of a bcrypt hash; each step doubles the time of a check."""
    return int(hashed.split("$")[2])


class Watched:
    """Users, headers, rate, certificates, keys, authorities and allowed names of one file.

    Each request and each TLS handshake checks whether the file, or one that it names, has changed
    (one ``stat`` each). If the new content is unusable, the old settings stay and ``warn`` is
    called, but not twice in a row with the same text. TLS itself, its
    versions, ciphers and the kind of client authentication change only with a restart.
    To be used only on the server's thread.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Read the file at ``path``; raise ``SettingsError`` with all its errors."""
        self._path = path
        self._warn = warn
        self._now = load(path)
        self._runs = _fixed(self._now)
        self._files = self._now.files
        self._seen: _Signature = ()
        self._warned = ""
        self.context = self._now.context
        """The TLS context that the server is started with; None: plain HTTP."""
        if self.context is not None:
            self.context.sni_callback = self._greet
        for remark in self._now.remarks:
            warn(remark)

    def access(self) -> Access:
        """Return the users, headers and rate in force."""
        self._look()
        return self._now.access

    def admits(self, certificate: Any) -> bool:
        """Return whether a client with this verified certificate may stay connected."""
        return certificates.admits(self._now.tls.client_allowed_sans, certificate)

    def _greet(self, client: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Use the certificate in force for a ClientHello; called with or without a server name."""
        self._look()
        if self._now.context is not None:
            client.context = self._now.context

    def _look(self) -> None:
        seen = tuple(map(_stat, (self._path, *self._files)))
        if seen == self._seen:
            return
        self._seen = seen
        text = ""
        try:
            self._now = load(self._path)
            # If these are other files, the signature differs and they are read again.
            self._files = self._now.files
            if _fixed(self._now) != self._runs:
                text = "TLS versions, ciphers and client_auth_type change only with a restart"
        except SettingsError as error:
            self._files = error.files
            text = f"the web configuration is invalid, the old one stays in force: {error}"
        if text not in {"", self._warned}:
            self._warn(text)
        self._warned = text


def _fixed(config: WebConfig) -> Any:
    return config.context and config.tls.model_dump(include=_FIXED)


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):  # a name with a NUL
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
