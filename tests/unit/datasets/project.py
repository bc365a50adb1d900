"""A small project in a temporary folder, for tests of data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from pipelines.datasets.reading import Source
from pipelines.params import Dataset, Params, load_params
from pipelines.settings import Settings, load_settings

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
        """Every prepared file, hidden ones too, with its bytes."""
        files = (path for path in self.prepared.rglob("*") if path.is_file())
        return {str(path.relative_to(self.prepared)): path.read_bytes() for path in files}


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
