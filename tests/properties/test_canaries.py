"""P18: no secret, identifier or text of a vendor's traffic is shown, logged or kept, anywhere."""

import html
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from exporter.app import App
from exporter.model.samples import HOUR_MS
from exporter.providers import BUILT_IN
from exporter.simulator import SIMULATORS
from exporter.simulator.conversations import Kind
from exporter.simulator.xenioo import BOTS
from exporter.web.app import OPENMETRICS, TEXT, build
from tests.support.fault_matrix import ERROR_BODIES
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual
from tests.web.served import ask

SECRETS = ("api_key", "account_key", "token")
IDENTIFIERS = ("id", "user_id", "conversation_id")
ALLOWED = ("hello", "price")
SHORTEST = 6
"""Shorter texts, such as "hi", stand in words of our own."""

SCRIPTED = (
    Kind.CONVERSATION_STARTED,
    Kind.MESSAGE_RECEIVED,
    Kind.HANDOVER,
    Kind.FEEDBACK,
    Kind.SEARCH,
)


@dataclass
class Transport(httpx.AsyncBaseTransport):
    """Leads to the simulators, and keeps what was sent and answered: path, key, body."""

    vendors: Vendors
    keys: set[str] = field(default_factory=set)
    answers: list[tuple[str, bytes]] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.keys.add(request.headers.get("authorization", "").rpartition(" ")[2])
        answer = await self.vendors.handle_async_request(request)
        self.answers.append((request.url.path, await answer.aread()))
        return answer

    def said(self) -> bytes:
        return b"\n".join(body for _, body in self.answers)


@dataclass
class Traces:
    """All that the exporter gave away: by name, as bytes; ``explained`` series, by target."""

    found: dict[str, bytes] = field(default_factory=dict)
    explained: dict[str, int] = field(default_factory=dict)

    def keep(self, folder: Path, when: str) -> None:
        """Take the ledger's files as they lie on disk, without the installation's key."""
        for path in folder.iterdir():
            if path.suffix != ".key":
                self.found[f"{path.name} {when}"] = path.read_bytes()

    def show(self, app: App, targets: list[str]) -> None:
        """Request every page that says something of the traffic."""
        web = build(app.sources)
        pages = ["/", "/api/v1/status", *(f"/?target={name}" for name in targets)]
        for path in pages:
            self.found[path] = ask(web, "GET", path).raise_for_status().content
        for form in (TEXT, OPENMETRICS):
            page = ask(web, "GET", "/metrics", headers={"accept": form}).raise_for_status()
            assert page.headers["content-type"] == form
            self.found[f"/metrics as {form}"] = page.content
        for name in targets:
            self._explain(web, name)

    def _explain(self, web: ASGIApp, target: str) -> None:
        """Request every explanation there is of a target, as a page and as JSON."""
        first, total = 1, 1
        while first <= total:
            asked = {"series": f'{{target="{target}"}}', "first": str(first)}
            answers = {
                form: ask(web, "GET", "/explain", params=asked | {"format": form}).content
                for form in ("html", "json")
            }
            for form, content in answers.items():
                self.found[f"/explain {target} from {first} as {form}"] = content
            told = json.loads(answers["json"])
            first, total = first + len(told.get("series", "?")), told.get("total", 0)
        self.explained[target] = total

    def holding(self, canaries: set[str]) -> list[tuple[str, str]]:
        """Return which of them stand where, in any spelling."""
        return [
            (name, canary)
            for name, content in self.found.items()
            for canary in sorted(canaries)
            if any(form.encode() in content for form in spellings(canary))
        ]


def spellings(text: str) -> set[str]:
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    return {text, plain, json.dumps(text)[1:-1], html.escape(text)}


@dataclass
class Scene:
    """An exporter on all five simulators, ``seconds`` long, and what it left behind."""

    folder: Path
    lines: io.StringIO
    clock: VirtualClock = field(default_factory=VirtualClock)
    traces: Traces = field(default_factory=Traces)

    def __post_init__(self) -> None:
        self.vendors = Vendors(self.clock, per_hour=20)
        self.wire = Transport(self.vendors)
        self.targets = list(self.vendors.services)
        top = {"limit": 20, "window": "24h", "allow": list(ALLOWED)}
        changes: dict[str, dict[str, Any]] = {
            "flowxo": {"top_messages": top},
            "xenioo": {"bot": BOTS[0].key},
        }
        self.document = self.vendors.document(changes) | {
            "privacy": {"top_messages": "allowlist"},
            "ledger": {"url": f"sqlite:///{self.folder}/ledger.db"},
        }

    def key(self, name: str) -> str:
        """Return the target's secret, as it is configured."""
        (entries,) = [each for each in self.document["targets"] if each["name"] == name]
        return str(next(entries[each] for each in SECRETS if each in entries))

    def secrets(self) -> set[str]:
        """Return every configured secret, and every key that a request carried."""
        configured = {self.key(name) for name in self.targets} | {BOTS[0].key}
        halves = {half for key in configured for half in key.split(":") if len(half) > SHORTEST}
        return configured | halves | self.wire.keys - {""}

    def run(self, seconds: float) -> None:
        """Let it run and end."""
        app = run_virtual(self._lived(seconds), self.clock)
        self.traces.keep(self.folder, "after the end")
        self.traces.show(app, self.targets)
        self.traces.found["log"] = self.lines.getvalue().encode()

    async def _lived(self, seconds: float) -> App:
        async with exporter(read(self.document), self.clock, self.wire) as app:
            while seconds > 0:
                seconds -= 15
                await self.clock.sleep(15)
                app.page.scrape(openmetrics=False, gzip=False)
            self.traces.keep(self.folder, "while running")
        return app

    def failures(self) -> dict[str, list[str]]:
        """Return by target what the status says of its failed polls."""
        status = json.loads(self.traces.found["/api/v1/status"])
        return {
            target["name"]: [
                query["last_error"]["sentence"]
                for query in target["queries"]
                if query["last_error"] is not None
            ]
            for target in status["targets"]
        }


