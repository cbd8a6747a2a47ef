"""A real Prometheus with history and scrapes in it: increase() over the seam is what happened."""

from collections.abc import Iterator

import httpx
import pytest

from exporter.exposition.backfill.source import PastKind
from exporter.model.samples import DAY_MS, HOUR_MS
from tests.dashboards.live import asked, prometheus
from tests.dashboards.promtool import Build, needed
from tests.exposition.backfill.scene import END_MS, Scene, samples
from tests.support.driver import scratch

pytestmark = pytest.mark.slow

SEEDS = range(1, 31)
SHAPES = ("zero", "history")
STEP_S = 300
RECEIVED = "chatbot_messages_received_total"
SERVERS: tuple[tuple[Build, str], ...] = (
    ("installed", ""),
    ("newest", ""),
    ("newest", "st-storage,use-start-timestamps"),
    ("newest", "created-timestamp-zero-ingestion"),
)
"""Which Prometheus, with what features: blocks have no start timestamps, and none is made up."""
FIRST_MS = END_MS - 2 * DAY_MS
"""Before all that is known."""
SINCE_MS = (END_MS - 24 * HOUR_MS, END_MS - 8 * HOUR_MS)
"""Bucket ends from which on is counted; what is late at the first poll is younger."""


@pytest.fixture(scope="module")
def lived() -> Iterator[dict[str, Scene]]:
    with scratch() as folder:
        scenes = {}
        for shape in SHAPES:
            for seed in SEEDS:
                own = folder / f"{shape}-{seed}"
                own.mkdir()
                scene = Scene(own, seed, shape)
                scene.live()
                scenes[scene.labels["instance"]] = scene
        yield scenes
        for scene in scenes.values():
            scene.close()


@pytest.fixture(
    scope="module", params=SERVERS, ids=[f"{build} {features}" for build, features in SERVERS]
)
def client(request: pytest.FixtureRequest, lived: dict[str, Scene]) -> Iterator[httpx.Client]:
    build, features = request.param
    needed("prometheus", build)
    with scratch() as folder:
        file = folder / "all.om"
        with file.open("w", encoding="utf-8") as out:
            for scene in lived.values():
                out.writelines(samples(scene.backfilled([PastKind.COUNTERS])))
                out.writelines(scene.scraped)
            out.write("# EOF\n")
        with prometheus(folder, [file], STEP_S, build, features) as found:
            yield found


def increases(client: httpx.Client, family: str, since_ms: int) -> dict[str, float]:
    """Return by instance how much a family grew in a real Prometheus, from a sample at ``since_ms``.

    Prometheus 3 leaves out a sample at the very start of a range, so the range begins before it.
    """
    expr = f"sum by (instance) (increase({family}[{END_MS - since_ms + 1}ms]))"
    found = asked(client, expr, END_MS // 1000)
    return {each["metric"]["instance"]: float(each["value"][1]) for each in found}


@pytest.mark.parametrize("family", [RECEIVED, "chatbot_flow_triggers_total"])
def test_increase_over_the_seam_is_what_happened_at_the_vendor(
    client: httpx.Client, lived: dict[str, Scene], family: str
) -> None:
    happened = {name: each.happened(family, FIRST_MS) for name, each in lived.items()}
    for since_ms in (FIRST_MS, *SINCE_MS):
        truth = {
            name: sum(at_ms >= max(since_ms, lived[name].floor_ms) for at_ms in instants)
            for name, instants in happened.items()
        }
        assert increases(client, family, since_ms) == pytest.approx(truth, rel=1e-4)
        assert all(truth.values())


def test_a_live_counter_begins_at_0_or_where_history_ends(
    client: httpx.Client, lived: dict[str, Scene]
) -> None:
    resets = f"resets({RECEIVED}[{END_MS - FIRST_MS}ms])"
    found = asked(client, resets, END_MS // 1000)

    seen = {each["metric"]["instance"]: float(each["value"][1]) for each in found}

    assert seen == {name: float(each.start == "zero") for name, each in lived.items()}
