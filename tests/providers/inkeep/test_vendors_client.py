"""Inkeep's own client takes what the exporter sends, and takes the simulator for the real thing.

The client comes from the npm registry, pinned by a lock file; without npm the tests are skipped,
except in CI.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.model.samples import DAY_MS, HOUR_MS, Window, floor_to
from exporter.simulator.inkeep import KEY, build
from exporter.simulator.server import Service, serving
from exporter.simulator.traffic import Traffic
from tests.providers.inkeep.vendor import Vendor

pytestmark = pytest.mark.slow
SOURCE = Path(__file__).parent / "client"
TOOLS = ("node", "npm")
QUERIES = ("events", "conversations", "feedback", "escalations", "active_users")
METHODS: Mapping[str, str] = {
    "/query/events": "query.queryEvents",
    "/query/conversations": "query.conversations",
    "/query/feedback": "query.queryFeedback",
}
Calls = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"Inkeep's own client was not asked: no {' and no '.join(missing)}")
    assert not missing
    folder = tmp_path_factory.mktemp("inkeep") / "client"
    shutil.copytree(SOURCE, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    assert done.returncode == 0, done.stderr
    return folder


async def node(client: Path, script: str, given: Any) -> Any:
    process = await asyncio.create_subprocess_exec(
        "node",
        script,
        cwd=client,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(json.dumps(given).encode())
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def sent() -> list[dict[str, Any]]:
    """Return every request that one poll of each query sends, as ``{path, body}``."""
    made = Vendor(Traffic(seed=5, per_hour=1), active_users={"windows": ["1d", "7d"]})
    for name in QUERIES:
        made.poll(name)
    return [{"path": seen.path, "body": seen.body} for seen in made.service.requests]


def simulator() -> Service:
    return build(SystemClock(), Traffic(seed=5, per_hour=6))


def drive(client: Path, service: Service, calls: Calls, key: str = KEY) -> list[dict[str, Any]]:
    async def main() -> Any:
        async with serving({"inkeep": service}) as urls:
            given = {"url": urls["inkeep"], "key": key, "calls": calls}
            return await node(client, "drive.mjs", given)

    return list(asyncio.run(main()))


def hours(field: str) -> dict[str, Any]:
    end_ms = floor_to(SystemClock().now_ms(), HOUR_MS)
    window = Window(end_ms - DAY_MS, end_ms)
    edges = (("gte", window.start_ms), ("lt", window.end_ms))
    return {
        "and": [
            {"condition": {"field": field, "operator": operator, "value": iso(at_ms)}}
            for operator, at_ms in edges
        ]
    }


def iso(at_ms: int) -> str:

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def test_every_request_is_valid_under_the_clients_schemas(client: Path) -> None:
    requests = sent()

    faults = asyncio.run(node(client, "validate.mjs", requests))

    assert len(requests) == 12
    assert faults == [""] * 12


@pytest.mark.parametrize(
    "spoilt",
    [
        {"limit": 5},
        {"select": [{"type": "time", "timeUnit": "minute", "field": "createdAt"}]},
        {"groupBy": [{"field": "channel"}]},
        {"orderBy": [{"field": "count", "direction": "asc"}]},
        {"where": {"not": []}},
    ],
)
def test_the_schemas_do_find_faults(client: Path, spoilt: dict[str, Any]) -> None:
    request = {"path": "/query/events", "body": spoilt}

    (fault,) = asyncio.run(node(client, "validate.mjs", [request]))

    assert fault


def test_the_client_reads_from_the_simulator_what_the_exporter_asks(client: Path) -> None:
    service = simulator()
    bodies = sent()
    for one in bodies:
        conversations = one["path"] == "/query/conversations"
        ranged = hours("firstMessageTime" if conversations else "createdAt")
        one["body"]["where"]["and"][:2] = ranged["and"]

    answers = drive(client, service, [(METHODS[one["path"]], one["body"]) for one in bodies])

    assert [list(answer) for answer in answers] == [["ok"]] * 12
    for answer, seen in zip(answers, service.requests, strict=True):
        assert seen.rows
        assert answer["ok"]["data"]["total"] == len(answer["ok"]["data"]["result"])
        assert list(map(values, answer["ok"]["data"]["result"])) == list(map(values, seen.rows))
    assert service.writes() == []


def values(row: dict[str, Any]) -> list[str]:
    """Return what a row holds: the client gives keys other names and puts some aside."""
    held = {**row, **row.get("additionalProperties", {})}
    return sorted(str(value) for key, value in held.items() if key != "additionalProperties")
