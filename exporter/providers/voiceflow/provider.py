"""A Voiceflow target and its queries: one per query name, project and environment.

Source: https://docs.voiceflow.com/reference/querypubliccontroller_queryusagev2
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field

from exporter.config.model import Named, Secret, TargetOptions
from exporter.model import families
from exporter.model.query import Cost, LabelRule, QuerySpec
from exporter.model.samples import DAY_MS, Window
from exporter.providers.base.declared import Cursor, DeclaredQuery
from exporter.providers.base.options import Identifier, NotRepeated, check_distinct
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, key_of, spec_for
from exporter.providers.base.rows import only
from exporter.providers.base.times import iso
from exporter.providers.voiceflow import mapping

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

PAGE_ROWS = 500
MOST_PAGES = 2_000
SPAN_MS = 7 * DAY_MS
TOP_INTENTS = 30
CURSOR_AT = ("data", "filter", "cursor")
_ID = re.compile(r"[0-9a-f]{24}")


class VoiceflowOptions(TargetOptions):
    """One Voiceflow key; without ``environments``, all environments are read in one query."""

    base_url: str = "https://analytics-api.voiceflow.com"
    api_key: Secret = Field(description="the key of one project")
    projects: NotRepeated[Identifier] = Field(
        strict=False, description="the projects to read; the key must have access to them"
    )
    environments: Annotated[tuple[Identifier, ...], AfterValidator(check_distinct)] = Field(
        default=(),
        strict=False,
        description="environments, each read separately; by default all are read as one",
    )
    queries: NotRepeated[QueryName] = Field(
        default=("interactions", "unique_users"),
        strict=False,
        description="what to read; each needs calls of its own",
    )


def queries(options: VoiceflowOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target."""
    environments = options.environments or (None,)
    for name, project, environment in product(options.queries, options.projects, environments):
        selection = Selection(options, settings, name, project, environment)
        yield (
            selection.top_intents()
            if name == "top_intents"
            else selection.usage(mapping.USAGES[name])
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """One query name of one project and environment (None: all environments)."""

    options: VoiceflowOptions
    settings: LabelSettings
    name: str
    project: Named
    environment: Named | None

    def usage(self, usage: mapping.Usage) -> Query:
        """Return a query of hourly rows."""
        fields = {
            usage.family: "result.items[].count",
            usage.errors: "result.items[]: count - successCount",
            usage.names: "result.items[].name",
        }
        feeds = [Feed(family, field) for family, field in fields.items() if family]
        scope = mapping.ProjectScope(self.project.id, self._fixed)
        return DeclaredQuery(
            spec=replace(self._spec(feeds), span_ms=SPAN_MS, cost=Cost(page_rows=PAGE_ROWS)),
            parameters=partial(self._body, limit=PAGE_ROWS),
            answer=mapping.VoiceflowAnswer[mapping.UsagePage],
            items=lambda answer: answer.result.items,
            collect=partial(mapping.collect_usage, usage=usage, scope=scope),
            pages=Cursor(
                next=lambda answer: answer.result.cursor,
                send=CURSOR_AT,
                page_rows=PAGE_ROWS,
                most_pages=MOST_PAGES,
                drop_repeated_pages=True,
            ),
        )

    @property
    def _fixed(self) -> str | None:
        """Return the environment of all rows, if the settings do not name it by the API's id."""
        named = self.environment
        return named.id if named and named.alias and not _ID.fullmatch(named.id) else None

    def top_intents(self) -> Query:
        """Return the query of the most matched intents of the last 24 whole hours."""
        # The entries have no environment, so they get the one that was requested.
        fixed = self.environment.id if self.environment else None
        return DeclaredQuery(
            spec=replace(
                self._spec([Feed(families.TOP_INTENT_MATCHES, "result.intents[].count")]),
                cost=Cost(rows=TOP_INTENTS, listed=True),
                interval_ms=self.options.slow_interval,
                lookback_ms=DAY_MS,
            ),
            parameters=partial(self._body, limit=TOP_INTENTS),
            answer=mapping.VoiceflowAnswer[mapping.TopIntents],
            items=lambda answer: answer.result.intents,
            collect=partial(
                mapping.collect_intents,
                scope=mapping.ProjectScope(self.project.id, fixed),
                limit=TOP_INTENTS,
            ),
            trailing_ms=DAY_MS,
        )

    def _body(self, window: Window, *, limit: int) -> Mapping[str, Any]:
        wanted: dict[str, Any] = {
            "projectID": self.project.id,
            "startTime": iso(window.start_ms),
            "endTime": iso(window.end_ms),
            "limit": limit,
        }
        if self.environment:
            # A string: it is not verified that the vendor takes several values in one filter.
            wanted["projectEnvironmentIDOrAlias"] = self.environment.id
        return {"data": {"name": self.name, "filter": wanted}}

    def _spec(self, feeds: list[Feed]) -> QuerySpec:
        environment, named = self.environment, self.options.environments
        suffix = f"/{environment.shown}" if environment and len(named) > 1 else ""
        limit = self.settings.limits.label_value_bytes
        shown = only(environment.shown, limit).allow if environment and self._fixed else None
        return spec_for(
            self.options,
            self.settings,
            f"{self.name}/{self.project.shown}{suffix}",
            "POST /v2/query/usage",
            feeds,
            meaning={
                "name": self.name,
                "project": self.project.id,
                "environment": environment and environment.id,
            },
            label_rules={
                "project": LabelRule(_aliases(self.project)),
                "bot_environment": LabelRule(_aliases(*named), shown),
            },
        )


def _aliases(*named: Named) -> Mapping[str, str]:
    return {each.id: each.alias for each in named if each.alias}


PROVIDER = Provider(
    name="voiceflow",
    options=VoiceflowOptions,
    families=(mapping.CREDIT_USAGE,),
    feeds=frozenset(
        family.name
        for usage in mapping.USAGES.values()
        for family in (usage.family, usage.errors, usage.names, families.TOP_INTENT_MATCHES)
        if family and family is not mapping.CREDIT_USAGE
    ),
    sign=lambda options: {"authorization": key_of(options.api_key)},  # the bare key, no scheme
    queries=queries,
)
