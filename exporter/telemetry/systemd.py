"""Tells systemd that the service is ready and alive (sd_notify(3)); elsewhere it does nothing."""

import os
import socket
from collections.abc import Mapping

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def notify(state: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send ``state`` to systemd's socket, if there is one; never block, never fail."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    path = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(state.encode(), path)
    except OSError:  # the socket is gone, or this process cannot open any more files
        return
