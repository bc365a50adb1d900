"""`olens feedback`: what users of the service said their texts should have been."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, docs, note, print_json, print_table, say

if TYPE_CHECKING:
    from pipelines.labelling.feedback import FeedbackStore

app = typer.Typer(
    help="List, export and purge the texts that users of the service have corrected.",
    no_args_is_help=True,
)

_PAGE = docs("serving")


@app.command("list", epilog=_PAGE)
def list_cli(
    limit: Annotated[int, typer.Option(min=1, help="Most rows to show, the newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the corrections: what the model said, and what it should have been.

    Example: olens feedback list --json
    """
    from pipelines.text.showing import in_one_line

    found = _store().corrections()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each.id,
            f"{each.at.astimezone():%Y-%m-%d %H:%M}",
            *(each.prediction, each.label, each.model, in_one_line(each.key, 20)),
            in_one_line(each.text),
        )
        for each in found[:limit]
    ]
    print_table(["ID", "sent", "prediction", "should be", "model", "key", "text"], rows)
    if len(found) > limit:
        note(f"{len(found) - limit:,} older ones are not shown; --limit shows more.")


@app.command("export", epilog=_PAGE)
def export_cli(
    output: Annotated[
        Path, typer.Option("--output", help="CSV file to write; replaced if it is there.")
    ],
    harmless: Annotated[
        bool,
        typer.Option(
            "--harmless", help="Put an apostrophe before cells that a spreadsheet would run."
        ),
    ] = False,
) -> None:
    """Write the corrections as candidates for labelling: text, label, suggestion, reason, source.

    `label` is what the model said, `suggestion` what the user says. Look at them before you train.

    Example: olens feedback export --output corrections.csv
    """
    from pipelines.files import write_file
    from pipelines.labelling.candidates import candidates_csv
    from pipelines.labelling.feedback import candidates

    found = candidates(_store().corrections())
    write_file(output, candidates_csv(found, for_spreadsheet=harmless))
    say(f"{output}: {len(found):,} corrections")


@app.command("purge", epilog=_PAGE)
def purge_cli(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="IDs, as listed.")
    ] = None,
    keys: Annotated[
        list[str] | None, typer.Option("--key", help="All with this key. May be repeated.")
    ] = None,
    containing: Annotated[
        str, typer.Option(help="All with this in the text, in any letter case.")
    ] = "",
    older_than: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="All that are older.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All.")] = False,
) -> None:
    """Delete corrections, so that nothing of their texts is left in the files of the database.

    What is over its time is deleted as well. Backups and exported files are not touched.

    Example: olens feedback purge --older-than 30
    """
    if not (ids or keys or containing or older_than is not None or everything):
        raise typer.BadParameter("say which: IDs, --key, --containing, --older-than or --all")
    count = _store().purge(
        ids=ids or (),
        keys=keys or (),
        containing=containing,
        older_than_days=older_than,
        everything=everything,
    )
    say(f"{count:,} corrections are deleted")


def _store() -> FeedbackStore:
    from pipelines.config.settings import load_settings
    from pipelines.labelling.feedback import FeedbackStore

    return FeedbackStore(load_settings())
