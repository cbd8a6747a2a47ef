"""Notices that a target's key was changed, so that a refused one is not waited out."""

from collections.abc import Callable, Iterable, Mapping

from exporter.errors import ProviderError

Sign = Callable[[], Mapping[str, str]]


class KeyWatch:
    """Compares what targets sign with, by a hash that is good in this process only."""

    def __init__(self, signs: Mapping[str, Sign]) -> None:
        self._signs = signs
        self._seen: dict[str, int | None] = {}

    def changed(self, targets: Iterable[str]) -> list[str]:
        """Return those of ``targets`` whose key is another than when last asked about."""
        asked = {target: _mark(self._signs[target]) for target in targets if target in self._signs}
        found = [t for t, mark in asked.items() if self._seen.get(t, mark) != mark]
        self._seen = asked
        return found


def _mark(sign: Sign) -> int | None:
    try:
        return hash(tuple(sorted(sign().items())))
    except ProviderError:
        return None  # not to be read just now; once it can, that is a change
