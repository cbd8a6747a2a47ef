"""The file of ``--web-config``: what a receiver on loopback gets, and what is wrong with a file."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from exporter.errors import SettingsError
from exporter.exposition.backfill import remote_write
from tests.support.served import taking
from tests.web.authority import Pair, self_signed, signed

Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Return what writes the file."""

    def write(text: str) -> Path:
        file = tmp_path / "web.yml"
        file.write_text(text, "utf-8")
        return file

    return write


def context(pair: Pair, clients: Pair | None = None) -> ssl.SSLContext:
    """Return TLS with a certificate, perhaps for clients that an authority signed."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.cert, pair.key)
    if clients is not None:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(clients.cert)
    return made


def sent(url: str, file: Path | None) -> int:
    """Send a request as the file says; return the status."""

    async def main() -> int:
        async with remote_write.client(
            url, file, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ) as client:
            return (await client.post(url)).status_code

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("basic_auth: {username: ana, password: secret}", "Basic YW5hOnNlY3JldA=="),
        ("basic_auth: {username: ana, password_file: token}", "Basic YW5hOnNlY3JldA=="),
        ("authorization: {credentials: secret}", "Bearer secret"),
        ("authorization: {type: Token, credentials_file: token}", "Token secret"),
    ],
)
def test_a_receiver_gets_the_credentials_of_the_file_and_none_without_one(
    written: Written,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    expected: str,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # this machine is reached without it
    (tmp_path / "token").write_text("secret\n", "utf-8")
    file = written(f"{text}\nheaders: {{X-Scope-OrgID: bots}}\n")

    with taking() as (port, taken):
        assert [sent(f"http://127.0.0.1:{port}", each) for each in (file, None)] == [204, 204]

    assert [each.get("authorization") for _, each in taken] == [expected, None]
    assert [each.get("x-scope-orgid") for _, each in taken] == ["bots", None]


def test_an_authority_of_the_file_is_trusted_and_no_other(written: Written, tmp_path: Path) -> None:
    file = written("tls_config: {ca_file: receiver.pem}\n")

    with taking(context(self_signed(tmp_path, "receiver"))) as (port, taken):
        assert sent(f"https://127.0.0.1:{port}", file) == 204
        with pytest.raises(httpx.ConnectError):
            sent(f"https://127.0.0.1:{port}", None)

    assert len(taken) == 1


def test_a_receiver_that_asks_for_it_gets_the_certificate_of_the_file(
    written: Written, tmp_path: Path
) -> None:
    pair, authority = self_signed(tmp_path, "receiver"), self_signed(tmp_path, "clients")
    signed(tmp_path, "mine", authority, "DNS:mine")
    keys = "cert_file: mine.pem, key_file: mine.key"

    with taking(context(pair, authority)) as (port, taken):
        url = f"https://127.0.0.1:{port}"
        assert sent(url, written(f"tls_config: {{ca_file: receiver.pem, {keys}}}\n")) == 204
        with pytest.raises((httpx.TransportError, ssl.SSLError)):  # the alert is not wrapped
            sent(url, written("tls_config: {ca_file: receiver.pem}\n"))

    assert len(taken) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("basic_auth: {user: secret}", "web.yml:1:13: basic_auth.username: missing"),
        ("authorisation: {credentials: secret}", 'unknown key; did you mean "authorization"?'),
        ("headers: {}\nheaders: {a: secret}", "web.yml:2:1: headers: given twice"),
        ("basic_auth: {username: ana, password_file: gone}", "gone: No such file"),
        ("tls_config: {ca_file: gone.pem}", "gone.pem: No such file"),
        ("tls_config: {cert_file: web.yml}", "tls_config: a file has no certificate"),
        ("headers: [", "web.yml:2:1: a value is missing in a list"),
        ("authorization: {credentials: sécret}", "a header that is not ASCII"),
        ("sesame", "expected keys and values, found text"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_is_named_with_the_place_and_without_secrets(
    written: Written, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "no.yml" if text is None else written(text)

    with pytest.raises(SettingsError) as caught:
        remote_write.client("http://127.0.0.1", file, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    assert said in str(caught.value)
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "sesame" not in str(caught.value)
