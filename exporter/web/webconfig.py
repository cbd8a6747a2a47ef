"""A web configuration file to settings: reports all errors at once, as for ``exporter.yaml``."""

import json
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from exporter.config.files import SETTINGS_BYTES, read_regular, why
from exporter.config.messages import problems_of
from exporter.config.source import Source, read, unusable
from exporter.config.values import kind_of, suggestion
from exporter.errors import SettingsError, SettingsProblem
from exporter.web import certificates
from exporter.web.certificates import Unusable
from exporter.web.guard import Access
from exporter.web.options import HEADERS, TlsOptions, WebFile

_TLS = "tls_server_config"
_HEADERS = ("http_server_config", "headers")
_USERS = "basic_auth_users"
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What a web configuration file asks for. ``context`` None: plain HTTP.

    ``remarks`` are sentences for the log: what is done otherwise than the file says. ``files`` are
    the certificates and keys that were read besides.
    """

    access: Access = field(default_factory=Access)
    tls: TlsOptions | None = None
    context: ssl.SSLContext | None = None
    remarks: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def load(path: Path) -> WebConfig:
    """Return what the file at ``path`` asks for; raise ``SettingsError`` with all its errors."""
    file = os.fspath(path)
    try:
        raw = read_regular(path, SETTINGS_BYTES)
    except OSError as error:
        raise unusable(file, f"cannot be read: {why(error)}") from None
    if _blank(raw):
        return WebConfig()
    source = read(raw, file)
    web = _shaped(source)
    context, tls = None, web.tls_server_config
    problems = [*source.problems, *_header_problems(source, web), *_other_problems(source, web)]
    try:
        context = _context(source, tls, path.parent)
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(problems)
    return WebConfig(_access(web), tls, context, tuple(_remarks(web)), tuple(_files(tls, path)))


def _blank(raw: bytes) -> bool:
    lines = (line.strip() for line in raw.splitlines())
    return all(line in (b"", b"---") or line.startswith(b"#") for line in lines)


def _shaped(source: Source) -> WebFile:
    if not isinstance(source.data, dict):
        problem = f"expected keys and values, found {kind_of(source.data)}"
        raise SettingsError([source.problem((), problem)])
    try:
        return WebFile.model_validate_json(json.dumps(source.data))
    except ValidationError as error:
        found = problems_of(error, source.data, WebFile)
        problems = [each.located(source, ()) for each in found]
        raise SettingsError([*source.problems, *problems]) from None


def _header_problems(source: Source, web: WebFile) -> Iterator[SettingsProblem]:
    given = web.http_server_config.headers if web.http_server_config else {}
    for name, value in given.items():
        path = (*_HEADERS, name)
        choice = HEADERS.get(name)
        if choice is None:
            hint = suggestion(name, HEADERS) or "known here: " + ", ".join(HEADERS)
            problem = "a header that cannot be set"
            yield source.problem(_HEADERS, problem, hint, at=source.keys[path])
        elif choice and value and value not in choice:
            yield source.problem(path, f"{name}: expected {' or '.join(choice)}")
        elif not (value.isprintable() and value.isascii()):
            yield source.problem(path, f"{name}: not a value that a header can have")


def _other_problems(source: Source, web: WebFile) -> Iterator[SettingsProblem]:
    for name, hashed in (web.basic_auth_users or {}).items():
        if ":" in name:
            at = source.keys[_USERS, name]
            yield source.problem((_USERS, name), "a name with a colon can never be given", at=at)
        if not _HASH.fullmatch(hashed):
            hint = 'make one with htpasswd -nBC 10 "" | tr -d ":\\n"'
            yield source.problem((_USERS, name), "not a bcrypt hash", hint)
    if web.rate_limit and web.rate_limit.interval and not web.rate_limit.burst:
        yield source.problem(("rate_limit",), "burst is 0, so that every request would be refused")


def _context(source: Source, tls: TlsOptions | None, base: Path) -> ssl.SSLContext | None:
    if tls is None or not tls.model_fields_set:
        return None
    wrong = list(certificates.contradictions(tls))
    try:
        made = None if wrong else certificates.context(tls, base)
    except Unusable as error:
        made, wrong = None, [error]
    if wrong:
        raise SettingsError([_located(source, each) for each in wrong])
    return made


def _located(source: Source, each: Unusable) -> SettingsProblem:
    return source.problem((_TLS, each.key) if each.key else (_TLS,), each.problem, each.hint)


def _access(web: WebFile) -> Access:
    headers = web.http_server_config.headers if web.http_server_config else {}
    set_ = {name: value for name, value in headers.items() if value}
    return Access(web.basic_auth_users or {}, set_, web.rate_limit)


def _remarks(web: WebFile) -> Iterator[str]:
    if web.tls_server_config is not None:
        yield from certificates.remarks(web.tls_server_config)
    if web.http_server_config and web.http_server_config.http2:
        yield "http2: HTTP/1.1 is served; HTTP/2 is not"


def _files(tls: TlsOptions | None, path: Path) -> Iterator[Path]:
    for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
        if name:
            yield path.parent / name
