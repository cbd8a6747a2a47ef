"""Which proxy a request takes, from the environment: ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``.

Requests to this machine never take a proxy: it would read the key in clear text.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from exporter.config.values import is_loopback_host


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for ``url``, None for a direct connection."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(url) or _is_exempt(host, parts.port, _variable("no_proxy", environ)):
        return None
    proxy = _variable(f"{parts.scheme}_proxy", environ) or _variable("all_proxy", environ)
    return proxy and (proxy if "://" in proxy else f"http://{proxy}")


def is_loopback(url: str) -> bool:
    """Return whether ``url`` points at this machine."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return is_loopback_host(host) or host.endswith(".localhost")


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the variable in lower case, else in upper case, as curl does; None if empty."""
    return environ.get(name) or environ.get(name.upper()) or None


def _is_exempt(host: str, port: int | None, listed: str | None) -> bool:
    return any(_covers(entry.strip(), host, port) for entry in (listed or "").split(","))


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Return whether ``entry`` of ``NO_PROXY`` (``*``, a domain, an address, a range) has ``host``."""
    if entry in {"", "*"}:
        return entry == "*"
    address = _address(host)
    if address is not None:
        network = _network(entry)
        return network is not None and address in network
    name, _, wanted = entry.lower().lstrip(".").partition(":")
    if wanted and wanted != str(port or ""):
        return False
    return host == name or host.endswith(f".{name}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None
