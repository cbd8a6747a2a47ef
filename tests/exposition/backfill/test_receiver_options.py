"""The file of ``--web-config``: what a receiver on loopback gets, and what is wrong with a file."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from exporter.errors import SettingsError
from exporter.exposition.backfill import remote_write
from tests.support.served import taking
from tests.web.authority import Pair, self_signed, signed


@contextmanager
def listening(
    pair: Pair | None = None, clients: Pair | None = None
) -> Iterator[tuple[str, list[tuple[bytes, dict[str, str]]]]]:
    """Take requests, with TLS where there is a pair; yield the address and what comes."""
    context = None
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.cert)
    with taking(context) as (port, taken):
        yield f"{'http' if pair is None else 'https'}://127.0.0.1:{port}", taken


def sent(url: str, file: Path | None) -> int:
    """Send a request as the file says; return the status."""

    async def main() -> int:
        async with remote_write.client(file, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:
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
def test_a_receiver_gets_the_credentials_of_the_file(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "token").write_text("secret\n", "utf-8")
    file = tmp_path / "web.yml"
    file.write_text(f"{text}\nheaders: {{X-Scope-OrgID: bots}}\n", "utf-8")

    with listening() as (url, taken):
        assert sent(url, file) == 204

    ((_, headers),) = taken
    assert headers["authorization"] == expected
    assert headers["x-scope-orgid"] == "bots"


def test_without_a_file_there_are_no_credentials() -> None:
    with listening() as (url, taken):
        assert sent(url, None) == 204

    assert "authorization" not in taken[0][1]


def test_an_authority_of_the_file_is_trusted_and_no_other(tmp_path: Path) -> None:
    pair = self_signed(tmp_path, "receiver")
    file = tmp_path / "web.yml"
    file.write_text("tls_config: {ca_file: receiver.pem}\n", "utf-8")

    with listening(pair) as (url, taken):
        assert sent(url, file) == 204
        with pytest.raises(httpx.ConnectError):
            sent(url, None)

    assert len(taken) == 1


def test_a_receiver_that_asks_for_it_gets_the_certificate_of_the_file(tmp_path: Path) -> None:
    pair, authority = self_signed(tmp_path, "receiver"), self_signed(tmp_path, "clients")
    signed(tmp_path, "mine", authority, "DNS:mine")
    file, bare = tmp_path / "web.yml", tmp_path / "bare.yml"
    bare.write_text("tls_config: {ca_file: receiver.pem}\n", "utf-8")
    keys = "cert_file: mine.pem, key_file: mine.key"
    file.write_text(f"tls_config: {{ca_file: receiver.pem, {keys}}}\n", "utf-8")

    with listening(pair, authority) as (url, taken):
        assert sent(url, file) == 204
        with pytest.raises((httpx.TransportError, ssl.SSLError)):  # the alert is not wrapped
            sent(url, bare)

    assert len(taken) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("basic_auth: {user: secret}", "basic_auth.username"),
        ("basic_auth: {username: ana, password_file: gone}", "gone: No such file"),
        ("tls_config: {ca_file: gone.pem}", "gone.pem: No such file"),
        ("tls_config: {cert_file: web.yml}", "tls_config: a file has no certificate"),
        ("headers: [", "not YAML"),
        ("authorization: {credentials: sécret}", "a header that is not ASCII"),
        ("sesame", "a valid dictionary"),
    ],
)
def test_a_wrong_file_is_named_with_the_place_and_without_secrets(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "web.yml"
    file.write_text(text, "utf-8")

    with pytest.raises(SettingsError) as caught:
        remote_write.client(file, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    assert said in str(caught.value)
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        remote_write.client(tmp_path / "gone.yml", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
