"""Web configuration files, against what the exporter toolkit documents, case by case."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.web.rate import Rate
from tests.web.authority import Pair
from tests.web.files import CERTIFIED, HASH, read


@dataclass(frozen=True)
class Good:
    """A file that is taken; whether it brings TLS, and what is remarked."""

    text: str
    tls: bool = True
    remarks: tuple[str, ...] = ()


ALL_CIPHERS = "\n".join(
    f"    - TLS_ECDHE_{kind}_WITH_{suite}"
    for kind in ("RSA", "ECDSA")
    for suite in (
        "AES_128_CBC_SHA",
        "AES_256_CBC_SHA",
        "AES_128_GCM_SHA256",
        "AES_256_GCM_SHA384",
        "CHACHA20_POLY1305_SHA256",
    )
)

GOOD = {
    "an empty file": Good("", tls=False),
    "only comments": Good("---\n# nothing yet\n\n", tls=False),
    "an empty tls section": Good("tls_server_config:\n", tls=False),
    "an empty user list": Good("basic_auth_users:\n", tls=False),
    "users alone": Good(f"basic_auth_users: {{alice: {HASH}}}\n", tls=False),
    "certificate and key": Good(CERTIFIED),
    "NoClientCert": Good(CERTIFIED + "  client_auth_type: NoClientCert\n"),
    "an empty client_auth_type": Good(CERTIFIED + '  client_auth_type: ""\n'),
    "RequestClientCert": Good(
        CERTIFIED + "  client_auth_type: RequestClientCert\n",
        remarks=(
            "client_auth_type RequestClientCert: certificates are neither asked for nor looked at",
        ),
    ),
    "RequireAnyClientCert with an authority": Good(
        CERTIFIED + "  client_auth_type: RequireAnyClientCert\n  client_ca_file: other.pem\n",
        remarks=("client_auth_type RequireAnyClientCert: certificates are verified all the same",),
    ),
    "RequireClientCert, the older word": Good(
        CERTIFIED + "  client_auth_type: RequireClientCert\n  client_ca_file: other.pem\n",
        remarks=("client_auth_type RequireClientCert: certificates are verified all the same",),
    ),
    "VerifyClientCertIfGiven": Good(
        CERTIFIED + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: other.pem\n"
    ),
    "RequireAndVerifyClientCert": Good(
        CERTIFIED + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: other.pem\n"
    ),
    "RequireAndVerifyClientCert by the system's authorities": Good(
        CERTIFIED + "  client_auth_type: RequireAndVerifyClientCert\n"
    ),
    "allowed names": Good(
        CERTIFIED
        + "  client_auth_type: RequireAndVerifyClientCert\n"
        + "  client_ca_file: other.pem\n  client_allowed_sans: [prometheus.test]\n"
    ),
    "all versions": Good(CERTIFIED + "  min_version: TLS10\n  max_version: TLS13\n"),
    "only 1.3": Good(CERTIFIED + "  min_version: TLS13\n"),
    "all ciphers": Good(CERTIFIED + "  cipher_suites:\n" + ALL_CIPHERS + "\n"),
    "ciphers of 1.3 alone": Good(CERTIFIED + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"),
    "the client's choice of cipher": Good(CERTIFIED + "  prefer_server_cipher_suites: false\n"),
    "one curve": Good(CERTIFIED + "  curve_preferences: [CurveP521]\n"),
    "all curves": Good(
        CERTIFIED + "  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n",
        remarks=("curve_preferences: only a single curve can be enforced; OpenSSL chooses",),
    ),
    "http2 off": Good(CERTIFIED + "http_server_config: {http2: false}\n"),
    "http2 on": Good(
        CERTIFIED + "http_server_config: {http2: true}\n",
        remarks=("http2: HTTP/1.1 is served; HTTP/2 is not",),
    ),
    "ciphers that HTTP/2 has no use for, and http2 on": Good(
        CERTIFIED + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]\n"
        "  max_version: TLS12\nhttp_server_config: {http2: true}\n",
        remarks=("http2: HTTP/1.1 is served; HTTP/2 is not",),
    ),
    "every header": Good(
        "http_server_config:\n  headers:\n    Content-Security-Policy: default-src 'self'\n"
        "    X-Frame-Options: sameorigin\n    X-Content-Type-Options: nosniff\n"
        "    X-XSS-Protection: '1'\n    Strict-Transport-Security: max-age=31536000\n",
        tls=False,
    ),
    "a rate": Good("rate_limit: {interval: 1s, burst: 5}\n", tls=False),
    "no rate": Good("rate_limit: {interval: 0}\n", tls=False),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_the_toolkit_takes_is_taken(folder: Path, name: str) -> None:
    case = GOOD[name]

    config = read(folder, case.text)

    assert (config.context is not None) is case.tls
    assert config.remarks == case.remarks


def test_certificate_and_key_may_stand_in_the_file(folder: Path) -> None:
    pair = Pair(folder / "server.pem", folder / "server.key")
    lines = ["tls_server_config:"]
    for key, path in (("cert", pair.cert), ("key", pair.key)):
        lines += [f"  {key}: |", *(f"    {line}" for line in path.read_text().splitlines())]

    assert read(folder, "\n".join(lines) + "\n").context is not None


def test_versions_and_ciphers_reach_the_context(folder: Path) -> None:
    chosen = "[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA]"

    context = read(folder, CERTIFIED + f"  cipher_suites: {chosen}\n").context

    assert context is not None
    names = [each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"]
    assert names == ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA"]
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.TLSv1_3
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_every_cipher_of_the_toolkit_is_known_to_openssl(folder: Path) -> None:
    context = read(folder, CERTIFIED + "  cipher_suites:\n" + ALL_CIPHERS + "\n").context

    assert context is not None
    assert sum(each["protocol"] != "TLSv1.3" for each in context.get_ciphers()) == 10


def test_headers_users_and_rate_are_what_the_file_says(folder: Path) -> None:
    access = read(
        folder,
        f"basic_auth_users: {{alice: {HASH}}}\nrate_limit: {{interval: 1s, burst: 5}}\n"
        "http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: ''}}\n",
    ).access

    assert access.users == {"alice": HASH}
    assert access.headers == {"X-Frame-Options": "deny"}
    assert access.rate == Rate(burst=5, interval_ms=1000)
