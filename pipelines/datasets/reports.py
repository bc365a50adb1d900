"""What preparing writes down about its input and output, so that others can tell if it holds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from pipelines.params import Dataset, Split

if TYPE_CHECKING:
    import polars as pl

REPORT: Final = "report.json"

Origin = Literal["raw", "sample"]
ClassCounts = dict[str, int]
"""Number of texts by class name, ``negative`` and ``positive``."""


class DatasetReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a data set was prepared; ``report.json`` beside its splits."""

    dataset: str
    origin: Origin
    """`sample`: these are the synthetic texts that come with the project, not real data."""
    path: str
    """Below ``paths.raw`` or ``paths.sample``."""
    size: int
    """Bytes of the raw file."""
    sha256: str
    """Of the raw file."""
    declaration: Dataset
    seed: int
    shares: Split
    rows: int
    dropped: dict[str, int]
    """Rows left out, by reason; `cleaning.Tally` explains them."""
    conflicting: int
    """Distinct texts that are labelled both ways."""
    kept: int
    splits: dict[str, ClassCounts]
    warnings: list[str] = []


class SliceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the slices were made of; ``report.json`` beside them."""

    test_splits: dict[str, str]
    """SHA-256 of the test split of each data set."""
    slices: dict[str, ClassCounts]


R = TypeVar("R", DatasetReport, SliceReport)


def write_report(folder: Path, report: DatasetReport | SliceReport) -> None:
    """Write ``report.json``, in the same bytes for equal reports."""
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
    (folder / REPORT).write_bytes(encoded + b"\n")


def read_report(folder: Path, kind: type[R]) -> R | None:
    """The report in `folder`; None if there is none, or none that this version could have made."""
    try:
        return msgspec.json.decode((folder / REPORT).read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def fingerprint(path: Path) -> tuple[int, str]:
    """Size in bytes and hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256


def class_counts(texts: pl.DataFrame) -> ClassCounts:
    """Number of texts of each class, by the column ``label``."""
    positive = int(texts["label"].sum())
    return {"negative": texts.height - positive, "positive": positive}
