"""Sends the past to a Prometheus remote-write receiver, resuming after what it accepted.

Requests of remote write 1.0 and 2.0 are protobuf, compressed with snappy. Options for reaching the
receiver have the keys of Prometheus' ``remote_write`` section.
"""

import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cramjam
import httpx
import msgspec
from pydantic import BaseModel, ConfigDict

from exporter import __version__
from exporter.clock import Clock
from exporter.config.messages import checked
from exporter.config.source import Source, is_blank, read
from exporter.errors import ExporterError, SettingsError
from exporter.exposition.backfill.past import Labels, PastSeries
from exporter.exposition.backfill.source import Families, FoundSeries
from exporter.exposition.backfill.wire_pb2 import Request, Sample, WriteRequest
from exporter.format import stamp
from exporter.http_client.client import retry_after_s
from exporter.http_client.transport import client_options
from exporter.ledger.progress import BackfillProgress
from exporter.model.samples import DAY_MS, MetricType, Window

MOST_SAMPLES = 2_000
TIMEOUT_S = 60.0
TRIES = 8
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
MOST_ASKED_S = 3_600.0
WRITTEN = "X-Prometheus-Remote-Write-Samples-Written"
PROTOBUF = "application/x-protobuf"
CONTENT = {1: PROTOBUF, 2: f"{PROTOBUF};proto=io.prometheus.write.v2.Request"}
VERSION = {1: "0.1.0", 2: "2.0.0"}
OLD = ("too old", "out of order", "out of bounds", "too far", "too-old", "out-of-order")
"""How Prometheus, Mimir and Thanos describe samples that are too old to accept."""
LONGEST_ANSWER = 200
MARGIN_DAYS = 2
"""Time until the user sets the window, and for the run itself."""
NAME = "__name__"
COUNTER, GAUGE = 1, 2
"""Numbers of metric types in the metadata of 2.0."""


class NotAccepted(ExporterError):
    """The receiver does not accept the samples; the message says what to do."""


class Position(msgspec.Struct, frozen=True):
    """The last sample that was accepted."""

    family: str
    labels: Labels
    at_ms: int


class Part(NamedTuple):
    """Some samples of one series, oldest first: instants in milliseconds and values."""

    series: PastSeries
    samples: list[tuple[int, float]]


@dataclass(slots=True)
class Sent:
    """How much was sent."""

    samples: int = 0
    requests: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        """Return the numbers as text."""
        return f"{self.samples} samples in {self.requests} requests, {self.bytes} bytes"


class Sender:
    """Sends requests to ``url``; without ``protocol`` it tries 2.0 and falls back to 1.0."""

    def __init__(
        self, url: str, client: httpx.AsyncClient, clock: Clock, protocol: int | None = None
    ) -> None:
        self._url = url
        self._client = client
        self._clock = clock
        self._protocol = protocol or 2
        self._falls_back = protocol is None
        self.sent = Sent()

    async def send(self, parts: Sequence[Part]) -> None:
        """Return once the receiver has accepted ``parts``; raise ``NotAccepted``."""
        answer = await self._answered(parts)
        understood = self._protocol == 1 or WRITTEN in answer.headers
        unknown = answer.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE or (
            answer.is_success and not understood
        )
        if unknown and self._falls_back and self._protocol > 1:
            self._protocol = 1
            await self.send(parts)
            return
        if unknown:
            raise NotAccepted(f"the receiver does not know remote write {self._protocol}.0")
        if not answer.is_success:
            raise NotAccepted(self._refusal(answer, parts))
        self.sent.samples += sum(len(part.samples) for part in parts)

    async def _answered(self, parts: Sequence[Part]) -> httpx.Response:
        """Return the first answer other than 429 and 5xx; give up after ``TRIES``."""
        body, wait_s, problem = encode(parts, self._protocol), FIRST_WAIT_S, ""
        headers = {
            "Content-Type": CONTENT[self._protocol],
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": VERSION[self._protocol],
        }
        for left in range(TRIES - 1, -1, -1):
            asked_s = None
            try:
                answer = await self._client.post(self._url, content=body, headers=headers)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol):  # the error may quote a password
                raise NotAccepted("--remote-write: not an http or https URL") from None
            except (httpx.TransportError, ssl.SSLError) as error:
                problem = f"no answer: {type(error).__name__}"
            else:
                self.sent.requests += 1
                self.sent.bytes += len(body)
                may_change = answer.is_server_error and not _is_too_old(answer)
                if not may_change and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return answer
                problem = _response_text(answer)
                asked_s = retry_after_s(answer.headers.get("retry-after"), self._clock.now_ms())
            if left:
                await self._clock.sleep(wait_s if asked_s is None else min(asked_s, MOST_ASKED_S))
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        raise NotAccepted(
            f"--remote-write: {problem}, {TRIES} times; run the command again to resume"
        )

    def _refusal(self, answer: httpx.Response, parts: Sequence[Part]) -> str:
        oldest_ms = min(part.samples[0][0] for part in parts)
        if _is_too_old(answer):
            days = (self._clock.now_ms() - oldest_ms) // DAY_MS + MARGIN_DAYS
            return (
                f"the receiver rejects samples of {stamp(oldest_ms)} as too old; set its out-of-"
                f"order window to {days}d (Prometheus: storage.tsdb.out_of_order_time_window: "
                f"{days}d) and run the command again to resume"
            )
        return f"--remote-write: {_response_text(answer)}"


