"""The work of `olens data verify`: what is in a raw file, and what preprocessing makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.datasets.cleaning import Progress, Tally, clean
from pipelines.datasets.encodings import (
    bad_bytes,
    encoding_error,
    repairs_encoding,
    starts_with_bom,
)
from pipelines.datasets.preparing import check_usable
from pipelines.datasets.reading import check_columns
from pipelines.datasets.reports import class_counts
from pipelines.datasets.sources import Source, check_file, check_names, find_source
from pipelines.errors import DataError

if TYPE_CHECKING:
    from pipelines.params import Params
    from pipelines.settings import Settings

_COUNTED: Final = {
    "blank_label": ("rows with a blank label", "left out"),
    "dropped_label": ("rows with a label under drop", "left out"),
    "blank_text": ("rows without text", "left out"),
    "duplicate": ("rows that repeat a text", "left out: a text is kept once"),
    "conflicting": ("texts with both labels", "the label of the majority is kept"),
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
    """What was found in the file of one data set."""

    dataset: str
    path: str
    usable: bool
    """Whether `olens preprocess` takes it as it is."""
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
    columns: list[str] = []
    tally, classes = Tally(), {}
    try:
        check_file(source)
        findings, readable = _encoding(source)
        columns = check_columns(readable)
        texts, tally, unknown = clean(readable, on_progress)
        classes = class_counts(texts)
        findings += _counted(tally)
        findings += _stopping(partial(unknown.check, readable), tally.unknown_label)
        findings += _stopping(partial(check_usable, readable, texts, tally))
    except DataError as error:
        findings.append(Finding(str(error), None, "stops with this error", stops=True))
    return Verification(
        dataset=source.name,
        path=str(source.path),
        usable=not any(finding.stops for finding in findings),
        columns=columns,
        rows=tally.rows,
        kept=tally.kept,
        classes=classes,
        findings=findings,
    )


def _encoding(source: Source) -> tuple[list[Finding], Source]:
    """Findings about the bytes of the file, and a declaration with which it can be read anyway."""
    findings = []
    if starts_with_bom(source.path):
        findings.append(Finding("byte order mark at the beginning", 1, "skipped"))
    bad = bad_bytes(source)
    first = next(bad, None)
    if first is None:
        return findings, source
    count = 1 + sum(1 for _ in bad)
    if repairs_encoding(source.declaration):
        findings.append(Finding("places that are not UTF-8", count, "replaced by U+FFFD"))
        return findings, source
    error = encoding_error(source, first)
    findings.append(Finding(str(error), count, "stops with this error", stops=True))
    repaired = msgspec.structs.replace(source.declaration, encoding="utf-8-replace")
    return findings, msgspec.structs.replace(source, declaration=repaired)


def _counted(tally: Tally) -> list[Finding]:
    return [
        Finding(what, count, then)
        for reason, (what, then) in _COUNTED.items()
        if (count := getattr(tally, reason))
    ]


def _stopping(check: Callable[[], None], count: int | None = None) -> list[Finding]:
    try:
        check()
    except DataError as error:
        return [Finding(str(error), count, "stops with this error", stops=True)]
    return []
