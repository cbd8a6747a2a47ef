"""Turns TLS options into an ``ssl`` context, or reports what is wrong with them, by key."""

import ipaddress
import os
import ssl
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from exporter.config.files import SETTINGS_BYTES, read_regular, why
from exporter.config.model import Strict
from exporter.config.values import invalid, suggestion

Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]
Curve = Literal["X25519", "CurveP256", "CurveP384", "CurveP521"]
ClientAuth = Literal[
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
    "RequireClientCert",
]
"""``RequireClientCert`` is the toolkit's older name for ``RequireAnyClientCert``."""

CIPHERS = {
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""OpenSSL's name of each suite; empty for TLS 1.3 suites, which are always enabled, as in Go."""

VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
CURVES = {
    "X25519": "X25519",
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
}
REQUIRING = {"RequireAnyClientCert", "RequireClientCert", "RequireAndVerifyClientCert"}
_VERIFY = {"VerifyClientCertIfGiven": ssl.CERT_OPTIONAL} | dict.fromkeys(
    REQUIRING, ssl.CERT_REQUIRED
)


def _check_cipher(value: str) -> str:
    if value in CIPHERS:
        return value
    raise invalid("cipher", f"expected {', '.join(CIPHERS)}", suggestion(value, CIPHERS))


def _or_default(value: Any) -> Any:
    return "NoClientCert" if value == "" else value


class TlsOptions(BaseModel):
    """``tls_server_config``; versions, ciphers and curves have Go's names."""

    model_config = Strict

    cert: str = Field(default="", repr=False)
    key: str = Field(default="", repr=False)
    client_ca: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    client_auth_type: Annotated[ClientAuth, BeforeValidator(_or_default)] = "NoClientCert"
    client_allowed_sans: tuple[str, ...] | None = None
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[Annotated[str, AfterValidator(_check_cipher)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Curve, ...] = ()


class Unusable(Exception):
    """The value of ``key`` cannot be used; ``problem`` never quotes a file's content."""

    def __init__(self, key: str, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.key = key
        self.problem = problem
        self.hint = hint


def contradictions(tls: TlsOptions) -> Iterator[Unusable]:
    """Yield the contradictions in ``tls``, before any file is read."""
    for key in ("cert", "key"):
        if not getattr(tls, key) and not getattr(tls, f"{key}_file"):
            yield Unusable("", f"missing one of {key} or {key}_file")
    for key in ("cert", "key", "client_ca"):
        if getattr(tls, key) and getattr(tls, f"{key}_file"):
            yield Unusable(key, f"given together with {key}_file", "keep one of them")
    if VERSIONS[tls.min_version] > VERSIONS[tls.max_version]:
        yield Unusable("min_version", "above max_version")
    if tls.cipher_suites and not _ciphers(tls) and tls.max_version != "TLS13":
        yield Unusable("cipher_suites", "none of them belongs to an allowed version")
    yield from _client_contradictions(tls)


def _client_contradictions(tls: TlsOptions) -> Iterator[Unusable]:
    authority = "client_ca_file" if tls.client_ca_file else "client_ca" if tls.client_ca else ""
    kind = tls.client_auth_type
    if authority and kind == "NoClientCert":
        yield Unusable(authority, "client certificates are not asked for", "set client_auth_type")
    if tls.client_allowed_sans is not None and kind not in REQUIRING:
        hint = "set client_auth_type: RequireAndVerifyClientCert"
        yield Unusable("client_allowed_sans", "clients may connect without a certificate", hint)
    if kind in {"RequireAnyClientCert", "RequireClientCert"} and not authority:
        problem = "unverified client certificates are not supported"
        hint = "use RequireAndVerifyClientCert and client_ca_file"
        yield Unusable("client_auth_type", problem, hint)


def remarks(tls: TlsOptions) -> Iterator[str]:
    """Yield the differences from what a Go program does, or from what people expect."""
    if tls.client_auth_type in {"RequireAnyClientCert", "RequireClientCert"}:
        yield f"client_auth_type {tls.client_auth_type}: certificates are verified nevertheless"
    if tls.client_auth_type == "RequestClientCert":
        yield "client_auth_type RequestClientCert: certificates are neither requested nor checked"
    if tls.client_auth_type in {"RequireAndVerifyClientCert", "VerifyClientCertIfGiven"} and not (
        tls.client_ca or tls.client_ca_file
    ):
        yield f"client_auth_type {tls.client_auth_type}: no client_ca_file: the system's CAs count"
    if len(tls.curve_preferences) > 1:
        yield "curve_preferences: only a single curve can be enforced; OpenSSL chooses"


def context(tls: TlsOptions, base: Path) -> ssl.SSLContext:
    """Return the server's context; paths are relative to ``base``. Raises ``Unusable``."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["http/1.1"])
    _limit_versions(made, tls)
    if not tls.prefer_server_cipher_suites:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if len(tls.curve_preferences) == 1:
        made.set_ecdh_curve(CURVES[tls.curve_preferences[0]])
    _load_certificate(made, tls, base)
    _load_authorities(made, tls, base)
    return made


def admits(allowed: tuple[str, ...] | None, certificate: Any) -> bool:
    """Return whether a verified ``certificate`` has one of the ``allowed`` names; None: any name.

    ``certificate`` has the form of ``ssl.SSLSocket.getpeercert``.
    """
    if allowed is None:
        return True
    named = (certificate or {}).get("subjectAltName", ())
    return any(_spelled(kind, name) in allowed for kind, name in named)


def _spelled(kind: str, name: str) -> str:
    if kind != "IP Address":
        return name
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _limit_versions(made: ssl.SSLContext, tls: TlsOptions) -> None:
    least, ciphers = VERSIONS[tls.min_version], _ciphers(tls)
    old = least < ssl.TLSVersion.TLSv1_2
    if tls.cipher_suites and not ciphers:
        least = ssl.TLSVersion.TLSv1_3
    with warnings.catch_warnings():  # versions below 1.2 are the operator's own choice
        warnings.simplefilter("ignore", DeprecationWarning)
        made.minimum_version, made.maximum_version = least, VERSIONS[tls.max_version]
    if ciphers or old:
        made.set_ciphers(":".join([*(ciphers or ["DEFAULT"]), *(["@SECLEVEL=0"] if old else [])]))


def _ciphers(tls: TlsOptions) -> list[str]:
    return [name for suite in tls.cipher_suites if (name := CIPHERS[suite])]


def _load_certificate(made: ssl.SSLContext, tls: TlsOptions, base: Path) -> None:
    of_certificate, certificate = _given(tls, base, "cert")
    of_key, key = _given(tls, base, "key")
    if "-----BEGIN CERTIFICATE-----" not in certificate:
        raise Unusable(of_certificate, "no certificate in PEM format")
    if "PRIVATE KEY-----" not in key:
        raise Unusable(of_key, "no private key in PEM format")
    try:
        _load_texts(made, certificate, key)
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        problem = "not the key of the certificate" if mismatch else "certificate or key is invalid"
        raise Unusable(of_key, problem) from None


def _load_texts(made: ssl.SSLContext, certificate: str, key: str) -> None:
    # ``ssl`` only loads files, but exactly the text that was read and checked must be loaded.
    with _scratch() as both:
        both.write(f"{certificate}\n{key}\n")
        both.flush()
        path = both.name if isinstance(both.name, str) else f"/dev/fd/{both.fileno()}"
        made.load_cert_chain(path, password=lambda: b"")  # never ask on the terminal


def _scratch() -> IO[str]:
    """Return a file for a key, in memory if the system can, so that it never reaches a disk."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("key"), "w", encoding="utf-8")  # noqa: PTH123
    return tempfile.NamedTemporaryFile("w", encoding="utf-8")  # readable only by its owner


def _load_authorities(made: ssl.SSLContext, tls: TlsOptions, base: Path) -> None:
    made.verify_mode = _VERIFY.get(tls.client_auth_type, ssl.CERT_NONE)
    if made.verify_mode == ssl.CERT_NONE:
        return
    # A resumed session is not verified again, so clients are given none to resume.
    made.num_tickets = 0
    made.options |= ssl.OP_NO_TICKET
    key, authorities = _given(tls, base, "client_ca")
    if not authorities:
        made.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    try:
        made.load_verify_locations(cadata=authorities)
    except ssl.SSLError:
        raise Unusable(key, "no certificate in PEM format") from None


def _given(tls: TlsOptions, base: Path, key: str) -> tuple[str, str]:
    """Return the option that gives ``key``, inline or as a file, and its text."""
    of_file = f"{key}_file"
    if not (name := getattr(tls, of_file)):
        return key, getattr(tls, key)
    try:
        return of_file, read_regular(base / name, SETTINGS_BYTES).decode()
    except UnicodeDecodeError:
        raise Unusable(of_file, "not a text file") from None
    except (OSError, ValueError) as error:
        raise Unusable(of_file, f"cannot be read: {why(error)}") from None
