"""Notices that a target's key was changed, so that a refused one is not waited out."""

from collections.abc import Callable, Mapping

from exporter.errors import ProviderError

Sign = Callable[[], Mapping[str, str]]


class KeyWatch:
    """Compares what targets sign with, by a hash that is good in this process only."""

    def __init__(self, signs: Mapping[str, Sign]) -> None:
        self._signs = signs
        self._seen: dict[str, int | None] = {}

    def changed(self, target: str) -> bool:
        """Say whether the key of ``target`` is another than when last asked about; may block."""
        if target not in self._signs:  # a reload has removed it
            return False
        mark = _mark(self._signs[target])
        before = self._seen.get(target, mark)
        self._seen[target] = mark
        return mark != before


def _mark(sign: Sign) -> int | None:
    try:
        return hash(tuple(sorted(sign().items())))
    except ProviderError:
        return None  # not to be read just now; once it can, that is a change
