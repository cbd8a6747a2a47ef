"""A key that changes is noticed once, and one that cannot be read hides no other."""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx

from exporter.errors import Unauthorized
from exporter.polling.key_watch import KeyWatch
from tests.support.running import exporter
from tests.support.served import document
from tests.support.vendors import read
from tests.support.virtual import VirtualClock

T = TypeVar("T")


def test_a_changed_key_is_noticed_once() -> None:
    key = "old"
    watch = KeyWatch({"shop": lambda: {"authorization": key}})

    seen = [watch.changed("shop")]
    key = "new"
    seen += [watch.changed("shop"), watch.changed("shop")]

    assert seen == [False, True, False]


def test_a_key_that_can_be_read_again_is_a_new_key() -> None:
    answers: Iterator[dict[str, str] | Unauthorized] = iter(
        [Unauthorized("no such file"), {"authorization": "back"}]
    )

    def sign() -> dict[str, str]:
        answer = next(answers)
        if isinstance(answer, Unauthorized):
            raise answer
        return answer

    watch = KeyWatch({"shop": sign})

    assert [watch.changed("shop"), watch.changed("shop")] == [False, True]


def test_a_target_that_was_removed_has_no_new_key() -> None:
    assert not KeyWatch({}).changed("shop")


async def test_a_key_file_that_hangs_does_not_hide_the_new_key_of_another_target(
    tmp_path: Path, clock: VirtualClock
) -> None:
    hanging = False
    (tmp_path / "a").write_text("wrong")
    (tmp_path / "b").write_text("wrong")
    accepted: list[float] = []

    async def vendor(request: httpx.Request) -> httpx.Response:
        right = request.headers["authorization"].endswith("right")
        if right:
            accepted.append(clock.monotonic())
        return httpx.Response(200 if right else 401, json={"metrics": [], "stats": []})

    async def blocking(key: Hashable, call: Callable[[], T]) -> T:
        if hanging and isinstance(key, tuple) and "a" in key:
            await asyncio.Event().wait()
        return call()

    targets = [
        {
            "name": name,
            "provider": "flowxo",
            "project": "shop",
            "api_key": {"file": str(tmp_path / name)},
            "base_url": "https://vendor.test/api",
        }
        for name in ("a", "b")
    ]
    settings = read(document(tmp_path, *targets))

    async with exporter(settings, clock, httpx.MockTransport(vendor), blocking=blocking):
        await clock.sleep(20)
        hanging = True
        (tmp_path / "b").write_text("right")
        changed_s = clock.monotonic()
        await clock.sleep(30)

    assert accepted[0] - changed_s < 10
