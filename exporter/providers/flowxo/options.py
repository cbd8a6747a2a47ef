"""The settings of a Flow XO target in ``exporter.yaml``."""

from pydantic import BaseModel, Field

from exporter.config.model import Secret, Strict, TargetOptions
from exporter.model.samples import DAY_MS
from exporter.providers.base.options import Days


class TopFlows(BaseModel):
    """The most used flows of a trailing window: how many, and how long a window."""

    model_config = Strict

    limit: int = Field(default=10, ge=1, le=20, description="how many")
    window: Days = Field(default=DAY_MS, description="whole days")


class TopMessages(TopFlows):
    """The most frequent messages; ``allow`` are the texts that ``allowlist`` mode may show.

    What may be shown at all is the file's ``privacy.top_messages``.
    """

    allow: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="the texts that `privacy.top_messages: allowlist` may show",
    )


class FlowXOOptions(TargetOptions):
    """One Flow XO account key, which sees all bots of the account as one."""

    base_url: str = "https://flowxo.com/api"
    requests_per_second: float = Field(default=2, ge=0)
    api_key: Secret = Field(description="the key of the account's owner")
    project: str = Field(
        min_length=1, description="the label; a key sees all bots of its account as one"
    )
    top_flows: TopFlows | None = Field(
        default=None, description="the most used flows of a trailing window; off unless given"
    )
    top_messages: TopMessages | None = Field(
        default=None,
        description="the most frequent user messages; off unless given, and needs "
        "`privacy.top_messages`",
    )
