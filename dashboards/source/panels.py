"""Builds panels, each with a title, a description, a unit and a text for "no value"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query
from grafana_foundation_sdk.models.text import TextMode

BLUE, ORANGE, GREEN, YELLOW = "#0072B2", "#E69F00", "#009E73", "#F0E442"
VERMILION, SKY, PINK, GREY = "#D55E00", "#56B4E9", "#CC79A7", "#999999"
PROVIDER_COLOURS = {
    "chatlayer": BLUE,
    "flowxo": ORANGE,
    "inkeep": GREEN,
    "voiceflow": SKY,
    "xenioo": PINK,
}
"""Okabe and Ito's colours, which people with any colour vision can distinguish. Status goes from
blue to orange to vermilion, and always has a number, a word or an arrow as well."""

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
GAP_MS = 7_200_000
Panel: TypeAlias = Builder[model.Panel]
Captioned = TypeVar("Captioned", stat.Panel, timeseries.Panel, statetimeline.Panel, table.Panel)
Steps: TypeAlias = tuple[tuple[float | None, str], ...]
PLAIN: Steps = ((None, BLUE),)
USUAL = 3
"""Up to this many usual deviations from the expected number are still as expected."""


@dataclass(frozen=True, slots=True)
class Caption:
    """Title, description and unit of a panel; ``no_value`` is the text of an empty one."""

    title: str
    description: str
    unit: str = "short"
    no_value: str = "No value"


@dataclass(frozen=True, slots=True)
class Curve:
    """One query of a graph; ``overrides`` change how its lines are drawn."""

    expr: str
    legend: str
    overrides: tuple[tuple[str, object], ...] = ()


def stat_panel(caption: Caption, expr: str, *, steps: Steps = PLAIN, width: int = 4) -> Panel:
    """Return one number with a sparkline."""
    return (
        _captioned(stat.Panel(), caption)
        .with_target(_target(expr, "", 0))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(kinds.BigValueGraphMode.AREA)
        .color_mode(kinds.BigValueColorMode.VALUE)
        .thresholds(_thresholds(steps))
        .height(4)
        .span(width)
    )


def graph(
    caption: Caption,
    curves: Sequence[Curve],
    *,
    interval: str = "1h",
    width: int = 12,
    stacked: bool = False,
) -> Panel:
    """Return lines over time that do not bridge gaps of more than two hours."""
    panel = (
        _captioned(timeseries.Panel(), caption)
        .interval(interval)
        .span_nulls(GAP_MS)
        .line_width(2)
        .fill_opacity(15 if stacked else 0)
        .axis_soft_min(0)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI))
        .height(8)
        .span(width)
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    for number, curve in enumerate(curves):
        panel.with_target(_target(curve.expr, curve.legend, number))
        if curve.overrides:
            panel.override_by_query(_ref(number), _properties(curve.overrides))
    if any(curve.legend == "{{provider}}" for curve in curves):
        for provider, colour in PROVIDER_COLOURS.items():
            panel.override_by_name(provider, _properties(fixed(colour)))
    return panel


def timeline(caption: Caption, expr: str, legend: str) -> Panel:
    """Return a timeline with one lane per series, in words as well as colour."""
    firing = model.ValueMap(
        options={"1": model.ValueMappingResult(text="firing", color=VERMILION, index=0)}
    )
    return (
        _captioned(statetimeline.Panel(), caption)
        .interval("15m")
        .with_target(_target(expr, legend, 0))
        .mappings([firing])
        .height(7)
        .span(24)
    )


def table_panel(
    caption: Caption,
    columns: Mapping[str, tuple[str, str]],
    *,
    hidden: Sequence[str] = (),
    link: str = "",
    sort_by: str = "",
    in_words: str = "",
) -> Panel:
    """Return a table of present values with one row per label set.

    ``columns`` maps titles to ``(query, unit)``. ``link`` is the target of a row's link.
    ``in_words`` is a column of scores to show as words.
    """
    panel = (
        _captioned(table.Panel(), caption)
        .height(10)
        .span(24)
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_organised(columns, hidden))
    )
    if sort_by:
        panel.sort_by([common.TableSortByFieldState().display_name(sort_by).desc(desc=False)])
    for number, (title, (expr, unit)) in enumerate(columns.items()):
        target = _target(expr, "", number).instant().format(query.PromQueryFormat.TABLE)
        panel.with_target(target)
        panel.override_by_name(title, _properties((("unit", unit),)))
    if in_words:
        look = (("mappings", _score_words()), ("custom.cellOptions", {"type": "color-text"}))
        panel.override_by_name(in_words, _properties(look))
    if link:
        row = {"title": "Open the provider's board", "url": link, "targetBlank": False}
        panel.override_by_name("project", _properties((("links", [row]),)))
    return panel


def text_panel(title: str, content: str, *, height: int = 5) -> Panel:
    """Return a panel of text."""
    return (
        text.Panel()
        .title(title)
        .description("How to read this dashboard.")
        .mode(TextMode.MARKDOWN)
        .content(content)
        .height(height)
        .span(24)
    )


def fixed(colour: str) -> tuple[tuple[str, object], ...]:
    """Return the override for a line of a fixed colour."""
    return (("color", {"mode": "fixed", "fixedColor": colour}),)


def dashed(colour: str) -> tuple[tuple[str, object], ...]:
    """Return the overrides for a thin dashed line."""
    return (
        *fixed(colour),
        ("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
        ("custom.lineWidth", 1),
    )


def band_edge() -> tuple[tuple[str, object], ...]:
    """Return the overrides for the edge of a band: a thin line.

    A fill would have to name the other edge, whose name differs between bots.
    """
    return (*fixed(GREY), ("custom.lineWidth", 1))


def invisible() -> tuple[tuple[str, object], ...]:
    """Return the overrides for a line that only provides a legend."""
    return (*fixed(GREY), ("custom.lineWidth", 0), ("custom.showPoints", "never"))


def _captioned(panel: Captioned, caption: Caption) -> Captioned:
    panel.title(caption.title).description(caption.description)
    return panel.unit(caption.unit).no_value(caption.no_value).datasource(SOURCE)


def _score_words() -> list[dict[str, object]]:
    ranges = (
        (None, -USUAL, "below usual", VERMILION),
        (-USUAL, USUAL, "as expected", BLUE),
        (USUAL, None, "above usual", SKY),
    )
    return [
        {
            "type": "range",
            "options": {
                "from": low,
                "to": high,
                "result": {"text": text, "color": colour, "index": number},
            },
        }
        for number, (low, high, text, colour) in enumerate(ranges)
    ]


def _organised(
    columns: Mapping[str, tuple[str, str]], hidden: Sequence[str]
) -> model.DataTransformerConfig:
    names = {
        f"Value #{_ref(number)}" if len(columns) > 1 else "Value": title
        for number, title in enumerate(columns)
    }
    options = {
        "excludeByName": dict.fromkeys(("Time", *hidden), True),
        "indexByName": {},
        "renameByName": names,
    }
    return model.DataTransformerConfig(id_val="organize", options=options)


def _target(expr: str, legend: str, number: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(expr).ref_id(_ref(number)).range().datasource(SOURCE)
    return target.legend_format(legend) if legend else target


def _ref(number: int) -> str:
    return chr(ord("A") + number)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(kinds.LegendDisplayMode.LIST)
        .placement(kinds.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
        .calcs([])
    )


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    found = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def _properties(pairs: Sequence[tuple[str, object]]) -> list[model.DynamicConfigValue]:
    return [model.DynamicConfigValue(id_val=name, value=value) for name, value in pairs]
