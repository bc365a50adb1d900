"""The gate: a registered version gets an alias only if it is not worse than the one that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.config.params import load_params
from pipelines.config.settings import Settings
from pipelines.datasets.labels import relabelled
from pipelines.datasets.loading import load_slices, load_split
from pipelines.errors import InputError, ModelNotFoundError, OpinionLensError
from pipelines.files import megabytes, write_file
from pipelines.labels import Classes
from pipelines.registry.client import Registry
from pipelines.registry.logged_models import TrackingStore
from pipelines.workflows.compare import Comparison, SliceComparison, compare, shared_classes
from pipelines.workflows.open_model import OpenedModel, open_model, parse_name

if TYPE_CHECKING:
    import polars as pl

    from pipelines.tables.labelled import LabelledTable

FORCED_TAG: Final = "olens.promoted"
"""Tag of a version that was promoted: `passed`, or `forced` and what spoke against it."""
SIGNIFICANT: Final = 0.05
"""Largest p-value at which a fall is taken for more than chance."""
TEST: Final = "test"
_JSON: Final = "comparison.json"
_MARKDOWN: Final = "comparison.md"

ReadSlices = Callable[[Classes], "Mapping[str, pl.DataFrame]"]
"""Reads the labelled texts to compare models of certain classes on, as `gather_slices` does."""


class GateReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A comparison, and the slices on which the candidate falls."""

    comparison: Comparison
    fallen: list[str]
    """In sentences; empty: the candidate passes."""
    run_id: str | None = None
    """The run of the candidate, which keeps the report too."""
    problem: str = ""
    """Why it does not."""


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """An alias that was moved."""

    name: str
    version: int
    alias: str
    before: int | None
    """The version that had the alias; None: no version had it."""
    report: GateReport | None
    """None: there was nothing to compare with."""
    forced: bool


def gather_slices(
    settings: Settings, files: Mapping[str, LabelledTable], classes: Classes
) -> dict[str, pl.DataFrame]:
    """The labelled texts to compare on: files of one's own, or else the test split and its slices.

    The files must have been read for models of these `classes`.

    Raises
    ------
    DataError
        If there are neither.
    """
    import polars as pl

    if files:
        return {name: pl.concat(table.batches()) for name, table in files.items()}
    params = load_params(settings.root)
    slices = {TEST: load_split(settings, params, "test"), **load_slices(settings, params)}
    return {name: relabelled(frame, params.classes(), classes) for name, frame in slices.items()}


def pass_gate(settings: Settings, candidate: str, champion: str, read: ReadSlices) -> GateReport:
    """Compare two models, and write the report as JSON and Markdown.

    It goes to the folder of reports, and to the MLflow run that logged the candidate if the
    tracking store has it.

    A slice falls if its accuracy does by more than `gate.max_drop`, and McNemar's test says that
    this is no chance.
    """
    models = open_model(settings, candidate), open_model(settings, champion)
    comparison = compare(*models, read(shared_classes(*models)))
    limit = settings.gate.max_drop
    fallen = [
        f"{name}: {100 * found.difference:+.1f} points of accuracy (p = {found.p_value:.2g}), and "
        f"{100 * -limit:.1f} are allowed"
        for name, found in comparison.slices.items()
        if found.difference < -limit and found.p_value < SIGNIFICANT
    ]
    report = GateReport(comparison=comparison, fallen=fallen)
    files = {
        _JSON: msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n",
        _MARKDOWN: as_markdown(report),
    }
    folder = settings.paths.reports
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_file(folder / name, content.encode())
    return _keep(settings, models[0], f"comparison/{models[1].id}", files, report)


def _keep(
    settings: Settings,
    model: OpenedModel,
    folder: str,
    files: Mapping[str, str],
    report: GateReport,
) -> GateReport:
    """Keep the files in the run of `model`; that this fails is no reason to have no report."""
    if model.manifest_sha256 is None:
        return report
    try:
        artifacts = {f"{folder}/{name}": content for name, content in files.items()}
        run_id = TrackingStore(settings.mlflow).keep(model.manifest_sha256, artifacts)
    except OpinionLensError as error:
        return msgspec.structs.replace(report, problem=str(error))
    return msgspec.structs.replace(report, run_id=run_id)


def promote(
    settings: Settings,
    model: str,
    alias: str,
    read: ReadSlices,
    force: bool = False,
) -> Promotion:
    """Point `alias` to a registered version, if it passes the gate.

    Parameters
    ----------
    model : str
        ``NAME/3`` or ``NAME@other``.
    alias : str
        Of the same registered model. The version that has it is the champion.
    read : callable
        Reads the texts to compare on.
    force : bool
        Move the alias although a slice falls; the registry keeps what spoke against it.

    Raises
    ------
    InputError
        If `model` names no registered version, or it does not pass.
    """
    wanted = parse_name(model)
    if wanted.version is None and wanted.alias is None:
        raise InputError(f"{model[:80]!r} names no version of a registered model: NAME/3.")
    registry = Registry(settings.mlflow)
    version = registry.resolve(*wanted)
    before = _holder(registry, wanted.name, alias)
    if before == version.version:
        raise InputError(f"{alias} is version {before} of {wanted.name} already.")
    report = None
    if before is not None:
        pair = (f"{wanted.name}/{version.version}", f"{wanted.name}/{before}")
        report = pass_gate(settings, *pair, read)
    fallen = report.fallen if report else []
    if fallen and not force:
        raise InputError(
            f"{alias} stays version {before} of {wanted.name}. Version {version.version} falls on "
            f"{'; '.join(fallen)}. --force moves it all the same."
        )
    said = f"forced: {'; '.join(fallen)}" if fallen else "passed"
    registry.point(wanted.name, version.version, alias, {FORCED_TAG: f"{alias} {said}"[:500]})
    return Promotion(
        name=wanted.name,
        version=version.version,
        alias=alias,
        before=before,
        report=report,
        forced=bool(fallen),
    )


def as_markdown(report: GateReport) -> str:
    """The report for people."""
    found = report.comparison
    lines = [
        f"# {found.candidate} against {found.champion}",
        "",
        "Falls on: " + "; ".join(report.fallen) + "."
        if report.fallen
        else "It falls on no slice by more than the settings allow.",
        "",
        f"| Slice | Texts | {found.candidate} | {found.champion} | Difference | 95 % interval "
        "| p | ECE | ECE before |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, each) for name, each in found.slices.items()),
        "",
        "ECE is the expected calibration error.",
        "",
        "| Model | Texts a second | Size |",
        "| --- | --- | --- |",
        f"| {found.candidate} | {found.candidate_speed:,.0f} | {megabytes(found.candidate_size)} |",
        f"| {found.champion} | {found.champion_speed:,.0f} | {megabytes(found.champion_size)} |",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, found: SliceComparison) -> str:
    return (
        f"| {name} | {found.n:,} | {found.candidate.accuracy:.1%} | {found.champion.accuracy:.1%} "
        f"| {100 * found.difference:+.1f} | {100 * found.low:+.1f} to {100 * found.high:+.1f} "
        f"| {found.p_value:.2g} | {found.candidate.ece:.3f} | {found.champion.ece:.3f} |"
    )


def _holder(registry: Registry, name: str, alias: str) -> int | None:
    try:
        return registry.resolve(name, alias=alias).version
    except ModelNotFoundError:
        return None
