"""Secrets of ``exporter.yaml``: kept as references, read when used, never shown."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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

from exporter.config.files import SECRET_BYTES, read_regular, why
from exporter.config.values import can_be_sent, invalid, kind_of
from exporter.errors import SettingsProblem, Unauthorized

Strict = ConfigDict(
    extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True
)
REFERENCE = "use {env: NAME} or {file: /path}"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROLS = {"\n": "a line break", "\r": "a carriage return", "\t": "a tab"}
# Only a name of this shape is repeated: people paste the key itself where its name belongs.
_PLAIN_VARIABLE = re.compile(r"[A-Z]{1,16}(_[A-Z]{1,16}){1,5}(_?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class SecretContext:
    """What a secret is checked against while a settings file is loaded.

    ``inline`` accepts literals. Without ``resolve`` no variable or file is read. ``included``
    collects the problems of files that the settings name.
    """

    environ: Mapping[str, str]
    base: Path
    inline: bool = False
    resolve: bool = True
    included: list[SettingsProblem] = field(default_factory=list)


class Secret(BaseModel):
    """Where a secret is kept: ``{env: NAME}`` or ``{file: PATH}``; never shown.

    A literal is accepted only if the file sets ``allow_inline_secrets: true``.
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
            secret = cls._from_literal(value, context)
        elif isinstance(value, dict | Secret):
            secret = handler(value)
        else:
            raise invalid("secret", f"expected a reference, found {kind_of(value)}", REFERENCE)
        return secret.placed(context)

    @classmethod
    def _from_literal(cls, value: str | float, context: SecretContext | None) -> "Secret":
        if context is None or not context.inline:
            raise invalid("secret", "literal secret", REFERENCE)
        if not isinstance(value, str):
            raise invalid("secret", f"expected text, found {kind_of(value)}", "put it in quotes")
        return cls.literal(value)

    def placed(self, context: SecretContext | None) -> "Secret":
        """Return the secret, with its path relative to the file; raise if it has no value now."""
        if (self.env is None) == (self.file is None) and self._literal is None:
            raise invalid("secret", "expected either env or file", REFERENCE)
        if self.env is not None and not _VARIABLE.fullmatch(self.env):
            hint = "write only the name, as in {env: API_KEY}"
            raise invalid("secret", "env is not the name of an environment variable", hint)
        if context is not None:
            self._base = context.base
            if context.resolve or self._literal is not None:
                self._value(context.environ)
        return self

    def read(self) -> str:
        """Return the current secret; files are read each time, so that keys can rotate."""
        try:
            return self._value(os.environ)
        except PydanticCustomError as error:
            raise Unauthorized(f"the secret cannot be read: {error.message()}") from None

    def _value(self, environ: Mapping[str, str]) -> str:
        if self._literal is not None:
            return _usable(self._literal, "the secret")
        if self.env is not None:
            name = f"environment variable {self.env}"
            shown = name if _PLAIN_VARIABLE.fullmatch(self.env) else "the environment variable"
            if self.env not in environ:
                raise invalid("secret", f"{shown} is not set")
            return _usable(environ[self.env], shown)
        try:
            text = read_regular(self._base / (self.file or ""), SECRET_BYTES).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            raise invalid("secret", f"the file cannot be read: {why(error)}") from None
        return _usable(text, "the file")

    def __repr__(self) -> str:
        return f"Secret(env={self.env!r}, file={self.file!r})"

    __str__ = __repr__


def _usable(value: str, holder: str) -> str:
    """Return ``value`` without surrounding white space; raise if no header can carry it."""
    text = value.strip()
    if not text:
        raise invalid("secret", f"{holder} is empty")
    for each in text:
        if not can_be_sent(each):
            name = _CONTROLS.get(each, "a character")
            problem = f"{holder} contains {name} (U+{ord(each):04X}) that no header can carry"
            raise invalid("secret", problem)
    return text
