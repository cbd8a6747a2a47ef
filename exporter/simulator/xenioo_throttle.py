"""Xenioo's limit of one call an hour, in every form that the documents leave open."""

from collections.abc import Mapping
from typing import Any


class Throttle:
    """Remembers calls by whose budget they use; ``period_ms`` is an account's hour."""

    def __init__(self, period_ms: int) -> None:
        self._period_ms = period_ms
        self._last: dict[str, int] = {}

    def admits(self, name: str, share: float, now_ms: int, rule: Mapping[str, Any]) -> bool:
        """Return whether a call may be answered now, and take note of it.

        ``share`` of the hour must lie between two calls. ``rule``: ``window`` is ``sliding``, from
        call to call, or ``clock``, one in each; ``restart`` says whether a refused call counts.
        """
        length_ms = round(self._period_ms * share)
        last_ms = self._last.get(name)
        if last_ms is None:
            free = True
        elif rule.get("window", "sliding") == "clock":
            free = last_ms // length_ms < now_ms // length_ms
        else:
            free = now_ms - last_ms >= length_ms
        if free or rule.get("restart", True):
            self._last[name] = now_ms
        return free
