"""Faults of web configuration files, each with its place, as the exporter toolkit refuses them."""

from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.web import webconfig
from tests.web.files import CERTIFIED, HASH, faults

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
            "web.yml:4:21: tls_server_config.client_auth_type: unverified client certificates "
            "are not supported; use RequireAndVerifyClientCert and client_ca_file"
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
