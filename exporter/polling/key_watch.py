"""Notices a changed key of a target, so that a refused one is replaced without waiting."""

from collections.abc import Callable, Mapping

from exporter.errors import ProviderError

Sign = Callable[[], Mapping[str, str]]


class KeyWatch:
    """Compares the targets' keys by a hash that is valid only in this process."""

    def __init__(self, signs: Mapping[str, Sign]) -> None:
        self._signs = signs
        self._seen: dict[str, int | None] = {}

    def changed(self, target: str) -> bool:
        """Return whether the key of ``target`` has changed since the last call; may block."""
        if target not in self._signs:  # removed by a reload
            return False
        mark = _mark(self._signs[target])
        before = self._seen.get(target, mark)
        self._seen[target] = mark
        return mark != before


def _mark(sign: Sign) -> int | None:
    try:
        return hash(tuple(sorted(sign().items())))
    except ProviderError:
        return None  # unreadable now; becoming readable counts as a change
