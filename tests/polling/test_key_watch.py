"""A key that changes is noticed once."""

from collections.abc import Iterator

from exporter.errors import Unauthorized
from exporter.polling.key_watch import KeyWatch


def test_a_changed_key_is_noticed_once() -> None:
    keys = {"shop": "old", "docs": "same"}
    watch = KeyWatch(
        {
            "shop": lambda: {"authorization": keys["shop"]},
            "docs": lambda: {"authorization": keys["docs"]},
        }
    )

    seen = [watch.changed(["shop", "docs"])]
    keys["shop"] = "new"
    seen += [watch.changed(["shop", "docs"]), watch.changed(["shop", "docs"])]

    assert seen == [[], ["shop"], []]


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

    assert [watch.changed(["shop"]), watch.changed(["shop"])] == [[], ["shop"]]


def test_only_targets_asked_about_are_read() -> None:
    def never() -> dict[str, str]:
        raise AssertionError("the key was read")

    assert KeyWatch({"shop": never}).changed([]) == []
