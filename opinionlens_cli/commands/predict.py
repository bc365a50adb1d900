"""`olens predict`: verdicts on texts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from opinionlens_cli.console import (
    JsonOption,
    note,
    out,
    print_json,
    print_table,
    rows_progress,
    warn,
)
from opinionlens_cli.options import (
    AddressOption,
    EncodingOption,
    Engine,
    EngineOption,
    HeaderOption,
    ModelOption,
    SeparatorOption,
    SheetOption,
    TextColumnOption,
    check_address,
    open_model,
)
from opinionlens_cli.texts import read_texts
from pipelines.labels import BINARY
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    from pipelines.batch.scoring import Job, ScoringRun
    from pipelines.batch.verdicts import RowVerdict
    from pipelines.inference.evidence import Judgement
    from pipelines.tables.options import Options
    from pipelines.workflows.open_model import OpenedModel

Line = tuple[str | None, float | None, str, str]
"""Prediction, its probability, the evidence, and the text."""

_DOUBTS: Final = {"none": "(not enough to go by)  ", "weak": "(weak evidence)  ", "clear": ""}
"""What stands before a text, by the evidence in it."""
_SHOWN: Final = 5
"""Messages about files that are printed, when there are many of them."""


class Format(StrEnum):
    """What files in a folder can become."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


_KINDS: Final = {Format.csv: "CSV", Format.jsonl: "JSONL", Format.parquet: "Parquet"}


