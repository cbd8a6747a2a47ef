"""Every simulator in process, behind one transport, and the settings that ask them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import httpx
import yaml

from exporter.clock import Clock
from exporter.config import loads
from exporter.config.model import Settings
from exporter.exposition import catalogue
from exporter.providers import PROVIDERS
from exporter.simulator import SIMULATORS
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic


class Vendors(httpx.AsyncBaseTransport):
    """Simulators at ports of their own that no socket knows; ``services`` by provider."""

    def __init__(self, clock: Clock, *, per_hour: int = 6, traffic: Traffic | None = None) -> None:
        traffic = traffic or Traffic(1, per_hour=per_hour)
        self.services: dict[str, Service] = {
            name: build(clock, traffic) for name, build in SIMULATORS.items()
        }
        self._urls = {
            name: f"http://127.0.0.1:{port}" for port, name in enumerate(self.services, 40_000)
        }
        self._doors = {
            httpx.URL(url).port: httpx.ASGITransport(self.services[name])
            for name, url in self._urls.items()
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._doors[request.url.port].handle_async_request(request)

    def document(self, changes: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """Return a settings file with one target for each provider, named after it; no history."""
        return {
            "version": 1,
            "allow_inline_secrets": True,
            "targets": [
                {"name": name, "provider": name, "initial_lookback": 0}
                | service.target(self._urls[name])
                | dict((changes or {}).get(name, {}))
                for name, service in self.services.items()
            ],
        }

    def settings(self, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
        """Return the settings in that file."""
        return read(self.document(changes))


def read(document: Mapping[str, Any]) -> Settings:
    """Return the settings in ``document``."""
    return read_text(yaml.safe_dump(dict(document)))


def read_text(text: str, environ: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Return the settings in a text, as the commands do."""
    options = {name: kind.options for name, kind in PROVIDERS.items()}
    return loads(text, options, environ, families=catalogue.capped(PROVIDERS))
