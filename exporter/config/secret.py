"""Secrets of ``exporter.yaml``: where they are kept, read when they are used, never shown."""

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from exporter.config.files import SECRET_BYTES, read_regular
from exporter.config.values import invalid, kind_of
from exporter.errors import Unauthorized

Strict = ConfigDict(
    extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True
)
REFERENCE = "use {env: NAME} or {file: /path}"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A name is repeated only in this shape, since people paste the key itself where its name belongs.
_PLAIN_VARIABLE = re.compile(r"[A-Z]{1,16}(_[A-Z]{1,16}){1,5}(_?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class SecretContext:
    """What a secret is checked against while a settings file is loaded."""

    environ: Mapping[str, str]
    base: Path
    inline: bool = False


class Secret(BaseModel):
    """Where a secret is kept: ``{env: NAME}`` or ``{file: PATH}``; never shown.

    A literal is taken only where the file says ``allow_inline_secrets: true``.
    """

    model_config = Strict

    env: str | None = None
    file: str | None = None
    _literal: str | None = PrivateAttr(default=None)
    _base: Path = PrivateAttr(default=Path())

    @classmethod
    def literal(cls, value: str) -> "Secret":
        """Return a secret written in the file itself."""
        secret = cls.model_construct()
        secret._literal = value  # noqa: SLF001 - its own class
        return secret

    @model_validator(mode="wrap")
    @classmethod
    def _checked(
        cls, value: Any, handler: ModelWrapValidatorHandler["Secret"], info: ValidationInfo
    ) -> "Secret":
        context = info.context if isinstance(info.context, SecretContext) else None
        if isinstance(value, str | int | float):
            return cls._from_literal(value, context)
        if not isinstance(value, dict | Secret):
            raise invalid("secret", f"expected a reference, found {kind_of(value)}", REFERENCE)
        return handler(value).checked(context)

    @classmethod
    def _from_literal(cls, value: str | float, context: SecretContext | None) -> "Secret":
        if context is None or not context.inline:
            raise invalid("secret", "literal secret", REFERENCE)
        if not isinstance(value, str):
            raise invalid("secret", f"expected text, found {kind_of(value)}", "put it in quotes")
        _check_text(value, "the secret")
        return cls.literal(value)

    def checked(self, context: SecretContext | None) -> "Secret":
        """Return the secret, from the file's folder on; raise an error if it has no value now."""
        if (self.env is None) == (self.file is None) and self._literal is None:
            raise invalid("secret", "expected either env or file", REFERENCE)
        if context is not None:
            self.relative_to(context.base)
            self._check(context)
        return self

    def _check(self, context: SecretContext) -> None:
        if self.env is None:
            _check_text(self._file_now(), "the file")
            return
        if not _VARIABLE.fullmatch(self.env):
            raise invalid("secret", "env is not the name of an environment variable")
        name = f"environment variable {self.env}"
        shown = name if _PLAIN_VARIABLE.fullmatch(self.env) else "the environment variable"
        if self.env not in context.environ:
            raise invalid("secret", f"{shown} is not set")
        _check_text(context.environ[self.env], shown)

    def _file_now(self) -> str:
        try:
            raw = read_regular(self._base / (self.file or ""), SECRET_BYTES)
            return raw.decode("utf-8").strip()
        except (OSError, ValueError) as error:
            raise invalid("secret", f"the file cannot be read: {_why(error)}") from None

    def relative_to(self, base: Path) -> None:
        """Take ``base`` as the folder that a relative ``file`` starts from."""
        self._base = base

    def read(self) -> str:
        """Return the secret as it is now; files are read each time, so that keys rotate."""
        if self._literal is not None:
            return self._literal
        try:
            if self.file is not None:
                return self._file_now()
            return os.environ[self.env or ""]
        except (PydanticCustomError, KeyError):
            place = f"file {self.file}" if self.file else f"environment variable {self.env}"
            raise Unauthorized(f"the secret in {place} cannot be read") from None

    def __repr__(self) -> str:
        return f"Secret(env={self.env!r}, file={self.file!r})"

    __str__ = __repr__


def _check_text(value: str, holder: str) -> None:
    if not value.strip():
        raise invalid("secret", f"{holder} is empty")
    if not (value.isascii() and value.isprintable()):
        raise invalid("secret", f"{holder} holds a character that no request can carry")


def _why(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return "not UTF-8 text"
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "permission denied"
        case IsADirectoryError():
            return "it is a folder"
        case OSError(errno=errno.EINVAL | errno.EFBIG, strerror=reason):
            return str(reason)
        case _:
            return "the system refuses"
