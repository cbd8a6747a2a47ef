"""Manifests for tests: one that is right, with changes, and what is read with it."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec
import yaml

from exporter.errors import SettingsError
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Reading, Window
from exporter.providers.base.plugin import Target
from exporter.providers.manifest import loader
from exporter.providers.manifest.loader import LoadedManifest
from tests.providers.vendor import build_target, read

NOON_MS = 1_772_539_200_000  # 2026-03-03T12:00:00Z
HOURS = Window(NOON_MS - 3 * HOUR_MS, NOON_MS)
SENT = "chatbot_messages_sent_total"
COST = "chatbot_llm_cost_usd_total"

QUERY: Mapping[str, Any] = {
    "shape": "buckets",
    "request": {
        "path": "/v1/stats",
        "params": {"from": "window.start|epoch_s", "to": "window.end|epoch_s"},
    },
    "window": {"bucket": "1h", "end": "exclusive"},
    "rows": ["data[] as row"],
    "at": "row.time|epoch_s",
    "missing": "error",
    "count": {SENT: {"value": "row.sent"}},
}
BASE: Mapping[str, Any] = {
    "manifest": 1,
    "name": "acme",
    "title": "Acme",
    "base_url": "https://api.acme.example/v1",
    "auth": {"kind": "bearer", "token": "secrets.key"},
    "queries": {"stats": QUERY},
}


def written(query: Mapping[str, Any] | None = None, **top: Any) -> bytes:
    """Return a manifest as YAML, with changes to its query and at the top; None takes a key out."""
    made = copy.deepcopy(dict(BASE)) | top
    if "queries" not in top:
        changed = {**QUERY, **(query or {})}
        made["queries"] = {"stats": {k: v for k, v in changed.items() if v is not None}}
    return yaml.safe_dump(
        {k: v for k, v in made.items() if v is not None}, sort_keys=False
    ).encode()


def loaded(query: Mapping[str, Any] | None = None, **top: Any) -> LoadedManifest:
    """Return the manifest that ``written`` gives."""
    return loader.loads(written(query, **top))


def problems(query: Mapping[str, Any] | None = None, **top: Any) -> str:
    """Return what is wrong with the manifest that ``written`` gives, a problem a line."""
    try:
        loaded(query, **top)
    except SettingsError as error:
        return str(error)
    return ""


def target(manifest: LoadedManifest, **settings: Any) -> Target:
    """Return a target that the manifest describes."""
    secrets = {name: f"the-{name}" for name in manifest.secrets}
    own: dict[str, Any] = {"name": "shop", "provider": "manifest", "secrets": secrets}
    own["variables"] = {n: "x" for n, v in manifest.settings.variables.items() if v.default is None}
    return build_target(**own | {"manifest": manifest} | settings)


class Api(httpx.AsyncBaseTransport):
    """Answers with each of ``answers`` in turn; ``requests`` are those that came."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(
            200, content=answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        )

    @property
    def sent(self) -> list[dict[str, str]]:
        """Return the parameters of each request."""
        return [dict(request.url.params) for request in self.requests]


def readings(
    manifest: LoadedManifest,
    api: httpx.AsyncBaseTransport,
    window: Window = HOURS,
    now_ms: int = NOON_MS,
    **poll: Any,
) -> list[Reading]:
    """Return what one poll of the manifest's query reads."""
    built = target(manifest)
    return read(built, built.queries[0], api, PollRequest(window, now_ms, **poll))


def counts(found: Sequence[Reading], family: str = SENT) -> dict[int, float]:
    """Return the sum of a counter by hours before noon: -1 is the last."""
    sums: dict[int, float] = {}
    for reading in found:
        for (name, _), at_ms, value in reading.counts:
            if name == family:
                hour = (at_ms - NOON_MS) // HOUR_MS
                sums[hour] = sums.get(hour, 0) + value
    return sums


def row(hour: int, **fields: Any) -> dict[str, Any]:
    """Return a row of an hour before noon."""
    return {"time": (NOON_MS + hour * HOUR_MS) // 1000, **fields}


THREE = {"data": [row(-3, sent=1), row(-2, sent=2), row(-1, sent=4)]}
