"""What the simulators of APIs that manifests read share: their targets, and pages by cursor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from exporter.simulator.server import Call, Refusal

T = TypeVar("T")
PAGE = "page_"
CURSOR_MODES = frozenset(
    {
        "expired_cursor",  # 410 for any cursor
        "repeated_cursor",  # every page is the first one and names the same next page
        "missing_cursor",  # each page says that more follows and does not name it
    }
)


def target_of(
    manifest: str, key: str, path: str = "", **more: Any
) -> Callable[[str], dict[str, Any]]:
    """Return what gives the settings of a target that reads a shipped manifest below ``path``."""
    settings = {"provider": "manifest", "manifest": manifest, "secrets": {"key": key}, **more}
    return lambda url: settings | {"base_url": url + path}


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``cursor`` selects the next one."""

    items: Sequence[T]
    cursor: str | None
    more: bool


def page_of(call: Call, items: Sequence[T], cursor: str | None, size: int) -> Page[T]:
    """Return the page that ``cursor`` selects (None: the first); refuse one that is not ours."""
    if cursor and "expired_cursor" in call.faults:
        raise Refusal(410, "cursor expired")
    number = (cursor or f"{PAGE}0").removeprefix(PAGE)
    if not number.isdecimal():
        raise Refusal(400, "unknown cursor")
    repeated = "repeated_cursor" in call.faults
    begin = 0 if repeated else int(number)
    end = begin + size
    if "missing_cursor" in call.faults:
        return Page(items[begin:end], None, more=True)
    more = repeated or end < len(items)
    return Page(items[begin:end], f"{PAGE}{end}" if more else None, more)
