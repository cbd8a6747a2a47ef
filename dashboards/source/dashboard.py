"""The common frame of all boards: uid, variables, links, annotations, numbered panels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.panels import GREY, ORANGE, SKY, SOURCE, Panel

TAG = "chatbot"
ALL = "$__all"
_UPGRADES = (
    "count by (version) (chatbot_exporter_build_info unless chatbot_exporter_build_info offset 15m)"
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A query variable; ``query`` may use earlier ones. ``everything`` is what All matches."""

    name: str
    label: str
    query: str
    everything: str = ".+"


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row of panels."""

    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class DashboardPage:
    """One dashboard; ``uid`` is its address and file name, and never changes."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]
    alerts: str
    holidays: str = ""
    tags: Sequence[str] = ()
    since: str = "now-7d"


def rendered(board: DashboardPage) -> str:
    """Return the board as Grafana's classic JSON; the same source gives the same text."""
    built = _built(board).build()
    document = json.loads(json.dumps(built, cls=JSONEncoder))
    number_panels(document)
    _drop_what_the_schema_lacks(document)
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def number_panels(document: dict[str, Any]) -> None:
    """Number all panels in reading order."""
    panels = [each for panel in document["panels"] for each in (panel, *panel.get("panels", ()))]
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number


def _drop_what_the_schema_lacks(document: dict[str, Any]) -> None:
    """Remove defaults that the SDK writes but other versions of Grafana do not know."""
    for variable in document["templating"]["list"]:
        for key in ("auto", "auto_count", "auto_min", "allowCustomValue"):
            variable.pop(key, None)
    for panel in document["panels"]:
        for each in (panel, *panel.get("panels", ())):
            if each["type"] == "table":
                each.get("options", {}).pop("footer", None)


def _built(board: DashboardPage) -> dashboard.Dashboard:
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG, *board.tags])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time(board.since, "now")
        .timezone("browser")
        .refresh("5m")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .link(_siblings())
        .annotation(_annotation("Alerts", ORANGE, board.alerts))
        .annotation(_annotation("Exporter upgrades", SKY, _UPGRADES))
    )
    if board.holidays:
        built.annotation(_annotation("Holidays", GREY, board.holidays))
    for variable in board.variables:
        built.with_variable(_variable(variable))
    for row in board.rows:
        frame = dashboard.Row(row.title).collapsed(row.collapsed)
        if row.collapsed:  # the panels of an open row are its siblings in Grafana's JSON
            for panel in row.panels:
                frame.with_panel(panel)
        built.with_row(frame)
        for panel in () if row.collapsed else row.panels:
            built.with_panel(panel)
    return built


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .query(variable.query)
        .datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(variable.everything)
        .current(model.VariableOption(text="All", value=ALL, selected=True))
    )


def _siblings() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Chatbot boards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=True)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def _annotation(name: str, colour: str, expr: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(enable=True)
        .icon_color(colour)
        .expr(expr)
    )
