"""TLS on real sockets: who gets in, with which certificate, and what a changed file changes."""

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from exporter.config.values import parse_listen as split
from exporter.web.app import build
from exporter.web.server import Deadlines, Serving, start
from exporter.web.webconfig import Watched
from tests.web.authority import Pair, self_signed, signed
from tests.web.served import TEXT_BODY, sources

CERTIFIED = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
VERIFIED = (
    CERTIFIED + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n"
)
PATIENCE_S = 5


@dataclass
class Secured:
    """A folder with certificates, a running server on them, and what it warned of."""

    folder: Path
    server: Serving
    warnings: list[str] = field(default_factory=list)

    def trust(self) -> ssl.SSLContext:
        """Return a client's context that trusts the server's certificate as it is now."""
        return ssl.create_default_context(cafile=self.folder / "server.pem")

    def get(self, context: ssl.SSLContext | None = None) -> httpx.Response:
        url = f"https://{self.server.address}/metrics"
        return httpx.get(url, verify=context or self.trust(), timeout=PATIENCE_S)

    def as_client(self, pair: Pair) -> ssl.SSLContext:
        context = self.trust()
        context.load_cert_chain(pair.cert, pair.key)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return self_signed(tmp_path_factory.mktemp("authority"), "clients")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, authority: Pair) -> Pair:
    names = "DNS:prometheus.test,IP:10.0.0.1,IP:2001:db8::1,email:p@ex.test,URI:spiffe://ex/p"
    return signed(tmp_path_factory.mktemp("client"), "prometheus", authority, names)


@contextmanager
def secured(
    folder: Path,
    text: str,
    authority: Pair | None = None,
    deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
) -> Iterator[Secured]:
    self_signed(folder, "server")
    if authority is not None:
        (folder / "clients.pem").write_bytes(authority.cert.read_bytes())
    (folder / "web.yml").write_text(text)
    warnings: list[str] = []
    web = Watched(folder / "web.yml", warnings.append)
    server = start(
        "127.0.0.1:0",
        build(sources(), web.access),
        tls=web.context,
        admits=web.admits,
        deadlines=deadlines,
    )
    try:
        yield Secured(folder, server, warnings)
    finally:
        server.stop(PATIENCE_S)


