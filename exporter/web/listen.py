"""Listen addresses to bound sockets."""

import errno
import socket

from exporter.config.values import parse_listen
from exporter.errors import ExporterError

BACKLOG = 1024
_WHY = {
    errno.EADDRINUSE: "the address is in use; another exporter may be running there",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.EACCES: "the system does not allow it; ports below 1024 need a privilege",
}


class ListenError(ExporterError):
    """The server cannot listen on the configured address."""


def bind(address: str) -> socket.socket:
    """Return a socket that listens on ``address``; raise ``ListenError``.

    ``host:port``, ``[v6]:port``, or ``:port`` for all interfaces; port 0 takes a free one.
    """
    host, port = parse_listen(address)
    try:
        listener = _listen(host, port)
    except OSError as error:
        why = _WHY.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"cannot listen on {address}: {why}") from error
    # Accepted sockets inherit it; without it head and body of an answer are 40 ms apart.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def shown(listener: socket.socket) -> str:
    """Return the address that ``listener`` is bound to, as ``host:port``."""
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    if host in ("", "::") and socket.has_dualstack_ipv6():  # every address, of IPv4 too
        return socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
        )
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)  # noqa: S104
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return socket.create_server(where[:2], family=family, backlog=BACKLOG)
