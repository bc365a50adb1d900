"""`olens labels`: what people have said of texts, in and out of files; models of it; removal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.commands.label import ClassesOption, PersonOption, class_names, who
from opinionlens_cli.console import (
    JsonOption,
    docs,
    note,
    print_json,
    print_next,
    print_table,
    say,
    stages,
    warn,
)
from opinionlens_cli.options import (
    LabelColumnOption,
    NewAliasOption,
    RegisterOption,
    TextColumnOption,
)

if TYPE_CHECKING:
    from pipelines.labelling.active_learning import Accuracy
    from pipelines.workflows.label import Labelling

app = typer.Typer(
    help="Export, import, count and remove labels, and make models of them.", no_args_is_help=True
)

_PAGE = docs("labelling")

ProjectArgument = Annotated[str, typer.Argument(help="A labelling project.")]


@app.command("export", epilog=_PAGE)
def export_cli(
    project: ProjectArgument,
    output: Annotated[
        Path | None, typer.Option(help="File to write.  [default: standard output]")
    ] = None,
    as_label_studio: Annotated[
        bool, typer.Option("--label-studio", help="JSON of Label Studio instead of CSV.")
    ] = False,
) -> None:
    """Write the labels of a project as CSV, or as JSON of Label Studio.

    A row for each label: the text, the label that counts, who said what and when, and whether the
    text was drawn at random. Below data/raw, the CSV is a data set like any other.

    Example: olens labels export reviews --output data/raw/reviews.csv
    """
    from pipelines.files import write_file

    content = _labelling().export(project, "label-studio" if as_label_studio else "csv")
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    write_file(output, content)
    note(f"Written: {output}")
    if not as_label_studio:
        classes = _labelling().store.project(project).classes
        note("As a data set in conf/params.yaml, if the file is below data/raw:")
        say(
            f"  {project}:\n    path: {output.name}\n    text: text\n    label: label\n"
            f"    labels: [{', '.join(classes)}]"
        )


@app.command("import", epilog=_PAGE)
def import_cli(
    project: ProjectArgument,
    data: Annotated[
        Path,
        typer.Argument(
            help="What `export` or Label Studio wrote, or any file of texts and labels."
        ),
    ],
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    classes: ClassesOption = None,
    person: PersonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add the labels of a file to a project; a new project is made if there is none.

    Labels that name nobody are yours. A label of the same person for the same text is replaced.

    Example: olens labels import reviews labelled.csv --as Ann
    """
    added = _labelling().take_in(
        data, project, who(person), (text_column, label_column), class_names(classes)
    )
    if as_json:
        print_json(added)
        return
    say(
        f"{added.labels:,} labels added to {project}, {added.new:,} of their texts are new. It has "
        f"{added.texts:,} texts."
    )


@app.command("stats", epilog=_PAGE)
def stats_cli(
    project: Annotated[
        str | None, typer.Argument(help="A labelling project; without one, all are listed.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far a project is: labels by class and person, agreement, and how good a model is.

    Example: olens labels stats reviews
    """
    labelling = _labelling()
    if project is None:
        _list(labelling, as_json)
        return
    learning = labelling.open(project)
    if learning.is_due:
        with stages() as on_stage:
            on_stage("learning from the labels")
            learning.learn()
    found = learning.progress()
    if as_json:
        print_json(found)
        return
    say(f"{found.labelled:,} of {found.texts:,} texts labelled, {found.skipped:,} skipped.")
    print_table(["class", "texts"], list(found.by_class.items()))
    print_table(["who", "labels"], list(found.by_annotator.items()))
    if found.agreements:
        print_table(
            ["who", "texts", "same", "kappa"],
            [(" and ".join(a.annotators), a.texts, a.same, a.kappa) for a in found.agreements],
            "Agreement (Cohen's kappa)",
        )
    if found.in_dispute:
        warn(f"{found.in_dispute:,} texts have different labels, and count once that is settled.")
    if found.needs:
        note(found.needs)
    for what, accuracy in (("before your labels", found.before), ("now", found.accuracy)):
        if accuracy and (what == "now" or found.learnt_from):
            say(f"Accuracy {what}: {_accuracy(accuracy)}")
    if found.enough:
        say("More labels help little now.")


@app.command("remove", epilog=_PAGE)
def remove_cli(
    project: ProjectArgument,
    containing: Annotated[
        str, typer.Option(help="Only texts with this in them, in any letter case.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a project, or some of its texts, with their labels.

    Nothing of the texts is left in the files of the database. Backups, exported files and models
    that have learnt from them are not touched.

    Example: olens labels remove reviews --containing "order 4711"
    """
    labelling = _labelling()
    texts = labelling.texts_with(project, containing)
    if containing and not texts:
        say(f"No text of {project} contains that.")
        return
    what = f"{len(texts):,} text{'s' * (len(texts) != 1)} of {project}"
    question = f"Delete {what}" if containing else f"Delete the project {project}: {what}"
    if not yes:
        typer.confirm(f"{question}, and what was said of them?", abort=True, err=True)
    labelling.remove(project, texts if containing else None)
    say(f"Deleted: {what}.")


@app.command("train", epilog=_PAGE)
def train_cli(
    project: ProjectArgument,
    model: RegisterOption = None,
    alias: NewAliasOption = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Let it answer from now on; needs --model.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a model of the labels of a project.

    It is measured on the texts drawn at random, from which it does not learn.

    Example: olens labels train reviews --model mine --activate
    """
    from pipelines.config.settings import load_settings
    from pipelines.workflows.train_on_labels import train_on_labels

    with stages() as on_stage:
        trained = train_on_labels(load_settings(), project, model, alias, activate, on_stage)
    for message in trained.messages:
        note(message)
    if as_json:
        print_json(trained)
        return
    names = {"start": trained.start, "scratch": "from scratch", "adapted": "adapted"}
    print_table(
        ["model", "accuracy", "95 % interval", "ece"],
        [
            (names[kind], f.metrics.accuracy, f"{f.low:.1%} to {f.high:.1%}", f.metrics.ece)
            for kind, f in trained.figures.items()
        ],
        f"On {trained.held_out}",
    )
    cached = f", in the cache as {trained.cached_id}" if trained.cached_id else ""
    say(f"{trained.texts:,} labels learnt; logged as {trained.model_id}{cached}.")
    if trained.cached_id is None:
        print_next(f"register {trained.model_id} {project}")
    elif not activate:
        print_next(f"models activate {trained.cached_id}")


def _labelling() -> Labelling:
    from pipelines.config.settings import load_settings
    from pipelines.workflows.label import Labelling

    return Labelling(load_settings())


def _list(labelling: Labelling, as_json: bool) -> None:
    projects = labelling.store.projects()
    if as_json:
        print_json(projects)
        return
    rows = [
        (p.name, ", ".join(p.classes), labelling.store.count(p), len(labelling.store.labels(p)))
        for p in projects
    ]
    print_table(["project", "classes", "texts", "labels"], rows)


def _accuracy(found: Accuracy) -> str:
    return (
        f"{found.share:.1%} ({found.low:.1%} to {found.high:.1%}) of {found.texts:,} texts drawn "
        "at random"
    )
