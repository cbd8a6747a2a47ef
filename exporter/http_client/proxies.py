"""Which proxy a request takes, from the environment: ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``.

Requests to this machine never take a proxy: it would read the key in clear text.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from exporter.config.values import is_loopback_host
from exporter.errors import MachineError


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for ``url``, None for a direct connection."""
    _, proxy = _variable_for(url, environ)
    return proxy and _with_scheme(proxy)


def check_proxy(url: str, environ: Mapping[str, str]) -> None:
    """Raise ``MachineError`` if the variable with the proxy for ``url`` cannot be used.

    The message leaves the value out, since it may hold a password.
    """
    name, proxy = _variable_for(url, environ)
    problem = proxy and _problem(_with_scheme(proxy))
    if problem:
        raise MachineError(f"{name}: {problem}; correct or unset the variable")


def is_loopback(url: str) -> bool:
    """Return whether ``url`` points at this machine."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return is_loopback_host(host) or host.endswith(".localhost")


def _variable_for(url: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the variable that names the proxy for ``url``, and its value, None without a proxy."""
    parts = urlsplit(url)
    host, exempt = parts.hostname or "", _variable("no_proxy", environ)[1]
    exempted = any(_covers(each.strip(), host, parts.port) for each in (exempt or "").split(","))
    if exempted or is_loopback(url):
        return "", None
    name, proxy = _variable(f"{parts.scheme}_proxy", environ)
    return (name, proxy) if proxy else _variable("all_proxy", environ)


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the variable in lower case, else in upper case, as curl does; None if empty."""
    if environ.get(name):
        return name, environ[name]
    return name.upper(), environ.get(name.upper()) or None


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _problem(proxy: str) -> str | None:
    """Return what makes the address of a proxy unusable, None if nothing does."""
    try:
        parts = urlsplit(proxy)
        host, _ = parts.hostname, parts.port  # a wrong port raises
    except ValueError:
        return "not an address such as http://proxy.example:3128"
    if parts.scheme.startswith("socks"):
        return "SOCKS proxies are not supported, only HTTP proxies"
    if parts.scheme not in {"http", "https"} or not host or any(map(str.isspace, proxy)):
        return "not an address such as http://proxy.example:3128"
    return None


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Return whether ``entry`` of ``NO_PROXY`` (``*``, a domain, an address, a range) has ``host``."""
    if entry in {"", "*"}:
        return entry == "*"
    address, network = _network(host), _network(entry)
    if address is not None:
        return network is not None and address.network_address in network
    name, _, wanted = entry.lower().lstrip(".").partition(":")
    if wanted and wanted != str(port or ""):
        return False
    return host == name or host.endswith(f".{name}")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the range ``text``, of which a single address is the smallest; None: a name."""
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None
