"""What the HTTP server needs from the rest of the program."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from exporter.explain.answer import Explanations
from exporter.status import FamilyStatus, Status


class Exposition(Protocol):
    """The metrics as bytes, rendered when data change."""

    def scrape(self, *, openmetrics: bool, gzip: bool) -> Sequence[bytes]:
        """Return a complete body from memory in parts, and note that a scrape carried it.

        What is stored is sent as it is stored: joining megabytes costs more than sending them.
        Called on the server's own thread and never for ``HEAD``; it must not block.
        """
        ...

    def scrape_process(self, *, openmetrics: bool, gzip: bool) -> Sequence[bytes]:
        """Return a body with what describes the process only, nothing of a target."""
        ...


Reload: TypeAlias = Callable[[], Awaitable[tuple[str, ...]]]
"""Reloads the settings; returns why the old ones stay, nothing where the new ones are in force."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that is served. All callables run on the server's threads.

    ``healthy`` says whether polling goes on, ``ready`` whether the ledger is open and takes
    commits. ``status`` may take a while: it
    runs beside the event loop. ``reload`` None means that this command cannot reload; it is
    awaited on the server's loop, so an implementation that belongs to another loop wraps it
    (``asyncio.wrap_future(asyncio.run_coroutine_threadsafe(…))``). ``hosts`` are the names that
    requests may give as ``Host`` beside those that are always safe. ``explain`` answers a selector
    from the ledger, from the series of a number (from 1) on, beside the event loop, too; it raises
    ``SelectorError`` and ``LedgerError``. ``families`` are those that can be explained now.
    ``verify`` brings the metrics up to what all replicas have committed, and says whether it could;
    None where there is one process only.
    """

    exposition: Exposition
    ready: Callable[[], bool]
    healthy: Callable[[], bool]
    status: Callable[[], Status]
    explain: Callable[[str, int], Explanations]
    reload: Reload | None = None
    hosts: Callable[[], Collection[str]] = frozenset
    families: Callable[[], Sequence[FamilyStatus]] = tuple
    verify: Callable[[], Awaitable[bool]] | None = None
