"""Remote write against receivers that answer by script: what is sent, again, and where it stops."""

import sqlite3
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cramjam
import httpx
import pytest
import sqlalchemy as sa
import stamina

from exporter.exposition.backfill import remote_write
from exporter.exposition.backfill.remote_write import WRITTEN, NotAccepted, Sender
from exporter.exposition.backfill.source import PastKind
from exporter.ledger.progress import BackfillProgress
from exporter.model.samples import Window
from tests.exposition.backfill.scene import END_MS, MINUTE_MS, Key, Scene, lived, points_of
from tests.support.virtual import VirtualClock, run_virtual

URL = "http://receiver.test/api/v1/write"
Answer = Callable[[int], httpx.Response]
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def expected(scene: Scene) -> dict[tuple[Key, int], float]:
    """Return what the file has, by series and instant."""
    found = points_of(scene.backfilled())
    return {(key, at_ms): value for key, of in found.items() for at_ms, value in of.items()}


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    """Decode one protobuf message as the wire format is described, without its library."""
    at, found = 0, list[tuple[int, Any]]()
    while at < len(data):
        tag, at = varint(data, at)
        value: Any
        match tag & 7:
            case 0:
                value, at = varint(data, at)
            case 1:
                (value,), at = struct.unpack_from("<d", data, at), at + 8
            case _:
                length, at = varint(data, at)
                value, at = data[at : at + length], at + length
        found.append((tag >> 3, value))
    return found


def decoded(request: httpx.Request) -> list[tuple[Key, dict[str, Any], list[dict[int, Any]]]]:
    """Return the series of a request: labels, metadata, and samples by number of the field."""
    message = fields(bytes(cramjam.snappy.decompress_raw(request.content)))
    found = []
    symbols = [value.decode() for number, value in message if number == 4]
    for series in (fields(value) for number, value in message if number in {1, 5}):
        points = [dict(fields(value)) for number, value in series if number == 2]
        metadata = dict(pair for number, value in series if number == 5 for pair in fields(value))
        texts: list[str] = []
        for number, value in series:
            if number == 1 and symbols:
                at = 0
                while at < len(value):
                    ref, at = varint(value, at)
                    texts.append(symbols[ref])
            elif number == 1:
                texts += [text.decode() for _, text in fields(value)]
        assert not symbols or symbols[0] == ""
        key = tuple(zip(texts[::2], texts[1::2], strict=True))
        assert key == tuple(sorted(key))
        meant = {"type": metadata.get(1), "help": symbols[metadata[3]] if metadata else ""}
        found.append((key, meant, points))
    return found


@dataclass
class Receiver:
    """Answers by script and keeps what it accepted, as a database does: equal samples are one."""

    answer: Answer
    taken: dict[tuple[Key, int], float] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answer(len(self.requests))
        if answer.is_success and self._understands(request):
            for key, _, points in decoded(request):
                for point in points:
                    value = self.taken.setdefault((key, point[2]), point.get(1, 0.0))
                    assert value == point.get(1, 0.0)
        return answer

    def _understands(self, request: httpx.Request) -> bool:
        return "v2" not in request.headers["content-type"] or WRITTEN in self.answer(0).headers


def ok(_number: int) -> httpx.Response:
    return httpx.Response(204, headers={WRITTEN: "1"})


def sent(
    scene: Scene,
    receiver: Handler,
    protocol: int | None = None,
    clock: VirtualClock | None = None,
    *,
    kinds: tuple[PastKind, ...] = tuple(PastKind),
    job: str = "test",
) -> Sender:
    past, clock = scene.opened(), clock or VirtualClock(END_MS)
    progress = BackfillProgress(scene.driver.url, job)
    sender: list[Sender] = []

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(receiver)) as client:
            sender.append(Sender(URL, client, clock, protocol))
            await remote_write.send_all(
                past.families(kinds),
                sender[0],
                progress,
                lambda _: None,
                step_ms=4 * MINUTE_MS,
                within=Window(0, END_MS),
            )

    try:
        run_virtual(main(), clock)
    finally:
        past.close()
        progress.close()
    return sender[0]


@pytest.mark.parametrize("protocol", [1, 2])
def test_every_sample_of_the_file_is_sent_in_small_requests(
    scene: Scene, expected: dict[tuple[Key, int], float], protocol: int
) -> None:
    receiver = Receiver(ok)

    done = sent(scene, receiver, protocol)

    assert receiver.taken == expected
    assert done.sent.samples == len(expected)
    sent_ = [
        [point for _, _, all_ in decoded(each) for point in all_] for each in receiver.requests
    ]
    assert any(3 in point for each in sent_ for point in each) is (protocol == 2)  # its start
    sizes = [*map(len, sent_)]
    assert set(sizes[:-1]) == {2000}
    assert 0 < sizes[-1] <= 2000
    names = ("content-type", "x-prometheus-remote-write-version")
    assert {tuple(each.headers[name] for name in names) for each in receiver.requests} == {
        {
            1: ("application/x-protobuf", "0.1.0"),
            2: ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        }[protocol]
    }


def test_samples_of_2_0_say_when_the_counter_began_and_what_it_is(scene: Scene) -> None:
    receiver = Receiver(ok)
    sent(scene, receiver, 2, kinds=(PastKind.COUNTERS,))
    begun: dict[Key, set[int]] = {}
    first: dict[Key, int] = {}

    for request in receiver.requests:
        for key, meant, points in decoded(request):
            assert meant["type"] == 1
            assert meant["help"]
            first.setdefault(key, points[0][2])
            begun.setdefault(key, set()).update(point.get(3, 0) for point in points)

    assert {key: {0, at_ms} for key, at_ms in first.items()} == begun  # 0: no time has passed yet


