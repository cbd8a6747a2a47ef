"""Certificates for tests, made with the openssl program."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_NEW = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path


def self_signed(folder: Path, name: str, sans: str = "DNS:localhost,IP:127.0.0.1") -> Pair:
    """Return a certificate that signs itself and may sign others."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl("req", "-x509", *_NEW, *_output(pair), *_names(name, sans))
    return pair


def signed(folder: Path, name: str, by: Pair, sans: str) -> Pair:
    """Return a certificate signed ``by`` another."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    issuer = ["-CA", str(by.cert), "-CAkey", str(by.key)]
    _openssl("req", "-x509", *_NEW, *_output(pair), *issuer, *_names(name, sans, ca=False))
    return pair


def _names(name: str, sans: str, *, ca: bool = True) -> list[str]:
    basic = f"basicConstraints=critical,CA:{str(ca).upper()}"
    return ["-subj", f"/CN={name}", "-addext", f"subjectAltName={sans}", "-addext", basic]


def _output(pair: Pair) -> list[str]:
    return ["-out", str(pair.cert), "-keyout", str(pair.key)]


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)  # noqa: S603, S607