def replace(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` as one step, with a time of change of its own."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def renewed(at: Secured, name: str = "server") -> None:
    """Make a new certificate and key under the same names."""
    self_signed(at.folder, "next")
    for suffix in (".key", ".pem"):
        os.replace(at.folder / f"next{suffix}", at.folder / f"{name}{suffix}")  # noqa: PTH105


def test_a_scrape_over_tls_is_answered_and_a_plain_one_is_not(tmp_path: Path) -> None:
    with secured(tmp_path, CERTIFIED) as at:
        assert at.get().content == TEXT_BODY
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://{at.server.address}/metrics", timeout=PATIENCE_S)


def older(client: ssl.SSLContext) -> None:
    client.maximum_version = ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("listed", "spoil"),
    [
        ("min_version: TLS13", older),
        (
            "max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
            lambda client: client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384"),
        ),
        ("curve_preferences: [CurveP521]", lambda client: client.set_ecdh_curve("secp384r1")),
    ],
)
def test_a_version_a_cipher_and_a_curve_that_are_not_listed_are_refused(
    tmp_path: Path, listed: str, spoil: Callable[[ssl.SSLContext], None]
) -> None:
    with secured(tmp_path, f"{CERTIFIED}  {listed}\n") as at:
        other = at.trust()
        spoil(other)

        assert not gets_in(at, other)
        assert gets_in(at, at.trust())


KINDS = {
    "NoClientCert": {"bare", "known", "stranger"},
    "RequestClientCert": {"bare", "known", "stranger"},
    "VerifyClientCertIfGiven": {"bare", "known"},
    "RequireAnyClientCert": {"known"},
    "RequireAndVerifyClientCert": {"known"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inline", [False, True])
def test_each_kind_of_client_authentication_lets_in_whom_it_says(
    tmp_path: Path, authority: Pair, client: Pair, kind: str, *, inline: bool
) -> None:
    pem = "".join(f"    {line}\n" for line in authority.cert.read_text().splitlines())
    ca = f"  client_ca: |\n{pem}" if inline else "  client_ca_file: clients.pem\n"
    ca = "" if kind == "NoClientCert" else ca
    with secured(tmp_path, f"{CERTIFIED}  client_auth_type: {kind}\n{ca}", authority) as at:
        stranger = at.as_client(self_signed(tmp_path, "stranger"))
        clients = {"bare": at.trust(), "known": at.as_client(client), "stranger": stranger}

        assert {who for who, context in clients.items() if gets_in(at, context)} == KINDS[kind]


def gets_in(at: Secured, context: ssl.SSLContext) -> bool:
    try:
        return at.get(context).status_code == 200
    except httpx.HTTPError:
        return False


ADMITTED = ("prometheus.test", "10.0.0.1", "2001:db8::1", "p@ex.test", "spiffe://ex/p")
REFUSED = ("prometheus", "PROMETHEUS.TEST", "other.test", None)  # a common name is no other name


@pytest.mark.parametrize("allowed", [*ADMITTED, *REFUSED])
def test_only_a_client_with_an_allowed_name_stays(
    tmp_path: Path, authority: Pair, client: Pair, allowed: str | None
) -> None:
    text = f"{VERIFIED}  client_allowed_sans: {[] if allowed is None else [allowed]}\n"
    with secured(tmp_path, text, authority) as at:
        assert gets_in(at, at.as_client(client)) is (allowed in ADMITTED)


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    with secured(tmp_path, CERTIFIED) as at:
        old = at.trust()
        assert at.get(old).status_code == 200

        renewed(at)

        assert at.get(at.trust()).status_code == 200
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            at.get(old)


def test_half_a_renewal_changes_nothing_yet(tmp_path: Path) -> None:
    with secured(tmp_path, CERTIFIED) as at:
        old = at.trust()
        self_signed(tmp_path, "next")

        (tmp_path / "next.pem").replace(tmp_path / "server.pem")
        assert at.get(old).status_code == 200
        assert at.get(old).status_code == 200
        (tmp_path / "next.key").replace(tmp_path / "server.key")

        assert at.get(at.trust()).status_code == 200
        assert len(at.warnings) == 1
        assert "the old one stays" in at.warnings[0]
        assert "not the key of the certificate" in at.warnings[0]


def test_a_new_authority_replaces_the_old_one(
    tmp_path: Path, authority: Pair, client: Pair
) -> None:
    with secured(tmp_path, VERIFIED, authority) as at:
        assert gets_in(at, at.as_client(client))

        renewed(at, "clients")

        newcomer = signed(
            tmp_path, "new", Pair(tmp_path / "clients.pem", tmp_path / "clients.key"), "DNS:x"
        )
        assert gets_in(at, at.as_client(newcomer))
        assert not gets_in(at, at.as_client(client))


def test_new_headers_are_sent_without_a_restart_and_what_needs_one_is_said(tmp_path: Path) -> None:
    with secured(tmp_path, CERTIFIED) as at:
        assert at.get().headers["x-frame-options"] == "DENY"

        headers = "http_server_config: {headers: {X-Frame-Options: sameorigin}}\n"
        replace(tmp_path / "web.yml", f"{CERTIFIED}  min_version: TLS13\n{headers}")

        assert at.get().headers["x-frame-options"] == "sameorigin"
        assert at.warnings == [
            "TLS versions, ciphers and client_auth_type change only with a restart"
        ]


def test_a_certificate_that_comes_after_the_file_that_names_it_is_used(tmp_path: Path) -> None:
    with secured(tmp_path, CERTIFIED) as at:
        old = at.trust()
        replace(tmp_path / "web.yml", CERTIFIED.replace("server.", "later."))
        assert at.get(old).status_code == 200
        assert at.get(old).status_code == 200
        assert len(at.warnings) == 1

        self_signed(tmp_path, "later")

        assert gets_in(at, ssl.create_default_context(cafile=tmp_path / "later.pem"))
        assert len(at.warnings) == 1


def test_a_change_that_shows_only_in_the_time_of_change_is_read(tmp_path: Path) -> None:
    file, headers = tmp_path / "web.yml", "http_server_config: {headers: {X-XSS-Protection: '0'}}\n"
    file.write_text(headers)
    before = file.stat()
    web = Watched(file, lambda _text: None)
    assert web.access().headers == {"X-XSS-Protection": "0"}

    file.write_text(headers.replace("0", "1"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # chmod, too, keeps all but one

    assert web.access().headers == {"X-XSS-Protection": "1"}


def test_what_is_taken_back_needs_no_restart(tmp_path: Path) -> None:
    self_signed(tmp_path, "server")
    file, warnings = tmp_path / "web.yml", list[str]()
    file.write_text(CERTIFIED)
    web = Watched(file, warnings.append)
    for text in (f"{CERTIFIED}  min_version: TLS13\n", CERTIFIED):
        replace(file, text)
        web.access()

    assert len(warnings) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_outlives_no_authority(
    tmp_path: Path, authority: Pair, client: Pair, version: ssl.TLSVersion
) -> None:
    with secured(tmp_path, VERIFIED, authority) as at:
        context = at.as_client(client)
        context.maximum_version = version
        answer, session = resumed(at, context)
        assert answer.startswith(b"HTTP/1.1 200 ")

        renewed(at, "clients")

        assert resumed(at, context, session)[0] == b""


def resumed(
    at: Secured, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bytes, ssl.SSLSession | None]:
    """Return the start of the answer to a request in ``session``, and the session it leaves."""
    address = split(at.server.address)
    try:
        with (
            socket.create_connection(address, timeout=PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
        ):
            secure.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return secure.recv(4096), secure.session
    except OSError:
        return b"", None


def test_a_handshake_that_never_comes_is_cut_off(tmp_path: Path) -> None:
    quick = Deadlines(header_s=0.3)
    with secured(tmp_path, CERTIFIED, deadlines=quick) as at:
        address = split(at.server.address)
        with socket.create_connection(address, timeout=PATIENCE_S) as silent:
            assert silent.recv(1) == b""
