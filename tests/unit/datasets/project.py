"""A small project in a temporary folder, for tests of data sets."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipelines.config.params import Dataset, Params, load_params
from pipelines.config.settings import Settings, load_settings
from pipelines.datasets.reading import read_batches
from pipelines.datasets.sources import Source
from pipelines.errors import DataError

DECLARATION = {
    "path": "reviews.csv",
    "text": "text",
    "label": "label",
    "labels": {"negative": ["neg"], "positive": ["pos"]},
}


class Project:
    """Writes what a user would write, and loads it as the commands do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.raw = root / "data" / "raw"
        self.sample = root / "data" / "sample"
        self.prepared = root / "data" / "prepared"
        self.slices = root / "data" / "slices"
        for folder in (root / "conf", self.raw, self.sample):
            folder.mkdir(parents=True, exist_ok=True)
        self.declare()

    def declare(self, *, seed: int = 42, **datasets: Mapping[str, object]) -> None:
        """Write ``conf/params.yaml``; each data set changes the usual declaration."""
        changes = datasets or {"reviews": {}}
        declared = {name: {**DECLARATION, **change} for name, change in changes.items()}
        values = {"seed": seed, "datasets": declared}
        (self.root / "conf" / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def write(
        self, content: bytes | str, name: str = "reviews.csv", *, sample: bool = False
    ) -> Path:
        """Write a raw file."""
        path = (self.sample if sample else self.raw) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    @property
    def settings(self) -> Settings:
        return load_settings(self.root)

    @property
    def params(self) -> Params:
        return load_params(self.root)

    def snapshot(self) -> dict[str, bytes]:
        """Every prepared file and every slice, hidden ones too, with its bytes."""
        found = (path for folder in (self.prepared, self.slices) for path in folder.rglob("*"))
        return {
            str(path.relative_to(self.root)): path.read_bytes() for path in found if path.is_file()
        }


def csv_of(rows: Sequence[tuple[str, str]]) -> str:
    """A CSV file with the columns text and label."""
    quoted = (f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in rows)
    return "\n".join(["text,label", *quoted]) + "\n"


def rows_of(number: int, *, prefix: str = "review") -> list[tuple[str, str]]:
    """Distinct texts, of both classes in turn."""
    return [
        (f"{prefix} number {i}, " + "so " * (i % 7), ("neg", "pos")[i % 2]) for i in range(number)
    ]


def source_of(path: Path, **changes: object) -> Source:
    """The file as a source declared in the usual way, with changes."""
    import msgspec

    return Source(path, msgspec.convert({**DECLARATION, **changes}, Dataset), "reviews")


def read(path: Path, **changes: object) -> pl.DataFrame:
    """The texts and codes of a file that is declared in the usual way, with changes."""
    batches = list(read_batches(source_of(path, **changes)))
    return pl.concat(batches).select("text", "label").drop_nulls()


def fault(path: Path, **changes: object) -> str:
    """What is said when it cannot be read."""
    with pytest.raises(DataError) as error:
        list(read_batches(source_of(path, **changes)))
    return str(error.value)


def write_as(ending: str, frame: pl.DataFrame, folder: Path) -> Path:
    """Write `frame` into a file with that ending, in the format that the ending means."""
    path = folder / f"file{ending}"
    plain = folder / ("plain" + ending.removesuffix(".gz"))
    if ending.startswith(".parquet"):
        frame.write_parquet(plain)
    elif ending.startswith((".jsonl", ".ndjson")):
        frame.write_ndjson(plain)
    else:
        frame.write_csv(plain, separator="\t" if ending.startswith(".tsv") else ",")
    content = plain.read_bytes()
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return path
