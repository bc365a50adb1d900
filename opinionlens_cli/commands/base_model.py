"""`olens base-model`: make the models that come with the package; for its developers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, print_json, print_table, say, stages

if TYPE_CHECKING:
    from pipelines.base_model.making import BaseReport
    from pipelines.base_model.three import ThreeReport


def base_model_cli(
    to: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to replace. Default: the one inside the package."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="A source or domain to leave out; may be given several times. Needs --out.",
            metavar="SOURCE",
        ),
    ] = None,
    three: Annotated[
        bool, typer.Option("--base3", help="Make base3, from the base model in the package.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the base model, or base3, from the data sets and the corpus that OLENS_REAL_DATA names.

    Needs the package vaderSentiment (the extra `bench`) for the rules of its lexicon.

    Example: olens base-model --without tweets --out /tmp/without_tweets
    """
    from pipelines.base_model.making import BaseReport, make_base, make_base3
    from pipelines.base_model.opening import BASE, BASE3, FOLDERS
    from pipelines.base_model.sources import real_data
    from pipelines.config.params import load_params
    from pipelines.config.settings import load_settings

    if without and to is None:
        raise typer.BadParameter("name a folder for it with --out", param_hint="--without")
    settings = load_settings()
    params = load_params(settings.root)
    left_out = without or ()
    report: BaseReport | ThreeReport
    with stages() as on_stage:
        if three:
            report = make_base3(
                settings,
                params,
                real_data(),
                FOLDERS[BASE],
                to or FOLDERS[BASE3],
                without=left_out,
                on_stage=on_stage,
            )
        else:
            report = make_base(
                settings,
                params,
                real_data(),
                to or FOLDERS[BASE],
                without=left_out,
                on_stage=on_stage,
            )
    if as_json:
        print_json(report)
        return
    if isinstance(report, BaseReport):
        _print_base(report)
    else:
        _print_three(report)


def _print_base(report: BaseReport) -> None:
    from pipelines.base_model.card import summary

    print_table(
        ["left out", "texts", "accuracy", "VADER", "ROC AUC", "VADER"],
        [
            (of.domain, of.n, of.accuracy, of.vader_accuracy, of.roc_auc, of.vader_roc_auc)
            for of in report.left_out
        ],
    )
    print_table(
        ["slice", "texts", "accuracy"],
        [(name, metrics.n, metrics.accuracy) for name, metrics in report.metrics.items()],
    )
    say(f"{summary(report.metrics)}; {report.size:,} bytes in {report.folder}")


def _print_three(report: ThreeReport) -> None:
    print_table(
        ["left out", "labels", "texts", "macro F1", "VADER"],
        [
            (of.domain, "stars" if of.starred else "people", of.n, of.f1_macro, of.vader_f1_macro)
            for of in report.left_out
        ],
    )
    everyday = report.metrics["everyday"].f1_macro
    say(f"Macro F1 {everyday:.3f} on everyday texts; {report.size:,} bytes")