def _is_too_old(answer: httpx.Response) -> bool:
    """Return whether samples were refused for their age; Prometheus answers 400 or 500 then."""
    said = answer.text.lower()
    refused = answer.is_server_error or answer.status_code == httpx.codes.BAD_REQUEST
    return refused and any(words in said for words in OLD)


def _response_text(answer: httpx.Response) -> str:
    text = " ".join(answer.text.split())[:LONGEST_ANSWER]
    return f"HTTP {answer.status_code}{': ' * bool(text)}{text}"


async def send_all(
    families: Families,
    sender: Sender,
    progress: BackfillProgress,
    advance: Callable[[int], None],
    *,
    step_ms: int,
    within: Window,
) -> None:
    """Send all samples in ``within``, resuming after the position in ``progress``.

    Samples accepted after that position are sent again: a receiver ignores duplicates.
    """
    text = progress.read()
    after = None if text is None else msgspec.json.decode(text, type=Position)
    if after is not None and after.family not in {family.name for family, _ in families}:
        after = None
    for parts in batches(families, after, advance, step_ms=step_ms, within=within):
        await sender.send(parts)
        past, samples = parts[-1]
        position = Position(past.family.name, past.labels, samples[-1][0])
        progress.note(msgspec.json.encode(position).decode())
    progress.end()


def batches(
    families: Families,
    after: Position | None,
    advance: Callable[[int], None],
    *,
    step_ms: int,
    within: Window,
) -> Iterator[list[Part]]:
    """Yield at most ``MOST_SAMPLES`` samples at a time, series by series, oldest first."""
    parts: list[Part] = []
    room = MOST_SAMPLES
    for found, since_ms in _left(families, after, advance):
        past = found.load()
        runs = past.runs(step_ms, Window(max(within.start_ms, since_ms), within.end_ms))
        samples = [(at_ms, value) for instants, value in runs for at_ms in instants]
        while samples:
            parts.append(Part(past, samples[:room]))
            samples, room = samples[room:], room - len(parts[-1].samples)
            if not room:
                yield parts
                parts, room = [], MOST_SAMPLES
        advance(1)
    if parts:
        yield parts


def _left(
    families: Families, after: Position | None, advance: Callable[[int], None]
) -> Iterator[tuple[FoundSeries, int]]:
    """Yield the series not completely accepted, each with the first instant still to send."""
    for family, every in families:
        reached = after is None or family.name == after.family
        left = [each for each in every if reached and (not after or each.labels >= after.labels)]
        advance(len(every) - len(left))
        for found in left:
            begun = after is not None and found.labels == after.labels
            yield found, after.at_ms + 1 if after is not None and begun else 0
        if reached:
            after = None


def encode(parts: Sequence[Part], protocol: int) -> bytes:
    """Return the request body for ``parts``."""
    message = _symbols(parts) if protocol > 1 else _labelled(parts)
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString(deterministic=True)))


