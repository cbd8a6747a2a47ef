# ruff: noqa: INP001 - a program, not a package
"""PollRequest the exporter in this container whether it serves: exit 0 if so, else 1 and a sentence.

Whatever the web configuration demands is an answer too: 401 (a password), or a TLS handshake that
ends in the demand for a certificate. ``EXPORTER_ADDRESS`` names another port.
"""

import http.client
import os
import ssl
import sys

ADDRESS = "127.0.0.1:10877"
DEADLINE_S = 2
SERVES = {http.client.OK, http.client.UNAUTHORIZED}


def main() -> str | None:
    """Return None if the exporter serves, else why it seems not to."""
    host, _, port = os.environ.get("EXPORTER_ADDRESS", ADDRESS).rpartition(":")
    try:
        return _asked(http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S))
    except (http.client.HTTPException, ConnectionResetError):
        return _over_tls(host, int(port))  # it hung up on plain text
    except OSError as error:
        return f"{host}:{port}: {error}"


def _over_tls(host: str, port: int) -> str | None:
    # Nothing is sent that needs protecting, and the certificate names another host than loopback.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001
    try:
        return _asked(http.client.HTTPSConnection(host, port, timeout=DEADLINE_S, context=context))
    except ssl.SSLError as error:
        demanded = {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
        return None if error.reason in demanded else f"TLS: {error.reason}"
    except http.client.RemoteDisconnected:
        return None  # the handshake was done, and the missing certificate ended it
    except (OSError, http.client.HTTPException) as error:
        return f"{host}:{port}: {error}"


def _asked(connection: http.client.HTTPConnection) -> str | None:
    try:
        connection.request("GET", "/-/healthy")
        status = connection.getresponse().status
    finally:
        connection.close()
    return None if status in SERVES else f"/-/healthy answered {status}"


if __name__ == "__main__":
    sys.exit(main())
