"""What goes wrong, and when: faults by name, chosen per request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

INSTEAD = frozenset(
    {
        "unauthorized",  # 401
        "forbidden",  # 403
        "throttled",  # 429; retry_after=SECONDS, as_date=True for an HTTP date
        "server_error",  # 500
        "unavailable",  # 503; retry_after, as_date
        "refused",  # 400; status=OTHER
        "html_200",
        "html_502",
        "login_redirect",  # 302 to a page
        "not_json",  # 200 and plain text that calls itself JSON
        "hang",  # seconds=3600, then 503
    }
)
"""Faults that answer in the vendor's place; the request has no effect.

``body=JSON`` replaces the vendor's error body.
"""

ROWS = frozenset(
    {
        "renamed_field",  # field=NAME
        "wrong_type",  # field=NAME
        "negative",  # field=NAME
        "huge",  # field=NAME
        "duplicate_row",
        "empty",
    }
)
"""Faults in the rows of the first that has any; without ``field`` its first number is hit."""

BODY = frozenset(
    {
        "truncated",  # half of the JSON
        "reset",  # the connection breaks in the middle of the body
        "slow",  # seconds=5, then the answer
        "hang_after",  # seconds=3600, after the vendor has done and counted the work
    }
)
"""Faults on the way back."""

GENERIC = INSTEAD | ROWS | BODY
TOO_BIG = 2**53 + 1


class Asked(Protocol):
    """What a fault may be chosen by."""

    @property
    def number(self) -> int:
        """Return the request's number, from 1."""
        ...

    @property
    def now_ms(self) -> int:
        """Return when it arrived."""
        ...

    @property
    def path(self) -> str:
        """Return the path, decoded."""
        ...


def _any_request(_asked: Any) -> bool:
    return True


@dataclass(slots=True)
class Fault:
    """One line of the script; ``left`` and ``skip`` count the requests that match the rest."""

    name: str
    left: int | None
    skip: int
    numbers: frozenset[int]
    start_ms: int | None
    end_ms: int | None
    when: Callable[[Any], bool]
    options: Mapping[str, Any] = field(default_factory=dict)

    def strikes(self, asked: Asked) -> bool:
        """Return whether this request is hit, and take note of it."""
        if self.left == 0 or not self._matches(asked):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True

    def _matches(self, asked: Asked) -> bool:
        early = self.start_ms is not None and asked.now_ms < self.start_ms
        late = self.end_ms is not None and asked.now_ms >= self.end_ms
        other = bool(self.numbers) and asked.number not in self.numbers
        return not (early or late or other) and self.when(asked)


class Faults:
    """The script of one simulator; ``modes`` are the names its vendor adds to ``GENERIC``."""

    def __init__(self, modes: frozenset[str] = frozenset()) -> None:
        self.names = GENERIC | modes
        self._script: list[Fault] = []

    def on(
        self,
        name: str,
        *,
        times: int | None = None,
        skip: int = 0,
        numbers: frozenset[int] = frozenset(),
        start_ms: int | None = None,
        end_ms: int | None = None,
        when: Callable[[Any], bool] = _any_request,
        **options: Any,
    ) -> None:
        """Let a fault strike: always, or the next ``times`` requests after ``skip``.

        ``numbers`` selects by request number (from 1), ``start_ms``/``end_ms`` by the time of
        asking, ``when`` by the ``Call``. ``options`` are the fault's own. Raises ``KeyError`` for
        a name that this simulator does not have.
        """
        if name not in self.names:
            raise KeyError(name)
        self._script.append(Fault(name, times, skip, numbers, start_ms, end_ms, when, options))

    def off(self, name: str) -> None:
        """Take a fault out of the script."""
        self._script = [fault for fault in self._script if fault.name != name]

    def choose(self, asked: Asked) -> dict[str, Mapping[str, Any]]:
        """Return the faults that hit this request, by name, with their options."""
        return {fault.name: fault.options for fault in self._script if fault.strikes(asked)}


def spoil(rows: list[dict[str, Any]], chosen: Mapping[str, Mapping[str, Any]]) -> None:
    """Apply the chosen row faults to ``rows`` in place."""
    for name in sorted(chosen.keys() & ROWS):
        if rows:
            _spoil(name, rows, chosen[name].get("field"))


def _spoil(name: str, rows: list[dict[str, Any]], wanted: str | None) -> None:
    row = rows[0]
    key = wanted or next((key for key, value in row.items() if isinstance(value, int)), "")
    match name:
        case "empty":
            rows.clear()
        case "duplicate_row":
            rows.append(dict(row))
        case "renamed_field":
            row[f"{key}_renamed"] = row.pop(key, None)
        case "wrong_type":
            row[key] = ["many"]
        case "negative":
            row[key] = -7
        case _:
            row[key] = TOO_BIG
