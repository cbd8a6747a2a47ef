"""Web configuration files, against what the exporter toolkit documents, case by case."""

import ssl
from pathlib import Path

import pytest

from exporter.web.options import RateOptions
from tests.web.authority import Pair
from tests.web.files import CERTIFIED, HASH, read

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

OPEN = [
    "",
    "---\n# nothing yet\n\n",
    "tls_server_config:\n",
    "basic_auth_users:\n",
    f"basic_auth_users: {{alice: {HASH}}}\n",
    (
        "http_server_config:\n  headers:\n    Content-Security-Policy: default-src 'self'\n"
        "    X-Frame-Options: sameorigin\n    X-Content-Type-Options: nosniff\n"
        "    X-XSS-Protection: '1'\n    Strict-Transport-Security: max-age=31536000\n"
    ),
    "rate_limit: {interval: 1s, burst: 5}\n",
    "rate_limit: {interval: 0}\n",
]
CA = "\n  client_ca_file: other.pem"
SECURE = [
    "client_auth_type: NoClientCert",
    'client_auth_type: ""',
    f"client_auth_type: VerifyClientCertIfGiven{CA}",
    f"client_auth_type: RequireAndVerifyClientCert{CA}",
    f"client_auth_type: RequireAndVerifyClientCert{CA}\n  client_allowed_sans: [prometheus.test]",
    "client_auth_type: RequireAndVerifyClientCert",  # by the system's authorities
    "min_version: TLS10\n  max_version: TLS13",
    "min_version: TLS13",
    "cipher_suites:\n" + ALL_CIPHERS,
    "cipher_suites: [TLS_AES_128_GCM_SHA256]",
    "prefer_server_cipher_suites: false",
    "curve_preferences: [CurveP521]",
    "max_version: TLS13\nhttp_server_config: {http2: false}",
]
VERIFIED = "client_auth_type {}: certificates are verified all the same"
REMARKED = {
    "client_auth_type: RequestClientCert": (
        "client_auth_type RequestClientCert: certificates are neither asked for nor looked at"
    ),
    f"client_auth_type: RequireAnyClientCert{CA}": VERIFIED.format("RequireAnyClientCert"),
    f"client_auth_type: RequireClientCert{CA}": VERIFIED.format("RequireClientCert"),
    "curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]": (
        "curve_preferences: only a single curve can be enforced; OpenSSL chooses"
    ),
    "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]\n  max_version: TLS12\n"
    "http_server_config: {http2: true}": "http2: HTTP/1.1 is served; HTTP/2 is not",
}


@pytest.mark.parametrize("text", [*OPEN, *SECURE, *REMARKED])
def test_what_the_toolkit_takes_is_taken(folder: Path, text: str) -> None:
    config = read(folder, text if text in OPEN else f"{CERTIFIED}  {text}\n")

    assert (config.context is None) is (text in OPEN)
    assert config.remarks == ((REMARKED[text],) if text in REMARKED else ())


def test_certificate_and_key_may_stand_in_the_file(folder: Path) -> None:
    pair = Pair(folder / "server.pem", folder / "server.key")
    lines = ["tls_server_config:"]
    for key, path in (("cert", pair.cert), ("key", pair.key)):
        lines += [f"  {key}: |", *(f"    {line}" for line in path.read_text().splitlines())]

    assert read(folder, "\n".join(lines) + "\n").context is not None


def test_versions_and_ciphers_reach_the_context(folder: Path) -> None:
    chosen = "[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA]"

    context = read(folder, CERTIFIED + f"  cipher_suites: {chosen}\n").context
    every = read(folder, CERTIFIED + "  cipher_suites:\n" + ALL_CIPHERS + "\n").context

    assert context is not None
    assert every is not None
    assert sum(each["protocol"] != "TLSv1.3" for each in every.get_ciphers()) == 10
    names = [each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"]
    assert names == ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA"]
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.TLSv1_3
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_headers_users_and_rate_are_what_the_file_says(folder: Path) -> None:
    access = read(
        folder,
        f"basic_auth_users: {{alice: {HASH}}}\nrate_limit: {{interval: 1s, burst: 5}}\n"
        "http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: ''}}\n",
    ).access

    assert access.users == {"alice": HASH}
    assert access.headers == {"X-Frame-Options": "deny"}
    assert access.rate == RateOptions(burst=5, interval="1s")
