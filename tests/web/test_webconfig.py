"""Web configuration files, against what the exporter toolkit documents, case by case."""

import re
import ssl
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.web import webconfig
from exporter.web.webconfig import RateOptions, WebConfig
from tests.web.authority import Pair, self_signed

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
CERTIFIED = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("web")
    self_signed(path, "server")
    self_signed(path, "other")
    (path / "text.pem").write_text("this is no certificate\n")
    (path / "binary.pem").write_bytes(b"\xff\xfe\x00")
    damaged = (path / "server.pem").read_text().replace("M", "N")
    (path / "damaged.pem").write_text(damaged)
    return path


def read(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(text)
    return webconfig.load(path)


def errors(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(folder, text)
    return [str(each).removeprefix(f"{folder}/") for each in caught.value.problems]


ALL_CIPHERS = "\n".join(
    f"    - TLS_ECDHE_{kind}_WITH_{suite}"
    for kind in ("RSA", "ECDSA")
    for suite in (
        *("AES_128_CBC_SHA", "AES_256_CBC_SHA", "AES_128_GCM_SHA256", "AES_256_GCM_SHA384"),
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
    "min_version: TLS10\n  max_version: TLS13",
    "min_version: TLS13",
    "cipher_suites:\n" + ALL_CIPHERS,
    "cipher_suites: [TLS_AES_128_GCM_SHA256]",
    "prefer_server_cipher_suites: false",
    "curve_preferences: [CurveP521]",
    "max_version: TLS13\nhttp_server_config: {http2: false}",
]
VERIFIED = "client_auth_type {}: certificates are verified nevertheless"
REMARKED = {
    "client_auth_type: RequestClientCert": (
        "client_auth_type RequestClientCert: certificates are neither requested nor checked"
    ),
    f"client_auth_type: RequireAnyClientCert{CA}": VERIFIED.format("RequireAnyClientCert"),
    f"client_auth_type: RequireClientCert{CA}": VERIFIED.format("RequireClientCert"),
    "curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]": (
        "curve_preferences: only a single curve can be enforced; OpenSSL chooses"
    ),
    **{
        f"client_auth_type: {kind}": f"client_auth_type {kind}: no client_ca_file: the system's CAs count"
        for kind in ("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    },
    f"max_version: TLS13\nbasic_auth_users: {{alice: {HASH.replace('$10$', '$18$')}}}": (
        "basic_auth_users: a hash of cost 18 takes about 16 s to check; use 10"
    ),
    "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]\n  max_version: TLS12\n"
    "http_server_config: {http2: true}": "http2: HTTP/2 is not supported; HTTP/1.1 is served",
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


# A file, with "; " before its next line at the second level, and below it what is wrong. TLS is a
# section with a good certificate.
BAD = """
what is this
    1:1: expected keys and values, found text
- a
    1:1: expected keys and values, found a list
a: [1
    2:1: a list is not closed; it was opened at 1:4, expected , or ]
tls_server_confg: {}
    1:1: tls_server_confg: unknown key; did you mean "tls_server_config"?
TLS; cert_fil: x
    4:3: tls_server_config.cert_fil: unknown key; did you mean "cert_file"?
TLS; key_file: server.key
    4:3: tls_server_config.key_file: given twice; first at {folder}/web.yml:3:3
tls_server_config:; key_file: server.key
    2:3: tls_server_config: missing one of cert or cert_file
tls_server_config:; cert_file: ""; key_file: server.key
    2:3: tls_server_config: missing one of cert or cert_file
tls_server_config:; cert_file: server.pem
    2:3: tls_server_config: missing one of key or key_file
tls_server_config:; cert_file: nope.pem; key_file: server.key
    2:14: tls_server_config.cert_file: cannot be read: no such file
tls_server_config:; cert_file: server.pem; key_file: nope.key
    3:13: tls_server_config.key_file: cannot be read: no such file
tls_server_config:; cert_file: server.pem; key_file: .
    3:13: tls_server_config.key_file: cannot be read: it is a directory
tls_server_config:; cert_file: text.pem; key_file: server.key
    2:14: tls_server_config.cert_file: no certificate in PEM format
tls_server_config:; cert_file: binary.pem; key_file: server.key
    2:14: tls_server_config.cert_file: not a text file
tls_server_config:; cert_file: server.key; key_file: server.pem
    2:14: tls_server_config.cert_file: no certificate in PEM format
tls_server_config:; cert_file: server.pem; key_file: server.pem
    3:13: tls_server_config.key_file: no private key in PEM format
tls_server_config:; cert_file: server.pem; key_file: other.key
    3:13: tls_server_config.key_file: not the key of the certificate
tls_server_config:; cert_file: damaged.pem; key_file: server.key
    3:13: tls_server_config.key_file: certificate or key is invalid
TLS; cert: x
    4:9: tls_server_config.cert: given together with cert_file; keep one of them
TLS; client_auth_type: Sometimes
    4:21: tls_server_config.client_auth_type: expected NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert or RequireClientCert
TLS; client_ca_file: other.pem
    4:19: tls_server_config.client_ca_file: client certificates are not asked for; set client_auth_type
TLS; client_auth_type: RequireAndVerifyClientCert; client_ca_file: nope.pem
    5:19: tls_server_config.client_ca_file: cannot be read: no such file
TLS; client_auth_type: RequireAndVerifyClientCert; client_ca_file: text.pem
    5:19: tls_server_config.client_ca_file: no certificate in PEM format
TLS; client_auth_type: RequireAndVerifyClientCert; client_ca: this is no certificate
    5:14: tls_server_config.client_ca: no certificate in PEM format
TLS; client_auth_type: RequireAndVerifyClientCert; client_ca: x; client_ca_file: other.pem
    5:14: tls_server_config.client_ca: given together with client_ca_file; keep one of them
TLS; client_auth_type: RequireAnyClientCert
    4:21: tls_server_config.client_auth_type: unverified client certificates are not supported; use RequireAndVerifyClientCert and client_ca_file
TLS; client_allowed_sans: [a.test]
    4:24: tls_server_config.client_allowed_sans: clients may connect without a certificate; set client_auth_type: RequireAndVerifyClientCert
TLS; client_auth_type: VerifyClientCertIfGiven; client_allowed_sans: [a.test]
    5:24: tls_server_config.client_allowed_sans: clients may connect without a certificate; set client_auth_type: RequireAndVerifyClientCert
TLS; min_version: TLS111
    4:16: tls_server_config.min_version: expected TLS10, TLS11, TLS12 or TLS13; did you mean "TLS11"?
TLS; min_version: TLS13; max_version: TLS12
    4:16: tls_server_config.min_version: above max_version
TLS; curve_preferences: [CurveP255]
    4:23: tls_server_config.curve_preferences[0]: expected X25519, CurveP256, CurveP384 or CurveP521; did you mean "CurveP256"?
TLS; prefer_server_cipher_suites: 1
    4:32: tls_server_config.prefer_server_cipher_suites: expected true or false, found a number
TLS; max_version: TLS12; cipher_suites: [TLS_AES_128_GCM_SHA256]
    5:18: tls_server_config.cipher_suites: none of them belongs to an allowed version
http_server_config: {headers: {Server: x}}
    1:32: http_server_config.headers: this header cannot be set; known here: Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection
http_server_config: {headers: {X-Frame-Option: deny}}
    1:32: http_server_config.headers: this header cannot be set; did you mean "X-Frame-Options"?
http_server_config: {headers: {X-Frame-Options: maybe}}
    1:49: http_server_config.headers: X-Frame-Options: expected deny or sameorigin
http_server_config: {headers: {X-Content-Type-Options: sniff}}
    1:56: http_server_config.headers: X-Content-Type-Options: expected nosniff
http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: x"}}
    1:50: http_server_config.headers: X-XSS-Protection: not a valid header value
basic_auth_users: {alice: canary-password}
    1:27: basic_auth_users.alice: not a bcrypt hash; create one with htpasswd -nBC 10 "" | tr -d ":\\n"
basic_auth_users: {'al:ice': HASH}
    1:20: basic_auth_users: a user name cannot contain a colon
rate_limit: {interval: 1s}
    1:13: rate_limit: burst is 0, so every request would be refused
TLS; cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA257]
    4:19: tls_server_config.cipher_suites[0]: expected … "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"?
"""


@pytest.mark.parametrize(("written", "expected"), re.findall(r"(?m)^(\S.*)\n    (.*)$", BAD))
def test_what_the_toolkit_refuses_is_refused_with_its_place(
    folder: Path, written: str, expected: str
) -> None:
    first, *more = written.replace("HASH", HASH).split("; ")
    text = CERTIFIED if first == "TLS" else first + "\n"

    (error,) = errors(folder, text + "".join(f"  {line}\n" for line in more))

    start, _, end = f"web.yml:{expected.replace('{folder}', str(folder))}".partition("…")
    assert error.startswith(start)
    assert error.endswith(end)
    assert end or error == start


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('tls_server_config:\n  cert_file: ""\n  key_file: ""\n', ["2:3", "2:3"]),
        (
            (
                "tls_server_config:\n  cert_file: nope.pem\n  key_file: nope.key\n"
                "http_server_config: {headers: {Server: x}}\nbasic_auth_users: {a: b, c: d}\n"
            ),
            ["2:14", "4:32", "5:23", "5:29"],
        ),
    ],
)
def test_all_errors_come_at_once(folder: Path, text: str, places: list[str]) -> None:
    found = [error.split(": ")[0] for error in errors(folder, text)]

    assert found == [f"web.yml:{place}" for place in places]


def test_a_file_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"nope\.yml:1:1: cannot be read: no such file"):
        webconfig.load(folder / "nope.yml")


def test_an_error_repeats_no_secret(folder: Path) -> None:
    text = f"basic_auth_users: {{alice: canary-password}}\nrate_limit: {{burst: {HASH}}}\n"

    assert "canary" not in "".join(errors(folder, text))
    assert HASH not in "".join(errors(folder, text))
