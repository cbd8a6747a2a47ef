"""Web configuration files, against what the exporter toolkit documents, case by case."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.web import webconfig
from exporter.web.rate import Rate
from exporter.web.webconfig import WebConfig
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


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(folder, text)
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.faults]


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


AUTH = CERTIFIED + "  client_auth_type: "
BAD = {
    "junk": ("what is this\n", "web.yml:1:1: expected keys and values, found text"),
    "a list": ("- a\n", "web.yml:1:1: expected keys and values, found a list"),
    "broken YAML": (
        "a: [1\n",
        "web.yml:2:1: a list is not closed; it was opened at 1:4, expected , or ]",
    ),
    "an unknown section": (
        "tls_server_confg: {}\n",
        'web.yml:1:1: tls_server_confg: unknown key; did you mean "tls_server_config"?',
    ),
    "an unknown key": (
        CERTIFIED + "  cert_fil: x\n",
        'web.yml:4:3: tls_server_config.cert_fil: unknown key; did you mean "cert_file"?',
    ),
    "a key twice": (
        CERTIFIED + "  key_file: server.key\n",
        "web.yml:4:3: tls_server_config.key_file: given twice; first at {folder}/web.yml:3:3",
    ),
    "no certificate": (
        "tls_server_config:\n  key_file: server.key\n",
        "web.yml:2:3: tls_server_config: missing one of cert or cert_file",
    ),
    "an empty certificate": (
        'tls_server_config:\n  cert_file: ""\n  key_file: server.key\n',
        "web.yml:2:3: tls_server_config: missing one of cert or cert_file",
    ),
    "no key": (
        "tls_server_config:\n  cert_file: server.pem\n",
        "web.yml:2:3: tls_server_config: missing one of key or key_file",
    ),
    "a certificate that is not there": (
        "tls_server_config:\n  cert_file: nope.pem\n  key_file: server.key\n",
        "web.yml:2:14: tls_server_config.cert_file: cannot be read: no such file or directory",
    ),
    "a key that is not there": (
        "tls_server_config:\n  cert_file: server.pem\n  key_file: nope.key\n",
        "web.yml:3:13: tls_server_config.key_file: cannot be read: no such file or directory",
    ),
    "a folder for a key": (
        "tls_server_config:\n  cert_file: server.pem\n  key_file: .\n",
        "web.yml:3:13: tls_server_config.key_file: cannot be read: is a directory",
    ),
    "a text for a certificate": (
        "tls_server_config:\n  cert_file: text.pem\n  key_file: server.key\n",
        "web.yml:2:14: tls_server_config.cert_file: no certificate in PEM form",
    ),
    "bytes for a certificate": (
        "tls_server_config:\n  cert_file: binary.pem\n  key_file: server.key\n",
        "web.yml:2:14: tls_server_config.cert_file: not a text file",
    ),
    "certificate and key exchanged": (
        "tls_server_config:\n  cert_file: server.key\n  key_file: server.pem\n",
        "web.yml:2:14: tls_server_config.cert_file: no certificate in PEM form",
    ),
    "a certificate for a key": (
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.pem\n",
        "web.yml:3:13: tls_server_config.key_file: no private key in PEM form",
    ),
    "the key of another": (
        "tls_server_config:\n  cert_file: server.pem\n  key_file: other.key\n",
        "web.yml:3:13: tls_server_config.key_file: not the key of the certificate",
    ),
    "a damaged certificate": (
        "tls_server_config:\n  cert_file: damaged.pem\n  key_file: server.key\n",
        "web.yml:3:13: tls_server_config.key_file: certificate or key is damaged",
    ),
    "certificate inline and as a file": (
        CERTIFIED + "  cert: x\n",
        "web.yml:4:9: tls_server_config.cert: given beside cert_file; keep one of them",
    ),
    "an invented client_auth_type": (
        AUTH + "Sometimes\n",
        (
            "web.yml:4:21: tls_server_config.client_auth_type: expected NoClientCert, "
            "RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, "
            "RequireAndVerifyClientCert or RequireClientCert"
        ),
    ),
    "an authority without a policy": (
        CERTIFIED + "  client_ca_file: other.pem\n",
        (
            "web.yml:4:19: tls_server_config.client_ca_file: client certificates are not asked for; "
            "set client_auth_type"
        ),
    ),
    "an authority that is not there": (
        AUTH + "RequireAndVerifyClientCert\n  client_ca_file: nope.pem\n",
        "web.yml:5:19: tls_server_config.client_ca_file: cannot be read: no such file or directory",
    ),
    "an authority without certificates": (
        AUTH + "RequireAndVerifyClientCert\n  client_ca_file: text.pem\n",
        "web.yml:5:19: tls_server_config.client_ca_file: no certificate in PEM form",
    ),
    "an authority inline without certificates": (
        AUTH + "RequireAndVerifyClientCert\n  client_ca: this is no certificate\n",
        "web.yml:5:14: tls_server_config.client_ca: no certificate in PEM form",
    ),
    "an authority inline and as a file": (
        AUTH + "RequireAndVerifyClientCert\n  client_ca: x\n  client_ca_file: other.pem\n",
        "web.yml:5:14: tls_server_config.client_ca: given beside client_ca_file; keep one of them",
    ),
    "RequireAnyClientCert without an authority": (
        AUTH + "RequireAnyClientCert\n",
        (
            "web.yml:4:21: tls_server_config.client_auth_type: any certificate, verified by nobody, "
            "is not offered here; use RequireAndVerifyClientCert and client_ca_file"
        ),
    ),
    "allowed names of nobody": (
        CERTIFIED + "  client_allowed_sans: [a.test]\n",
        (
            "web.yml:4:24: tls_server_config.client_allowed_sans: a client may come without a "
            "certificate; set client_auth_type: RequireAndVerifyClientCert"
        ),
    ),
    "allowed names of who may come without": (
        AUTH + "VerifyClientCertIfGiven\n  client_allowed_sans: [a.test]\n",
        (
            "web.yml:5:24: tls_server_config.client_allowed_sans: a client may come without a "
            "certificate; set client_auth_type: RequireAndVerifyClientCert"
        ),
    ),
    "an unknown version": (
        CERTIFIED + "  min_version: TLS111\n",
        (
            "web.yml:4:16: tls_server_config.min_version: expected TLS10, TLS11, TLS12 or TLS13; "
            'did you mean "TLS11"?'
        ),
    ),
    "versions upside down": (
        CERTIFIED + "  min_version: TLS13\n  max_version: TLS12\n",
        "web.yml:4:16: tls_server_config.min_version: above max_version",
    ),
    "an unknown curve": (
        CERTIFIED + "  curve_preferences: [CurveP255]\n",
        (
            "web.yml:4:23: tls_server_config.curve_preferences[0]: expected X25519, CurveP256, "
            'CurveP384 or CurveP521; did you mean "CurveP256"?'
        ),
    ),
    "a number for a yes": (
        CERTIFIED + "  prefer_server_cipher_suites: 1\n",
        (
            "web.yml:4:32: tls_server_config.prefer_server_cipher_suites: "
            "expected true or false, found a number"
        ),
    ),
    "no cipher for the version": (
        CERTIFIED + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
        "web.yml:5:18: tls_server_config.cipher_suites: none of these belongs to the versions allowed",
    ),
    "a header that cannot be set": (
        "http_server_config: {headers: {Server: x}}\n",
        (
            "web.yml:1:32: http_server_config.headers: a header that cannot be set; known here: "
            "Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, "
            "X-Frame-Options, X-XSS-Protection"
        ),
    ),
    "a header misspelt": (
        "http_server_config: {headers: {X-Frame-Option: deny}}\n",
        (
            "web.yml:1:32: http_server_config.headers: a header that cannot be set; "
            'did you mean "X-Frame-Options"?'
        ),
    ),
    "X-Frame-Options of one's own": (
        "http_server_config: {headers: {X-Frame-Options: maybe}}\n",
        "web.yml:1:49: http_server_config.headers: X-Frame-Options: expected deny or sameorigin",
    ),
    "X-Content-Type-Options of one's own": (
        "http_server_config: {headers: {X-Content-Type-Options: sniff}}\n",
        "web.yml:1:56: http_server_config.headers: X-Content-Type-Options: expected nosniff",
    ),
    "a header with a line break": (
        'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: x"}}\n',
        (
            "web.yml:1:50: http_server_config.headers: X-XSS-Protection: "
            "not a value that a header can have"
        ),
    ),
    "a password that is not hashed": (
        "basic_auth_users: {alice: canary-password}\n",
        (
            'web.yml:1:27: basic_auth_users.alice: not a bcrypt hash; make one with htpasswd -nBC 10 "" '
            '| tr -d ":\\n"'
        ),
    ),
    "a name with a colon": (
        f"basic_auth_users: {{'al:ice': {HASH}}}\n",
        "web.yml:1:20: basic_auth_users: a name with a colon can never be given",
    ),
    "a rate of nothing": (
        "rate_limit: {interval: 1s}\n",
        "web.yml:1:13: rate_limit: burst is 0, so that every request would be refused",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_toolkit_refuses_is_refused_with_its_place(folder: Path, name: str) -> None:
    text, expected = BAD[name]

    assert faults(folder, text) == [expected.format(folder=folder)]


def test_an_unknown_cipher_is_told_with_its_neighbour(folder: Path) -> None:
    text = CERTIFIED + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA257]\n"

    (fault,) = faults(folder, text)

    assert fault.startswith("web.yml:4:19: tls_server_config.cipher_suites[0]: expected TLS_AES")
    assert fault.endswith('did you mean "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"?')


def test_that_certificate_and_key_are_empty_is_two_faults(folder: Path) -> None:
    assert faults(folder, 'tls_server_config:\n  cert_file: ""\n  key_file: ""\n') == [
        "web.yml:2:3: tls_server_config: missing one of cert or cert_file",
        "web.yml:2:3: tls_server_config: missing one of key or key_file",
    ]


def test_all_faults_come_at_once(folder: Path) -> None:
    text = (
        "tls_server_config:\n  cert_file: nope.pem\n  key_file: nope.key\n"
        "http_server_config: {headers: {Server: x}}\nbasic_auth_users: {a: b, c: d}\n"
    )

    assert [fault.split(": ")[0] for fault in faults(folder, text)] == [
        "web.yml:2:14",
        "web.yml:4:32",
        "web.yml:5:23",
        "web.yml:5:29",
    ]


def test_a_file_that_is_not_there_is_a_fault(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"nope\.yml:1:1: cannot be read: no such file"):
        webconfig.load(folder / "nope.yml")


def test_a_fault_repeats_no_secret(folder: Path) -> None:
    text = f"basic_auth_users: {{alice: canary-password}}\nrate_limit: {{burst: {HASH}}}\n"

    assert "canary" not in "".join(faults(folder, text))
    assert HASH not in "".join(faults(folder, text))


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
