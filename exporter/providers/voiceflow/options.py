"""The settings of a Voiceflow target in ``exporter.yaml``."""

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from exporter.config.model import Secret, TargetOptions
from exporter.providers.base.options import Identifier, NotRepeated, check_distinct

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


class VoiceflowOptions(TargetOptions):
    """One Voiceflow key; without ``environments``, all environments are read in one query."""

    base_url: str = "https://analytics-api.voiceflow.com"
    api_key: Secret = Field(description="the key of one project")
    projects: NotRepeated[Identifier] = Field(
        strict=False, description="the projects to read, which the key must be able to see"
    )
    environments: Annotated[tuple[Identifier, ...], AfterValidator(check_distinct)] = Field(
        default=(),
        strict=False,
        description="environments, each read by itself; without any, all are read as one",
    )
    queries: NotRepeated[QueryName] = Field(
        default=("interactions", "unique_users"),
        strict=False,
        description="what to ask; each costs its own calls",
    )
