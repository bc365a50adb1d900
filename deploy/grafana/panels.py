"""What all dashboards have in common: one look for stats and graphs, one grid, one time range."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models

SOURCE: Final = options.DataSourceRef("prometheus", "prometheus")
"""Provisioned under this uid."""

TAG: Final = "opinionlens"
WIDTH: Final = 24
"""Columns of Grafana's grid."""

Panel = stat.Panel | timeseries.Panel
Queries = dict[str, str]
"""PromQL by its legend."""

UP: Final = {"0": ("down", "red"), "1": ("up", "green")}
"""Words for a value that says whether something is there."""


@dataclass(frozen=True)
class Section:
    """A row of the dashboard: its title, and panels of one height side by side."""

    title: str
    panels: list[Panel]
    height: int = 8


@dataclass(frozen=True)
class Board:
    """A dashboard before it is laid out."""

    title: str
    description: str
    sections: list[Section]


def one(
    title: str,
    expr: str,
    unit: str = "short",
    description: str = "",
    *,
    bad: float | None = None,
    bad_below: bool = False,
    decimals: int | None = None,
    empty: str = "–",
    name: str = "",
    words: dict[str, tuple[str, str]] | None = None,
) -> stat.Panel:
    """The present value.

    Parameters
    ----------
    bad : float, optional
        The value turns red there; use that of the alert.
    bad_below : bool
        Whether it is low values that are bad.
    empty : str
        Stands where there is no value.
    name : str
        Legend to show instead of the value, such as ``{{version}}``.
    words : dict, optional
        Text and colour that stand for a value.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .no_value(empty)
        .thresholds(_thresholds(bad, bad_below))
        .graph_mode(options.BigValueGraphMode.NONE)
        .color_mode(options.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(name, expr).instant())
    )
    if name:
        panel.text_mode(options.BigValueTextMode.NAME)
    if words:
        meanings = {
            value: models.ValueMappingResult(text=text, color=color)
            for value, (text, color) in words.items()
        }
        panel.mappings([models.ValueMap(meanings)])
    return panel if decimals is None else panel.decimals(decimals)


def graph(
    title: str,
    unit: str,
    queries: Queries,
    description: str = "",
    *,
    bad: float | None = None,
    bad_below: bool = False,
    stacked: bool = False,
    highest: float | None = None,
) -> timeseries.Panel:
    """Values over time, from zero up; `bad` and `bad_below` as in :func:`one`, as a dashed line."""
    mode = options.StackingMode.NORMAL if stacked else options.StackingMode.NONE
    line = options.GraphThresholdsStyleMode
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 10)
        .show_points(options.VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(mode))
        .thresholds(_thresholds(bad, bad_below))
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(line.OFF if bad is None else line.DASHED)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(options.TooltipDisplayMode.MULTI)
            .sort(options.SortOrder.DESCENDING)
        )
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.TABLE)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
    )
    for letter, (legend, expr) in zip(ascii_uppercase, queries.items(), strict=False):
        panel.with_target(_query(legend, expr, letter))
    return panel if highest is None else panel.max(highest)


def rate(counter: str, labels: str = "", by: str = "") -> str:
    """PromQL: growth per second, summed up `by` labels."""
    total = f"sum by ({by}) " if by else "sum"
    selector = f"{counter}{{{labels}}}" if labels else counter
    return f"{total}(rate({selector}[$__rate_interval]))"


def quantile(q: float, histogram: str, labels: str = "", by: str = "") -> str:
    """PromQL: a quantile of a histogram `by` labels."""
    buckets = rate(f"{histogram}_bucket", labels, f"{by}, le" if by else "le")
    return f"histogram_quantile({q}, {buckets})"


def quantiles(histogram: str, labels: str = "") -> Queries:
    """The 50th, 95th and 99th percentile of a histogram."""
    return {f"p{q:.0%}"[:-1]: quantile(q, histogram, labels) for q in (0.5, 0.95, 0.99)}


def lay_out(board: Board) -> models.Dashboard:
    """The dashboard as Grafana reads it."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(f"{TAG}-{board.title.lower()}")
        .description(board.description)
        .tags([TAG])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_others())
        .annotation(_models())
        .annotation(_alerts())
    )
    number = 0
    for section in board.sections:
        built.with_row(dashboard.Row(section.title).id(number := number + 1))
        for panel in section.panels:
            panel.id(number := number + 1).span(WIDTH // len(section.panels)).height(section.height)
            built.with_panel(panel)
    laid_out = built.build()
    for control in (*(laid_out.links or ()), *(laid_out.annotations.list_val or ())):
        # In plain sight: the library's default is a menu.
        control.placement = None
    return laid_out


def _query(legend: str, expr: str, letter: str = "A") -> prometheus.Dataquery:
    query = prometheus.Dataquery().datasource(SOURCE).ref_id(letter).expr(expr)
    return query.legend_format(legend or "__auto").range()


def _thresholds(bad: float | None, bad_below: bool) -> dashboard.ThresholdsConfig:
    colors = ("red", "green") if bad_below else ("green", "red")
    steps = [models.Threshold(None, colors[0] if bad is not None else "text")]
    if bad is not None:
        steps.append(models.Threshold(bad, colors[1]))
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS)
    return link.tags([TAG]).as_dropdown(False).keep_time(True)


def _models() -> dashboard.AnnotationQuery:
    """When which model began to answer: the time is the value, so that each switch shows once."""
    switched = "opinionlens_model_last_switch_timestamp_seconds * 1000"
    expr = f"{switched} * on (instance) group_left (name, version) opinionlens_model_info"
    query = _annotation("Model", "blue", expr).title_format("{{name}} version {{version}}")
    return query.use_value_for_time(True)


def _alerts() -> dashboard.AnnotationQuery:
    expr = 'ALERTS{alertstate="firing"}'
    return _annotation("Alerts", "red", expr).title_format("{{alertname}}").tag_keys("severity")


def _annotation(name: str, color: str, expr: str) -> dashboard.AnnotationQuery:
    query = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True)
    return query.icon_color(color).expr(expr).step("15s")
