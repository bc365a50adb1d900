"""The work of `olens data verify`: what is in a raw file, and what preprocessing makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.datasets.cleaning import Progress, Tally, clean
from pipelines.datasets.preparing import check_usable
from pipelines.datasets.reading import open_source
from pipelines.datasets.reports import class_counts
from pipelines.datasets.sources import Source, check_names, find_source
from pipelines.errors import DataError

if TYPE_CHECKING:
    from pipelines.config.params import Params
    from pipelines.config.settings import Settings

_COUNTED: Final = {
    "malformed": ("rows that cannot be read", "left out"),
    "blank_label": ("rows with a blank label", "left out"),
    "dropped_label": ("rows with a label under drop", "left out"),
    "blank_text": ("rows without text", "left out"),
    "duplicate": ("rows that repeat a text", "left out: a text is kept once"),
    "conflicting": ("texts with {several} labels", "the label of the majority is kept"),
    "tie": ("rows of texts without a majority", "left out"),
}


class Finding(msgspec.Struct, frozen=True):
    """One thing about a file that its owner may want to know."""

    what: str
    count: int | None
    then: str
    """What `olens preprocess` does about it."""
    stops: bool = False
    """Whether `olens preprocess` stops with an error."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """The findings about the file of one data set."""

    dataset: str
    path: str
    usable: bool
    """Whether `olens preprocess` takes it as it is."""
    found: str = ""
    """Format of the file: kind, separator, encoding, header, columns."""
    columns: list[str] = []
    rows: int = 0
    kept: int = 0
    """Distinct texts with a label."""
    classes: dict[str, int] = {}
    """Number of kept texts of each class."""
    findings: list[Finding] = []


def verify(
    settings: Settings,
    params: Params,
    names: Sequence[str] = (),
    *,
    sample: bool = False,
    on_progress: Callable[[str, int], None] | None = None,
) -> list[Verification]:
    """Look through the files of the data sets `names`, all declared ones by default.

    What is wrong with a file is a finding, not an error.

    Parameters
    ----------
    settings : Settings
    params : Params
    names : sequence of str, optional
    sample : bool
        Look below ``paths.sample`` instead of ``paths.raw``.
    on_progress : callable, optional
        Called with the data set's name and the number of rows read since the last call.

    Raises
    ------
    DataError
        If a name is not declared.
    """
    check_names(params, names)
    return [
        verify_file(
            find_source(settings, params, name, sample=sample),
            partial(on_progress, name) if on_progress else None,
        )
        for name in names or params.datasets
    ]


def verify_file(source: Source, on_progress: Progress | None = None) -> Verification:
    """Look through one file."""
    findings: list[Finding] = []
    found, columns = "", list[str]()
    tally, classes = Tally(), {}
    try:
        table = open_source(source)
        columns = table.columns
        texts, tally, unknown = clean(source, on_progress, table)
        found = table.describe()
        classes = class_counts(texts, source.declaration.classes)
        findings += [Finding(message, None, "as it says") for message in table.messages()]
        findings += _counted(tally, len(source.declaration.classes))
        check_labels = partial(unknown.check, source, table.unit)
        findings += _stopping(check_labels, tally.unknown_label)
        findings += _stopping(partial(check_usable, source, classes, tally))
    except DataError as error:
        findings.append(Finding(str(error), None, "stops with this error", stops=True))
    return Verification(
        dataset=source.name,
        path=str(source.path),
        usable=not any(finding.stops for finding in findings),
        found=found,
        columns=columns,
        rows=tally.rows,
        kept=tally.kept,
        classes=classes,
        findings=findings,
    )


def _counted(tally: Tally, n_classes: int) -> list[Finding]:
    several = "both" if n_classes == 2 else "several"
    return [
        Finding(what.format(several=several), count, then)
        for reason, (what, then) in _COUNTED.items()
        if (count := getattr(tally, reason))
    ]


def _stopping(check: Callable[[], None], count: int | None = None) -> list[Finding]:
    try:
        check()
    except DataError as error:
        return [Finding(str(error), count, "stops with this error", stops=True)]
    return []
