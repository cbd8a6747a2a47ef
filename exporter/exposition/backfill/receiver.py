"""How to reach a receiver of remote write: the keys of a ``remote_write`` section of Prometheus."""

import ssl
from pathlib import Path

import httpx
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from exporter import __version__
from exporter.errors import SettingsError, SettingsProblem

TIMEOUT_S = 60.0


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class BasicAuthOptions(_Options):
    """A user and a password, or the file that has it."""

    username: str
    password: str | None = None
    password_file: Path | None = None


class AuthorizationOptions(_Options):
    """The header ``Authorization``: a bearer token, or the file that has it."""

    type: str = "Bearer"
    credentials: str | None = None
    credentials_file: Path | None = None


class ClientTlsOptions(_Options):
    """Certificates: whom to trust besides the machine's authorities, and the client's own."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class ReceiverOptions(_Options):
    """The whole file; relative paths start from its folder."""

    headers: dict[str, str] = {}
    basic_auth: BasicAuthOptions | None = None
    authorization: AuthorizationOptions | None = None
    tls_config: ClientTlsOptions = ClientTlsOptions()


def client(path: Path | None, certificates: ssl.SSLContext) -> httpx.AsyncClient:
    """Return a client as the file at ``path`` says; raise ``SettingsError`` where it is wrong."""
    try:
        text = path.read_text("utf-8") if path else ""
        options = ReceiverOptions.model_validate(yaml.safe_load(text) or {})
        folder = path.parent if path else Path()
        return httpx.AsyncClient(
            headers={"User-Agent": f"chatbot-exporter/{__version__}", **_headers(options, folder)},
            auth=_auth(options.basic_auth, folder),
            verify=_trusted(options.tls_config, folder, certificates),
            timeout=TIMEOUT_S,
        )
    except ValidationError as error:
        found = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
    except yaml.YAMLError:
        found = [("", "not YAML")]
    except UnicodeError:
        found = [("", "not UTF-8, or a header that is not ASCII")]
    except ssl.SSLError:
        found = [("tls_config", "a file has no certificate, or the key is not its own")]
    except OSError as error:
        found = [("", f"{error.filename or ''}: {error.strerror}")]
    raise SettingsError([SettingsProblem(str(path), 1, 1, where, said) for where, said in found])


def _headers(options: ReceiverOptions, folder: Path) -> dict[str, str]:
    given = options.authorization
    if given is None:
        return options.headers
    secret = _secret(given.credentials, given.credentials_file, folder)
    return {**options.headers, "Authorization": f"{given.type} {secret}"}


def _auth(given: BasicAuthOptions | None, folder: Path) -> httpx.BasicAuth | None:
    if given is None:
        return None
    return httpx.BasicAuth(given.username, _secret(given.password, given.password_file, folder))


def _secret(text: str | None, file: Path | None, folder: Path) -> str:
    return (folder / file).read_text("utf-8").strip() if file else text or ""


def _trusted(given: ClientTlsOptions, folder: Path, certificates: ssl.SSLContext) -> ssl.SSLContext:
    ca, cert, key = (
        _readable(folder / file) if file else None
        for file in (given.ca_file, given.cert_file, given.key_file)
    )
    if ca:
        certificates.load_verify_locations(ca)
    if cert:
        certificates.load_cert_chain(cert, key)
    return certificates


def _readable(path: Path) -> Path:
    path.read_bytes()  # the error of ssl does not name the file
    return path