def _labelled(parts: Sequence[Part]) -> WriteRequest:
    request = WriteRequest()
    for past, samples in parts:
        series = request.timeseries.add()
        for name, value in _named(past):
            series.labels.add(name=name, value=value)
        series.samples.extend(Sample(value=value, timestamp=at) for at, value in samples)
    return request


def _symbols(parts: Sequence[Part]) -> Request:
    numbers = {"": 0}
    request = Request()

    def number(text: str) -> int:
        return numbers.setdefault(text, len(numbers))

    for past, samples in parts:
        series = request.timeseries.add()
        series.labels_refs.extend(number(text) for pair in _named(past) for text in pair)
        counts = past.family.kind is MetricType.COUNTER
        series.metadata.type = COUNTER if counts else GAUGE
        series.metadata.help_ref = number(past.family.help)
        start = past.start_ms or 0
        series.samples.extend(
            Sample(value=value, timestamp=at, start_timestamp=start if start < at else 0)
            for at, value in samples
        )
    request.symbols.extend(numbers)
    return request


def _named(past: PastSeries) -> list[tuple[str, str]]:
    return sorted([(NAME, past.family.name), *past.labels])


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class BasicAuthOptions(_Options):
    """A user name, and a password or the file that contains it."""

    username: str
    password: str | None = None
    password_file: Path | None = None


class AuthorizationOptions(_Options):
    """The ``Authorization`` header: a type, and credentials or the file that contains them."""

    type: str = "Bearer"
    credentials: str | None = None
    credentials_file: Path | None = None


class ClientTlsOptions(_Options):
    """A CA to trust besides the system's, and the client's own certificate."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class ReceiverOptions(_Options):
    """The whole file; paths are relative to its folder."""

    headers: dict[str, str] = {}
    basic_auth: BasicAuthOptions | None = None
    authorization: AuthorizationOptions | None = None
    tls_config: ClientTlsOptions = ClientTlsOptions()


def client(url: str, path: Path | None, certificates: ssl.SSLContext) -> httpx.AsyncClient:
    """Return a client for ``url`` with the options in the file at ``path``; raise ``SettingsError``."""
    source = Source(str(path), data={})
    try:
        if path and not is_blank(raw := path.read_bytes()):
            source = read(raw, source.file)
        options, wrong = checked(ReceiverOptions, source.data)
        if options is None or source.problems:
            raise SettingsError([*source.problems, *(each.located(source, ()) for each in wrong)])
        folder = path.parent if path else Path()
        return httpx.AsyncClient(
            headers={"User-Agent": f"chatbot-exporter/{__version__}", **_headers(options, folder)},
            auth=_auth(options.basic_auth, folder),
            timeout=TIMEOUT_S,
            **client_options(url, _trusted(options.tls_config, folder, certificates)),
        )
    except UnicodeError:
        problem = source.problem((), "not UTF-8, or a header that is not ASCII")
    except ssl.SSLError:
        words = "a file has no certificate, or the key does not belong to it"
        problem = source.problem(("tls_config",), words)
    except OSError as error:
        problem = source.problem((), f"{error.filename or ''}: {error.strerror}")
    raise SettingsError([problem])


def _headers(options: ReceiverOptions, folder: Path) -> dict[str, str]:
    given = options.authorization
    if given is None:
        return options.headers
    secret = _secret(given.credentials, given.credentials_file, folder)
    return {**options.headers, "Authorization": f"{given.type} {secret}"}


def _auth(given: BasicAuthOptions | None, folder: Path) -> httpx.BasicAuth | None:
    if given is None:
        return None
    return httpx.BasicAuth(given.username, _secret(given.password, given.password_file, folder))


def _secret(text: str | None, file: Path | None, folder: Path) -> str:
    return (folder / file).read_text("utf-8").strip() if file else text or ""


def _trusted(given: ClientTlsOptions, folder: Path, certificates: ssl.SSLContext) -> ssl.SSLContext:
    ca, cert, key = (
        _readable(folder / file) if file else None
        for file in (given.ca_file, given.cert_file, given.key_file)
    )
    if ca:
        certificates.load_verify_locations(ca)
    if cert:
        certificates.load_cert_chain(cert, key)
    return certificates


def _readable(path: Path) -> Path:
    path.read_bytes()  # unlike ssl's, this error names the file
    return path
