"""The settings of a Voiceflow target in ``exporter.yaml``."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator

from exporter.config.model import Named, Secret, TargetOptions
from exporter.config.values import invalid

QueryName: TypeAlias = Literal[
    "interactions",
    "unique_users",
    "credit_usage",
    "function_usage",
    "api_calls",
    "kb_documents",
    "integrations",
    "top_intents",
]


def _named(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


Identifier: TypeAlias = Annotated[Named, BeforeValidator(_named)]
"""An identifier, bare or as ``{id: …, alias: …}``."""


class VoiceflowOptions(TargetOptions):
    """One Voiceflow key; without ``environments``, all environments are read in one query."""

    base_url: str = "https://analytics-api.voiceflow.com"
    api_key: Secret = Field(description="the key of one project")
    projects: tuple[Identifier, ...] = Field(
        strict=False, description="the projects to read, which the key must be able to see"
    )
    environments: tuple[Identifier, ...] = Field(
        default=(),
        strict=False,
        description="environments, each read by itself; without any, all are read as one",
    )
    queries: tuple[QueryName, ...] = Field(
        default=("interactions", "unique_users"),
        strict=False,
        description="what to ask; each costs its own calls",
    )

    @field_validator("projects", "environments")
    @classmethod
    def _are_distinct(cls, value: tuple[Named, ...]) -> tuple[Named, ...]:
        _refuse_repeats([named.id for named in value])
        _refuse_repeats([named.shown for named in value])
        return value

    @field_validator("queries")
    @classmethod
    def _is_a_set(cls, value: tuple[QueryName, ...]) -> tuple[QueryName, ...]:
        _refuse_repeats(value)
        return value

    @field_validator("projects", "queries")
    @classmethod
    def _is_not_empty(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise invalid("empty", "nothing to read", "name at least one")
        return value


def _refuse_repeats(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise invalid("repeated", "an entry stands here more than once", "its counts would double")
