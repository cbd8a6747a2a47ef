"""Simulators, and single answers, that other processes can ask for over real sockets."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from exporter.clock import Clock, SystemClock
from exporter.simulator import SIMULATORS
from exporter.simulator.server import Service, serving
from exporter.simulator.traffic import Traffic

LONGEST_S = 60.0


@contextmanager
def answering(
    handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Answer requests on loopback until the block is left, however it is; yield the port."""
    quiet = type("Quiet", (handler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), quiet) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def answering_json(answer: Callable[[bytes], tuple[int, Any]]) -> Iterator[str]:
    """Answer each request with the status and the JSON, or bytes, that ``answer`` makes of it.

    ``answer`` is given the body, or the query of the URL where there is none.
    """

    def handle(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        status, found = answer(body or urlsplit(request.path).query.encode())
        request.send_response(status)
        request.end_headers()
        request.wfile.write(found if isinstance(found, bytes) else json.dumps(found).encode())

    methods = {"do_GET": handle, "do_POST": handle}
    with answering(type("Answering", (BaseHTTPRequestHandler,), methods)) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def taking(
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[int, list[tuple[bytes, dict[str, str]]]]]:
    """Take what is posted on loopback; yield the port, and bodies and headers as they come."""
    taken: list[tuple[bytes, dict[str, str]]] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(204)
            self.end_headers()

    with answering(Taking, tls) as port:
        yield port, taken


class ServedVendors:
    """Simulators on one clock, served from a thread of their own until the block is left.

    ``traffic`` is what happens at all of them that are not built with another.
    """

    def __init__(
        self,
        names: Iterable[str],
        traffic: Traffic | None = None,
        clock: Clock | None = None,
        builders: Mapping[str, Callable[[Clock, Traffic], Service]] = SIMULATORS,
    ) -> None:
        self.clock = clock or SystemClock()
        self.traffic = traffic or Traffic(None)
        self.services = {name: builders[name](self.clock, self.traffic) for name in names}
        self.urls: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._down = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with serving(self.services) as self.urls:
            self._up.set()
            await self._down.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(LONGEST_S)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(LONGEST_S)

    def ask(self, call: Callable[[], Any]) -> Any:
        """Return what ``call`` returns in the vendors' own thread."""

        async def answered() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(answered(), self._loop).result(LONGEST_S)

    def target(self, name: str) -> dict[str, Any]:
        """Return the settings that ask a vendor, as a target named after it."""
        return {"name": name} | self.services[name].target(self.urls[name])


def document(folder: Path, *targets: Mapping[str, Any], **defaults: str) -> dict[str, Any]:
    """Return a settings file with these targets, and with its ledger in ``folder``."""
    return {
        "version": 1,
        "allow_inline_secrets": True,
        "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
        "defaults": defaults,
        "targets": [dict(target) for target in targets],
    }
