"""Which ``Host`` a request may name: a page of a stranger's domain must not reach the exporter.

With DNS rebinding a domain of an attacker points at this machine, and a browser then treats the
attacker's page as ours. Such a domain is a public name, so addresses, names without a dot and
names under reserved domains (RFC 6761, RFC 6762, Kubernetes) are safe.
"""

import ipaddress
from collections.abc import Collection

RESERVED = (".localhost", ".local", ".internal", ".svc", ".test")


def is_allowed(host: str, allowed: Collection[str]) -> bool:
    """Return whether the ``Host`` header ``host`` (with or without port) may be served.

    ``allowed`` are further names, in lower case and without port.
    """
    name = _name(host)
    if name in allowed or _is_address(name):
        return True
    return bool(name) and ("." not in name or name.endswith(RESERVED))


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
