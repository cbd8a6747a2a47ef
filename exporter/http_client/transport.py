"""The wire to the vendors: one HTTP client for all of them, loaded with the first request.

Loading it, and the certificates that it trusts, takes longer than all else between the start of
the program and its first scrape.
"""

import importlib.util
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from exporter.errors import SchemaError, TimedOut, Unreachable

if TYPE_CHECKING:
    import httpx

MAX_BODY_BYTES = 16 * 1024 * 1024
TIMEOUT_S = 30.0
CONNECT_S = 5.0
KEPT = 64

# The HTTP library looks for sniffio at every lock; that it is missing must be found out only once,
# since looking through the path costs more than the rest of a request.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment] # what Python documents for "missing"


class Request(NamedTuple):
    """One request as it is sent. ``endpoint`` is what an error may call it."""

    endpoint: str
    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None


class Response(NamedTuple):
    """What came back: the status, headers by name in any case, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends requests and keeps the connections; redirects are not followed.

    ``transport`` takes the place of the network.
    """

    def __init__(self, transport: "httpx.AsyncBaseTransport | None" = None) -> None:
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Use the wire until the end of the block."""
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self.close()

    async def send(self, message: Request) -> Response:
        """Return the answer; raise ``TimedOut``, ``Unreachable`` or, over 16 MiB, ``SchemaError``."""
        import httpx  # noqa: PLC0415 - see the module's docstring

        try:
            return await self._transfer(message)
        except httpx.TimeoutException:
            raise TimedOut(f"{message.endpoint}: no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"{message.endpoint}: {type(error).__name__}") from None

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _transfer(self, message: Request) -> Response:
        client = self._client = self._client or self._new_client()
        request = client.build_request(
            message.method, message.url, content=message.content, headers=message.headers
        )
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise SchemaError(f"{message.endpoint}: the answer is larger than 16 MiB")
        finally:
            await response.aclose()
        return Response(response.status_code, response.headers, bytes(body))

    def _new_client(self) -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415 - as above

        return httpx.AsyncClient(
            transport=self._transport,
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S),
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=KEPT),
        )
