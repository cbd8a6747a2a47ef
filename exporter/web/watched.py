"""The web configuration in force, read again when one of its files has changed."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from exporter.errors import SettingsError
from exporter.web import certificates, webconfig
from exporter.web.guard import Access
from exporter.web.webconfig import WebConfig

_Signature: TypeAlias = tuple[tuple[int, int, int] | None, ...]
_FIXED = {"client_auth_type", "min_version", "max_version", "cipher_suites"} | {
    "prefer_server_cipher_suites",
    "curve_preferences",
}


class Watched:
    """Users, headers, rate, certificates, keys, authorities and allowed names of one file.

    Each request and each TLS handshake looks whether a file has changed (one ``stat`` each). What
    cannot be used is not taken: the old settings stay and ``warn`` is called once. Whether TLS is
    spoken, its versions, ciphers and the kind of client authentication hold until a restart.
    Belongs to one thread: the server's.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Read the file at ``path``; raise ``SettingsError`` with all its errors."""
        self._path = path
        self._warn = warn
        self._now = webconfig.load(path)
        self._seen: _Signature = ()
        self.context = self._now.context
        """What the server is started with; None: plain HTTP."""
        if self.context is not None:
            self.context.sni_callback = self._greet
        for remark in self._now.remarks:
            warn(remark)

    def access(self) -> Access:
        """Return the users, headers and rate in force."""
        self._look()
        return self._now.access

    def admits(self, certificate: Any) -> bool:
        """Return whether a client with this verified certificate may stay."""
        tls = self._now.tls
        return certificates.admits(tls.client_allowed_sans if tls else None, certificate)

    def _greet(self, client: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Answer a ClientHello with the certificate in force; called with or without a name."""
        self._look()
        if self._now.context is not None:
            client.context = self._now.context

    def _look(self) -> None:
        seen = _signature(self._path, self._now)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._take(webconfig.load(self._path))
        except SettingsError as error:
            self._warn(f"the web configuration is not taken, the old one stays: {error}")

    def _take(self, new: WebConfig) -> None:
        if _fixed(new) != _fixed(self._now):
            self._warn("TLS versions, ciphers and client_auth_type change only with a restart")
        self._now = new  # other files than before make another signature: they are read once more


def _fixed(config: WebConfig) -> Any:
    return config.tls and config.context and config.tls.model_dump(include=_FIXED)


def _signature(path: Path, config: WebConfig) -> _Signature:
    return tuple(_stat(each) for each in (path, *config.files))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