def predict_cli(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts. Without any, each line of standard input is one."),
    ] = None,
    model: ModelOption = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Files of rows instead: CSV, TSV, JSONL, JSON, Parquet or Excel, compressed or "
            "not; of a text file, the lines. A path, a 'glob', a folder, or a URL (s3://, gs://, "
            "az://).",
            metavar="FILES",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "--out",
            help="Write the rows of --data there with columns of verdicts: a .csv, .tsv, .jsonl, "
            ".json or .parquet file, or a folder/ with a file for each. A path or a URL.",
        ),
    ] = None,
    text_column: TextColumnOption = None,
    explain: Annotated[
        int, typer.Option(min=0, max=20, help="Add a column with so many of the strongest words.")
    ] = 0,
    rejects: Annotated[
        str | None,
        typer.Option(
            help="Write a list of the rows that cannot be read there: file, row, line, reason.",
            metavar="FILE",
        ),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="What files in a folder become. Default: what they are."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run was stopped.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace output that is there already.")
    ] = False,
    harmless: Annotated[
        bool,
        typer.Option(
            "--harmless", help="Put an apostrophe before cells that a spreadsheet would run."
        ),
    ] = False,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    encoding: EncodingOption = None,
    separator: SeparatorOption = None,
    header: HeaderOption = None,
    sheet: SheetOption = None,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="Take each line of standard input as a text, a header too."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether texts are positive or negative, or which class they are of, and how surely.

    Files may be of any size: they are read, judged and written piece by piece.

    Example: olens predict "The food was cold and the waiter rude"

    Example: olens predict --data reviews.csv --output verdicts.csv

    Example: olens predict --data s3://reviews/in/ --output s3://reviews/scored/ --engine ray
    """
    check_address(engine, address)
    if data is None:
        if output is not None:
            raise typer.BadParameter("goes with --data", param_hint="--output")
        _predict_texts(read_texts(texts, lines), model, as_json)
        return
    if texts:
        raise typer.BadParameter("give texts or --data, not both", param_hint="TEXT")

    from pipelines.tables.options import Options

    options = Options(encoding=encoding, separator=separator, header=header, sheet=sheet)
    if output is None:
        if rejects or explain or resume or engine is Engine.ray:
            raise typer.BadParameter("--rejects, --explain, --resume and --engine go with --output")
        _print_rows(data, text_column, options, open_model(model), as_json)
        return

    from pipelines.batch.scoring import Job

    job = Job(
        data=data,
        output=output,
        text_column=text_column,
        options=options,
        kind=format_ and _KINDS[format_],
        words=explain,
        harmless=harmless,
        rejects=rejects,
    )
    opened = open_model(model)
    run = _scoring_run(job, opened, engine, address)
    _predict_files(run, job, opened, resume, overwrite, as_json)


def _predict_texts(texts: list[str], model: str | None, as_json: bool) -> None:
    opened = open_model(model)
    judged = list(zip(opened.scorer.judge(texts), texts, strict=True))
    if not as_json:
        _write((found.prediction, found.confidence, found.evidence, text) for found, text in judged)
        _name_model(opened)
        return
    print_json(
        [
            {
                "text": text,
                "prediction": found.prediction,
                "confidence": found.confidence,
                "known": found.known,
                "evidence": found.evidence,
                "model": opened.id,
                **_probabilities(found, opened),
            }
            for found, text in judged
        ]
    )


def _probabilities(found: Judgement, opened: OpenedModel) -> dict[str, dict[str, float]]:
    """The probability of each class, where there are others than negative and positive."""
    names = opened.scorer.classes.names
    if names == BINARY.names:
        return {}
    return {"probabilities": dict(zip(names, found.each, strict=True))}


def _print_rows(
    data: str, text_column: str | None, options: Options, opened: OpenedModel, as_json: bool
) -> None:
    """Print the verdicts on the rows of files."""
    from pipelines.batch.sources import find_sources
    from pipelines.batch.verdicts import judge_rows
    from pipelines.tables.reading import open_table

    found: list[RowVerdict] = []
    for source in find_sources(data):
        with source.local() as path:
            table = open_table(path, source.name, options)
            column = table.text_column(text_column)
            rows = judge_rows(opened.scorer, table, column)
            if as_json:
                found += rows
            else:
                _write((row.prediction, row.confidence, row.evidence, row.text) for row in rows)
            note(table.describe())
            note(f"Texts: column {column}")
            for message in table.messages():
                warn(message)
    if as_json:
        print_json(found)
    _name_model(opened)


def _scoring_run(job: Job, opened: OpenedModel, engine: Engine, address: str | None) -> ScoringRun:
    from pipelines.config.settings import user_cache

    given = opened.scorer, opened.id, job, user_cache().parent
    if engine is Engine.ray:
        from pipelines.batch.ray_scoring import RayScoringRun

        return RayScoringRun(*given, address)
    from pipelines.batch.scoring import ScoringRun

    return ScoringRun(*given)


def _predict_files(
    run: ScoringRun, job: Job, opened: OpenedModel, resume: bool, overwrite: bool, as_json: bool
) -> None:
    """Write files with verdicts."""
    from pipelines.errors import StorageError

    try:
        with rows_progress(f"Judging {job.data}") as on_progress:
            report = run.run(resume=resume, overwrite=overwrite, on_progress=on_progress)
    except (KeyboardInterrupt, StorageError):
        if run.can_go_on:
            note("What was done is kept. To go on, give the same command with --resume.")
        raise
    if as_json:
        print_json(report)
    else:
        print_table(["prediction", "rows"], [(k or "no text", n) for k, n in report.rows.items()])
    _tell(report.data, note)
    _tell(report.warnings, warn)
    if report.left_out:
        warn(
            f"{report.left_out:,} rows could not be read and are not in the output."
            f"{'' if job.rejects else ' To list them with their lines: --rejects FILE'}"
        )
    _tell([f"Written: {file}" for file in report.files], note)
    _name_model(opened)


def _tell(messages: Sequence[str], tell: Callable[[str], None]) -> None:
    """Print the first messages, and how many more there are."""
    for message in messages[:_SHOWN]:
        tell(message)
    if len(messages) > _SHOWN:
        tell(f"... and {len(messages) - _SHOWN:,} more")


def _write(judged: Iterable[Line]) -> None:
    """Print a line for each text."""
    coloured: dict[str | None, str] = {
        "POSITIVE": _coloured("POSITIVE", "green"),
        "NEGATIVE": _coloured("NEGATIVE", "red"),
        None: "no text ",
    }
    lines = (
        f"{coloured.get(label, label)} {'' if confidence is None else f'{confidence:.1%}':>6}  "
        f"{_DOUBTS[evidence] if label else ''}{in_one_line(text, 60)}\n"
        for label, confidence, evidence, text in judged
    )
    # Many at once: Rich takes a hundred times as long as the model for a line.
    while some := "".join(islice(lines, 10_000)):
        sys.stdout.write(some)


def _coloured(label: str, colour: str) -> str:
    """`label` as it is written on this terminal."""
    with out.capture() as capture:
        out.print(label, style=colour, end="", highlight=False)
    return capture.get()


def _name_model(opened: OpenedModel) -> None:
    note(f"model: {opened.title}")
