# ruff: noqa: INP001 - a program, not a package
"""Check that the exporter in this container serves: exit 0 if it does, else 1 and a sentence.

What a web configuration demands counts as serving: 401 (a password), 429 (fewer requests), or a TLS
handshake that ends with the demand for a certificate. ``EXPORTER_ADDRESS`` names another port, the
argument another path than ``/-/healthy``.
"""

import http.client
import os
import ssl
import sys

ADDRESS = "127.0.0.1:10877"
DEADLINE_S = 2
SERVES = {http.client.OK, http.client.UNAUTHORIZED, http.client.TOO_MANY_REQUESTS}


def main() -> str | None:
    """Return None if the exporter serves, else the reason."""
    address = os.environ.get("EXPORTER_ADDRESS", ADDRESS)
    host, _, digits = address.rpartition(":")
    if not digits.isdecimal():
        return f"EXPORTER_ADDRESS: {address} is not HOST:PORT"
    port = int(digits)
    try:
        return _health(http.client.HTTPConnection(host, port, timeout=DEADLINE_S))
    except (http.client.HTTPException, ConnectionResetError):
        return _over_tls(host, port)  # it closed the plain-text connection
    except OSError as error:
        return f"{host}:{port}: {error}"


def _over_tls(host: str, port: int) -> str | None:
    # Nothing secret is sent, and the certificate names another host than loopback.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001
    try:
        return _health(http.client.HTTPSConnection(host, port, timeout=DEADLINE_S, context=context))
    except ssl.SSLError as error:
        demanded = {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
        return None if error.reason in demanded else f"TLS: {error.reason}"
    except http.client.RemoteDisconnected:
        return None  # the handshake succeeded, and the missing certificate ended it
    except (OSError, http.client.HTTPException) as error:
        return f"{host}:{port}: {error}"


def _health(connection: http.client.HTTPConnection) -> str | None:
    path = "".join(sys.argv[1:2]) or "/-/healthy"
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    finally:
        connection.close()
    return None if status in SERVES else f"{path}: HTTP {status}"


if __name__ == "__main__":
    sys.exit(main())