def person(number: int) -> dict[str, Any]:
    """Return whose every word is a canary."""
    return {
        "user": f"canary-person-{number}",
        "conversation": f"canary-talk-{number}",
        "text": f"canary words, write to anna.{number}@canary.example",
    }


def sent_events(answers: list[tuple[str, bytes]]) -> set[str]:
    """Return every identifier and text of the events that were sent."""
    events = [
        event
        for path, body in answers
        if path.endswith("/events/stream")
        for event in json.loads(body)["events"]
    ]
    texts = {event["attributes"]["input"] for event in events}
    return texts | {event[name] for event in events for name in IDENTIFIERS}


def sent_messages(answers: list[tuple[str, bytes]]) -> set[str]:
    """Return every text that users wrote and that a list of texts had, but the allowed ones."""
    lists = [json.loads(body) for path, body in answers if path.endswith("/top_messages")]
    texts = {row["_id"] for rows in lists for row in rows}
    return {text for text in texts - set(ALLOWED) if len(text) >= SHORTEST}


def test_every_simulator_is_asked() -> None:
    assert BUILT_IN.keys() == SIMULATORS.keys()
    assert len(BUILT_IN) == 5


def test_of_what_was_counted_only_the_count_remains(tmp_path: Path, lines: io.StringIO) -> None:
    scene = Scene(tmp_path, lines)
    begun_ms = scene.clock.now_ms()
    for number in range(20):
        for kind in SCRIPTED:
            at_ms = begun_ms + (60_000 if kind is Kind.HANDOVER else -2 * HOUR_MS)
            scene.vendors.services["chatlayer"].traffic.add(kind, at_ms, **person(number))

    scene.run(240)

    assert not any(scene.failures().values())
    events, texts = sent_events(scene.wire.answers), sent_messages(scene.wire.answers)
    people = [person(number) for number in range(20)]
    assert events >= {each[name] for each in people for name in ("user", "conversation")}
    assert len([each for each in events if each.startswith("event-added-")]) >= 20
    assert texts & {each["text"] for each in people}
    metrics = scene.traces.found[f"/metrics as {TEXT}"].decode()
    assert handovers(metrics) >= 20
    for target in scene.targets:
        told = {name for name, _ in scene.traces.holding({target})}
        assert told >= {"/", "/api/v1/status", "log", "ledger.db after the end"}
        assert told >= {f"/metrics as {TEXT}", f"/metrics as {OPENMETRICS}"}
        assert told >= {f"/explain {target} from 1 as {form}" for form in ("html", "json")}
        assert scene.traces.explained[target] > 1
    assert not scene.traces.holding(events | texts | scene.secrets() | {"canary"})


def handovers(page: str) -> float:
    found = [line for line in page.splitlines() if line.startswith("chatbot_handovers_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in found if 'provider="chatlayer"' in line)


ECHOES: list[tuple[str, dict[str, Any]]] = [
    *((str(fault), {}) for fault in ERROR_BODIES),
    ("throttled", {"retry_after": "canary-person-1"}),
    ("refused", {"status": 200}),
    ("refused", {"status": 404}),
]


@pytest.mark.parametrize(("fault", "options"), ECHOES)
def test_an_error_that_repeats_key_and_text_leaves_no_trace_of_them(
    fault: str, options: dict[str, Any], tmp_path: Path, lines: io.StringIO
) -> None:
    scene = Scene(tmp_path, lines)
    for name, service in scene.vendors.services.items():
        service.faults.on(fault, body=echo(scene.key(name)), **options)

    scene.run(20)

    said, words = scene.wire.said(), set(person(1).values())
    assert [text for text in words if text.encode() not in said] == []
    assert [name for name in scene.targets if scene.key(name).encode() not in said] == []
    assert [name for name, told in scene.failures().items() if not told] == []
    assert "poll failed" in lines.getvalue()
    assert not scene.traces.holding(words | scene.secrets() | {"canary"})


def echo(key: str) -> dict[str, Any]:
    """Return an error body that repeats what it should not, in every place that may be read."""
    told = {**person(1), key: key}
    row = {"_id": key, "event": person(1)["text"], "period": key, "timestamp": key, **told}
    text = f"{key}: {person(1)['text']} {person(1)['user']} {person(1)['conversation']}"
    rows = {name: [row] for name in ("stats", "metrics", "events", "items", "series")}
    return {
        **dict.fromkeys(("error", "message", "detail", "title", "reason", "status"), text),
        **{name: {**rows, "total": key} for name in ("data", "result")},
        **rows,
        "next_page_token": [key],
        **told,
    }
