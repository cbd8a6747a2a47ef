"""Vendors that cost next to nothing, so that a benchmark measures the exporter."""

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import Receive, Scope, Send


def serve(answer: Callable[[str], bytes]) -> None:
    """Serve the JSON that ``answer`` returns for a query string; print the address first."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        body = answer(scope["query_string"].decode())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Accepted sockets inherit it; without it head and body of an answer are 40 ms apart.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the answer
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
