"""Faults by name, chosen per request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

STATUSES: Mapping[str, int] = {
    "unauthorized": 401,
    "forbidden": 403,
    "throttled": 429,  # retry_after=SECONDS, as_date=True for an HTTP date
    "server_error": 500,
    "unavailable": 503,  # retry_after, as_date
    "refused": 400,  # status=OTHER
    "html_200": 200,
    "html_502": 502,
    "login_redirect": 302,  # to a page
    "not_json": 200,  # plain text, labelled as JSON
    "hang": 503,  # after seconds=3600
}
"""Faults that answer instead of the vendor, with their statuses; the request has no effect.

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
"""Faults of the first row or of all rows; without ``field`` they change the row's number."""

BODY = frozenset(
    {
        "truncated",  # half of the JSON
        "reset",  # the connection breaks in the middle of the body
        "slow",  # seconds=5, then the answer
        "hang_after",  # seconds=3600, after the vendor has processed and counted the request
    }
)
"""Faults while the answer is sent."""

GENERIC = STATUSES.keys() | ROWS | BODY
TOO_BIG = 2**53 + 1


@dataclass(slots=True)
class Fault:
    """One line of the script; ``left`` and ``skip`` count the requests that ``when`` selects."""

    name: str
    left: int | None
    skip: int
    when: Callable[[Any], bool]
    options: Mapping[str, Any]

    def applies(self, call: Any) -> bool:
        """Return whether the fault hits this request, and count it."""
        if self.left == 0 or not self.when(call):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Faults:
    """The script of one simulator; ``modes`` are its vendor's names besides ``GENERIC``."""

    def __init__(self, modes: frozenset[str] = frozenset()) -> None:
        self.names = GENERIC | modes
        self._script: list[Fault] = []

    def on(
        self,
        name: str,
        *,
        times: int | None = None,
        skip: int = 0,
        when: Callable[[Any], bool] = lambda _call: True,
        **options: Any,
    ) -> None:
        """Make a fault hit every request, or the next ``times`` ones after ``skip``.

        ``when`` selects requests by their ``Call``; ``options`` depend on the fault. Raises
        ``KeyError`` for a name that this simulator does not have.
        """
        if name not in self.names:
            raise KeyError(name)
        self._script.append(Fault(name, times, skip, when, options))

    def off(self, name: str) -> None:
        """Remove a fault from the script."""
        self._script = [fault for fault in self._script if fault.name != name]

    def choose(self, call: Any) -> dict[str, Mapping[str, Any]]:
        """Return the faults that hit this request, by name, with their options."""
        return {fault.name: fault.options for fault in self._script if fault.applies(call)}


def corrupt(
    rows: list[dict[str, Any]], chosen: Mapping[str, Mapping[str, Any]], number: str | None = None
) -> None:
    """Apply the chosen row faults to ``rows`` in place; ``number`` names the number's member."""
    for name in sorted(chosen.keys() & ROWS):
        if rows:
            _corrupt(name, rows, chosen[name].get("field") or number)


def _corrupt(name: str, rows: list[dict[str, Any]], field: str | None) -> None:
    row = rows[0]
    key = field or next((key for key, value in row.items() if isinstance(value, int)), "")
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
