"""What the simulators of APIs that manifests read share: pages by cursor and buckets of time."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.server import Answer, Call, Refusal, Rows
from exporter.simulator.times import DAY_MS, HOUR_MS
from exporter.simulator.traffic import Traffic, Window

T = TypeVar("T")
PAGE = "page_"
WIDTHS = {"1h": HOUR_MS, "1d": DAY_MS}
LIMITS = {"1h": (24, 168), "1d": (7, 31)}
"""Buckets of a page by the width of a bucket: by default, and at most."""
OTHER_CURRENCY = "other_currency"  # a mode: costs are in euros
CURSOR_MODES = frozenset(
    {
        "expired_cursor",  # 410 for any cursor
        "repeated_cursor",  # every page is the first one and names the same next page
        "missing_cursor",  # each page says that more follows and does not name it
    }
)

Dimension = Callable[[Occurrence], str | None]
"""The name that an occurrence is counted under."""
Values = tuple[str | None, ...]


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


def limit_of(given: int | None, limits: tuple[int, int]) -> int:
    """Return how many buckets a page has; refuse more than the vendor's most."""
    default, most = limits
    if given is not None and not 1 <= given <= most:
        raise Refusal(400, f"limit must be from 1 to {most}")
    return given or default


@dataclass(frozen=True, slots=True)
class GroupedReport:
    """Sums by bucket and by what ``group_by`` asks for.

    ``fields`` name the number that an occurrence adds to, ``dimensions`` what can be asked for; one
    that was not is null. ``row`` returns the rest of a row from its numbers.
    """

    fields: Mapping[Kind, Dimension]
    dimensions: Mapping[str, Dimension]
    row: Callable[[Call, Counter[str]], dict[str, Any]]

    def read(self, call: Call, traffic: Traffic, window: Window, width_ms: int) -> dict[int, Rows]:
        """Return the rows of the window's buckets up to the present, its start snapped."""
        start_ms, end_ms = window
        starts = range(start_ms // width_ms * width_ms, min(end_ms, call.now_ms + 1), width_ms)
        asked = [*call.lists.get("group_by", ()), *call.lists.get("group_by[]", ())]
        if wrong := set(asked) - self.dimensions.keys():
            raise Refusal(400, f"cannot group by {', '.join(sorted(wrong))}")
        dimensions = [self.dimensions[name] for name in asked]
        found = self._sums(traffic, starts, call.now_ms, dimensions)
        rows: dict[int, Rows] = {at_ms: [] for at_ms in starts}
        for (at_ms, values), numbers in found.items():
            names = {**dict.fromkeys(self.dimensions), **dict(zip(asked, values, strict=True))}
            rows[at_ms].append({**self.row(call, numbers), **names})
        return rows

    def _sums(
        self, traffic: Traffic, starts: range, now_ms: int, dimensions: Sequence[Dimension]
    ) -> dict[tuple[int, Values], Counter[str]]:
        """Return sums by start of the bucket and values of dimensions, and by name of the number."""
        found: defaultdict[tuple[int, Values], Counter[str]] = defaultdict(Counter)
        end_ms = starts[-1] + starts.step if starts else starts.start
        for kind, field in self.fields.items():
            for one in traffic.records(kind, (starts.start, end_ms), now_ms):
                values = tuple(dimension(one) for dimension in dimensions)
                at_ms = one.at_ms // starts.step * starts.step
                found[at_ms, values][field(one) or ""] += one.amount
        return found


def bucket_page(
    page: Page[int], found: Mapping[int, Rows], times: Callable[[int], dict[str, Any]]
) -> Answer:
    """Return a page of buckets; ``times`` returns the members of one that say when it is.

    The middle rows come first for faults to hit: clients may ask for a bucket more.
    """
    data = [{**times(at_ms), "results": found[at_ms]} for at_ms in page.items]
    middle = len(page.items) // 2
    shown = [*page.items[middle:], *page.items[:middle]]
    rows = [row for at_ms in shown for row in found[at_ms]]
    return Answer({"data": data, "has_more": page.more, "next_page": page.cursor}, rows)


def token_class(one: Occurrence) -> str:
    """Return how tokens are billed: ``output``, or one of three kinds of input, by channel."""
    if one.get("token_type") == "output":
        return "output"
    return {"whatsapp": "cached", "messenger": "cache_write"}.get(one.get("channel"), "uncached")