@pytest.mark.parametrize(
    "refusal", [httpx.Response(415), httpx.Response(204)], ids=["415", "no header"]
)
def test_a_receiver_of_1_0_gets_1_0(
    scene: Scene, expected: dict[tuple[Key, int], float], refusal: httpx.Response
) -> None:
    receiver = Receiver(lambda _number: httpx.Response(204))
    if refusal.status_code == 415:
        receiver.answer = lambda number: refusal if number == 1 else httpx.Response(204)

    sent(scene, receiver)

    assert receiver.taken == expected
    kinds = ["v2" in each.headers["content-type"] for each in receiver.requests]
    assert kinds == [True] + [False] * (len(kinds) - 1)
    with pytest.raises(NotAccepted, match=r"does not know remote write 2\.0"):
        sent(scene, Receiver(lambda _number: refusal), 2)


def test_429_and_5xx_are_sent_again_after_what_they_ask_for(
    scene: Scene, expected: dict[tuple[Key, int], float]
) -> None:
    script = {1: (429, "7"), 2: (500, None), 3: (503, "2.5")}

    def answer(number: int) -> httpx.Response:
        status, after = script.get(number, (204, None))
        return httpx.Response(status, headers={"retry-after": after} if after else {WRITTEN: "1"})

    clock = VirtualClock(END_MS)
    receiver = Receiver(answer)
    sent(scene, receiver, 1, clock)

    assert receiver.taken == expected
    assert clock.monotonic() == pytest.approx(7 + 2 + 2.5)


@pytest.mark.parametrize(
    ("status", "said", "message", "requests"),
    [
        *(
            (status, "no such tenant", f"HTTP {status}: no such", 1)
            for status in (400, 401, 404, 413)
        ),
        *(
            (status, said, r"out_of_order_time_window: 3d", 1)
            for status, said in (
                *((400, "out of order sample"), (400, "out of bounds")),
                *((400, "the sample is too old (err-mimir-…)"), (500, "too old sample")),
            )
        ),
        (503, "no leader", "HTTP 503: no leader, 8 times; run the command again to resume", 8),
    ],
)
def test_a_refusal_ends_it_with_what_to_do_and_5xx_after_some_tries(
    scene: Scene, status: int, said: str, message: str, requests: int
) -> None:
    receiver = Receiver(lambda _number: httpx.Response(status, text=said))

    with pytest.raises(NotAccepted, match=message):
        sent(scene, receiver)

    assert len(receiver.requests) == requests


def test_a_receiver_that_asks_for_a_certificate_is_named_after_some_tries(scene: Scene) -> None:
    def alert(_request: httpx.Request) -> httpx.Response:
        raise ssl.SSLError(1, "tlsv13 alert certificate required")

    with pytest.raises(NotAccepted, match="no answer: SSLError, 8 times"):
        sent(scene, alert)


def test_a_job_that_is_done_begins_anew(
    scene: Scene, expected: dict[tuple[Key, int], float]
) -> None:
    receiver = Receiver(ok)

    numbers = []
    for _ in range(2):
        sent(scene, receiver, 1)
        numbers.append(len(receiver.requests))

    assert receiver.taken == expected
    assert numbers[1] == 2 * numbers[0]


def test_a_series_that_is_gone_meanwhile_ends_no_resumption(
    scene: Scene, expected: dict[tuple[Key, int], float]
) -> None:
    progress = BackfillProgress(scene.driver.url, "test")
    progress.note('{"family":"chatbot_gone_total","labels":[],"at_ms":1}')
    progress.close()
    receiver = Receiver(ok)

    sent(scene, receiver, 1)

    assert receiver.taken == expected


@pytest.mark.parametrize("start", ["zero", "history"])
def test_on_a_later_day_counters_have_the_same_values_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setattr(remote_write, "MOST_SAMPLES", 200)
    with lived(tmp_path, 12, start) as scene:
        first = Receiver(ok)
        sent(scene, first, kinds=(PastKind.COUNTERS,))
        cut = Receiver(lambda number: ok(0) if number < 3 else httpx.Response(400))
        with pytest.raises(NotAccepted):
            sent(scene, cut, kinds=(PastKind.COUNTERS,))
        scene.retire(hours=6)
        second = Receiver(ok)
        sent(scene, second, kinds=(PastKind.COUNTERS,), job="again")
        cut.answer = ok
        sent(scene, cut, kinds=(PastKind.COUNTERS,))

    assert second.taken.items() < first.taken.items()
    assert cut.taken.items() <= first.taken.items()
    assert max(first.taken.values()) in second.taken.values()


def test_progress_waits_for_an_exporter_that_is_busy(scene: Scene) -> None:
    progress = BackfillProgress(scene.driver.url, "busy")
    refusals = [sqlite3.OperationalError("database is locked")] * 3

    @sa.event.listens_for(progress._engine, "before_cursor_execute")
    def locked(*_given: Any) -> None:
        if refusals:
            raise refusals.pop()

    with stamina.set_testing(testing=True, attempts=5):
        progress.note("here")

    assert (progress.read(), refusals) == ("here", [])
    progress.close()
