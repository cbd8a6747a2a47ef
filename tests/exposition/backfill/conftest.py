"""A scene that has lived, for the tests that only read it."""

from collections.abc import Iterator

import pytest

from tests.exposition.backfill.scene import Scene, lived


@pytest.fixture(scope="package")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with lived(tmp_path_factory.mktemp("ledger"), 7) as made:
        yield made
