"""Errors, grouped by what the caller does next."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """Why a poll failed: the bounded label ``reason``."""

    AUTH = "auth"
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    NETWORK = "network"
    SERVER = "server"
    CLIENT = "client"
    SCHEMA = "schema"
    TRUNCATED = "truncated"
    LEDGER = "ledger"
    CLAIM_LOST = "claim_lost"
    CANCELLED = "cancelled"
    CONFIG = "config"
    BUG = "bug"


class ExporterError(Exception):
    """Base of the errors that this program raises on purpose."""


@dataclass(frozen=True, slots=True)
class SettingsProblem:
    """One mistake in a settings file, with its 1-based position."""

    file: str
    line: int
    column: int
    path: str
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        """Return ``file:line:column: path: problem; hint``."""
        where = f"{self.file}:{self.line}:{self.column}: "
        subject = f"{self.path}: " if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}{subject}{self.problem}{hint}"


class SettingsError(ExporterError):
    """A settings file is invalid; ``problems`` lists all its mistakes, by position.

    ``files`` are those that the file names, if it could be read that far.
    """

    def __init__(self, problems: Sequence[SettingsProblem], files: Sequence[Path] = ()) -> None:
        self.files = tuple(files)
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column, p.path)))
        super().__init__("\n".join(map(str, self.problems)))


class MachineError(ExporterError):
    """A setting of this machine, such as a proxy variable, is wrong; the operator corrects it."""


class ListenError(ExporterError):
    """The server cannot listen on the configured address."""


class LedgerError(ExporterError):
    """The ledger cannot be opened, read or written."""

    reason = Reason.LEDGER
    retry_after_s: float | None = None


class ClaimLost(LedgerError):
    """Another process has taken over the query; what was read is discarded."""

    reason = Reason.CLAIM_LOST


class LedgerConflict(LedgerError):
    """Another replica's transaction conflicted with this one; a retry may succeed."""


class ProviderError(ExporterError):
    """A poll could not be completed; counters do not change, and the poller tries again later.

    ``retry_after_s`` is the wait in seconds that the provider asks for, if any; ``status`` is the
    HTTP status of a refusal. The message names the endpoint and the error, never a secret, an
    identifier or user text.
    """

    reason: Reason = Reason.CLIENT

    def __init__(
        self, message: str, retry_after_s: float | None = None, *, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status


class Unauthorized(ProviderError):
    """The provider rejects the key (401, 403); the circuit opens until the key changes."""

    reason = Reason.AUTH


class Throttled(ProviderError):
    """The provider rate-limits the account; wait for ``retry_after_s``."""

    reason = Reason.THROTTLED


class BudgetSpent(Throttled):
    """Our own call budget is spent for now; nothing was sent, and the slot is skipped."""


class TimedOut(ProviderError):
    """A request or the whole poll ran past its deadline."""

    reason = Reason.TIMEOUT


class Unreachable(ProviderError):
    """The connection failed: connect, reset or TLS."""

    reason = Reason.NETWORK


OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""What ``errno`` is when the process or the system has too many open files."""


class OutOfFiles(ProviderError):
    """This process cannot open any more files, so no request was sent."""

    reason = Reason.CONFIG


class ServerError(ProviderError):
    """The provider failed (5xx)."""

    reason = Reason.SERVER


class Refused(ProviderError):
    """The provider rejects the request itself (4xx other than 401, 403, 429)."""

    reason = Reason.CLIENT

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status=status)


class SchemaError(ProviderError):
    """The answer differs from the provider's documentation; ``kind`` is the kind of drift."""

    reason = Reason.SCHEMA

    def __init__(self, message: str, kind: str = "unexpected_type") -> None:
        super().__init__(message)
        self.kind = kind


class Truncated(ProviderError):
    """Pages or rows are missing and cannot be read."""

    reason = Reason.TRUNCATED


class ProgramError(ProviderError):
    """This program has a bug; the message names the place and repeats nothing of the answer."""

    reason = Reason.BUG
