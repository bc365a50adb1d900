"""`olens vectorize`: prepared texts -> n-gram counts on disk, one folder for each data set."""

from __future__ import annotations

import os
import socket
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial, reduce
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.config.params import Params, Vectorizer
from pipelines.config.settings import Settings
from pipelines.datasets.found_language import in_language
from pipelines.datasets.loading import load_split
from pipelines.datasets.splitting import SplitName
from pipelines.errors import DataError
from pipelines.files import fingerprint, replaced_folder
from pipelines.labels import BINARY, Classes
from pipelines.text.row_blocks import Block, RowBlocks
from pipelines.text.tokens import TOKENS_VERSION
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.spreading import Workers, spread
from pipelines.training.stopping import Stop

SPLITS: Final[tuple[SplitName, ...]] = ("train", "val", "test")

_DESCRIPTION: Final = "vectorizer.json"

_TEXTS: Final = 8_192
"""Texts that are counted at a time."""
_BLOCK: Final = 1 << 22
"""Entries of a file of features, each of eight bytes in memory."""
_PROCESS: Final = 500 << 20
"""Bytes that training takes before it has read any features."""
_ENTRY: Final = 24
"""Bytes for each entry: read, weighed, and both again for a fold."""


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder of features was made with and from."""

    tokens: int
    """Version of the definition of tokens."""
    vectorizer: Vectorizer
    texts: dict[str, str]
    """SHA-256 of the Parquet file of each split."""
    rows: dict[str, int]
    entries: dict[str, int]
    blocks: dict[str, list[int]]
    """Rows of each file of a split."""


class Labelled(msgspec.Struct, frozen=True):
    """Counts and labels of one split.

    Attributes
    ----------
    counts : csr_matrix of float32, shape (n, 2 ** bits)
        `RowBlocks` if they do not fit into the memory of the settings, `SpreadRows` on a cluster.
    labels : int8 array, shape (n,)
        Numbers of `classes`.
    classes : Classes
    possible : bool array, shape (n, n_classes), or None
        Which classes the data set of a row has; None: all of them.
    """

    counts: sp.csr_matrix | RowBlocks
    labels: NDArray[np.int8]
    classes: Classes = BINARY
    possible: NDArray[np.bool_] | None = None

    def __getitem__(self, rows: NDArray[np.bool_]) -> Labelled:
        possible = None if self.possible is None else self.possible[rows]
        return Labelled(self.counts[rows], self.labels[rows], self.classes, possible)

    def within(self, share: float) -> Labelled:
        """The same with a share of the memory that blocks of rows may take."""
        counts = self.counts
        if not isinstance(counts, RowBlocks):
            return self
        return msgspec.structs.replace(self, counts=counts.within(share))

    def followed_by(self, other: Labelled) -> Labelled:
        """These rows and those of `other`, which is of the same data sets."""
        possible = None
        if self.possible is not None and other.possible is not None:
            possible = np.concatenate([self.possible, other.possible])
        return Labelled(
            _stacked([self.counts, other.counts]),
            np.concatenate([self.labels, other.labels]),
            self.classes,
            possible,
        )


def vectorize(
    settings: Settings,
    params: Params,
    datasets: Sequence[str] | None = None,
    on_dataset: Callable[[str, Features], None] | None = None,
) -> dict[str, Features]:
    """Count the n-grams of every split of the data sets, by default all.

    `on_dataset` is called after each. A folder is replaced as a whole.
    """
    done = {}
    params = in_language(settings, params, datasets)
    with Stop() as stop:
        for name in params.datasets if datasets is None else datasets:
            texts = {split: _texts(settings, params, split, name) for split in SPLITS}
            done[name] = _write(settings, params, name, texts, stop)
            if on_dataset:
                on_dataset(name, done[name])
    return done


def load_counts(
    settings: Settings,
    params: Params,
    split: SplitName,
    datasets: Sequence[str],
    vectorizer: Vectorizer,
    workers: Workers | None = None,
) -> Labelled:
    """Counts and labels of one split of several data sets, one below the other.

    What `olens vectorize` left on disk is used where it fits; the rest is counted now. What does
    not fit into the memory of the settings is counted into files, and read from them in blocks.
    With `workers`, each of them counts its own part, and keeps it.
    """
    names = list(datasets)
    # Says what is wrong with them as a whole.
    labels = load_split(settings, params, split, names, ["label"])["label"].to_numpy()
    files = [_parquet(settings, name, split) for name in names]
    heights = [_height(file) for file in files]
    if workers is not None:
        make = partial(_count_rows, vectorizer, list(zip(files, heights, strict=True)))
        counts: sp.csr_matrix | RowBlocks = spread(workers, make, sum(heights), 2**vectorizer.bits)
    elif _fits(settings, names, vectorizer):
        counts = _stacked([_in_memory(settings, params, split, name, vectorizer) for name in names])
    else:
        wanted = msgspec.structs.replace(params, vectorizer=vectorizer)
        counts = _stacked([_in_blocks(settings, wanted, split, name) for name in names])
    classes = params.class_names(names)
    which = np.array([np.isin(classes, params.datasets[name].classes) for name in names])
    possible = None if which.all() else np.repeat(which, heights, axis=0)
    return Labelled(counts, labels, params.classes(names), possible)


def _height(texts: Path) -> int:
    """How many rows a Parquet file has."""
    from pyarrow.parquet import read_metadata

    return int(read_metadata(texts).num_rows)


def _count_rows(
    vectorizer: Vectorizer, files: Sequence[tuple[Path, int]], begin: int, end: int
) -> sp.csr_matrix:
    """Counts of some rows of files, each with its number of rows, one below the other.

    Raises
    ------
    DataError
        If the files are not the same here, on a machine of a cluster.
    """
    parts = []
    for file, height in files:
        first, last = max(begin, 0), min(end, height)
        begin, end = begin - height, end - height
        if first >= last:
            continue
        try:
            if _height(file) != height:
                raise OSError("it is another file there")
            texts = pl.scan_parquet(file, glob=False).select("text").slice(first, last - first)
            column = texts.collect()["text"]
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"{file} cannot be read on {socket.gethostname()}, a machine of the cluster: "
                f"{error}. All machines must reach paths.prepared of the settings under this path"
            ) from None
        parts += [
            _count(vectorizer, column.slice(start, _TEXTS))
            for start in range(0, len(column), _TEXTS)
        ]
    return _stacked(parts)


def _stacked(parts: Sequence[sp.csr_matrix | RowBlocks]) -> sp.csr_matrix | RowBlocks:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], RowBlocks):
        return reduce(RowBlocks.followed_by, parts)
    return sp.vstack(parts, format="csr")


def _fits(settings: Settings, names: Sequence[str], vectorizer: Vectorizer) -> bool:
    """Whether all that training needs of some data sets fits into the memory of the settings."""
    entries = 0
    for name in names:
        features = _described(settings, name, vectorizer)
        for split in ("train", "val"):
            entries += (
                features.entries[split]
                if features
                else _most_entries(_parquet(settings, name, split), vectorizer)
            )
    return _PROCESS + _ENTRY * entries <= settings.training.memory_bytes


def _most_entries(texts: Path, vectorizer: Vectorizer) -> int:
    """About how many n-grams a file of texts has, without reading it: a word has five letters."""
    from pyarrow.parquet import read_metadata

    found = read_metadata(texts)
    groups = [found.row_group(number) for number in range(found.num_row_groups)]
    size: int = sum(
        group.column(number).total_uncompressed_size
        for group in groups
        for number in range(group.num_columns)
        if group.column(number).path_in_schema == "text"
    )
    return size * vectorizer.ngram_max // 5 + size * max(0, vectorizer.char_max - 2)


def _in_memory(
    settings: Settings, params: Params, split: SplitName, name: str, vectorizer: Vectorizer
) -> sp.csr_matrix:
    stored = _stored(settings, name, split, vectorizer)
    if stored is not None:
        with suppress(DataError):  # damaged: to be counted anew
            return stored.gathered()
    return _count(vectorizer, _texts(settings, params, split, name).collect()["text"])


def _in_blocks(settings: Settings, params: Params, split: SplitName, name: str) -> RowBlocks:
    stored = _stored(settings, name, split, params.vectorizer)
    if stored is None:
        vectorize(settings, params, [name])
        stored = _stored(settings, name, split, params.vectorizer)
    assert stored is not None
    return stored


def _texts(settings: Settings, params: Params, split: SplitName, name: str) -> pl.LazyFrame:
    if name not in params.datasets:
        raise DataError(
            f"There is no data set {name!r} in conf/params.yaml; "
            f"there are: {', '.join(params.datasets)}"
        )
    path = _parquet(settings, name, split)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Run: olens preprocess {name}")
    return pl.scan_parquet(path, glob=False).select("text")


def _parquet(settings: Settings, name: str, split: SplitName) -> Path:
    return settings.paths.prepared / name / f"{split}.parquet"


def _count(vectorizer: Vectorizer, texts: pl.Series) -> sp.csr_matrix:
    return HashedNgramVectorizer(**msgspec.structs.asdict(vectorizer)).transform(texts)


def _write(
    settings: Settings,
    params: Params,
    name: str,
    texts: dict[SplitName, pl.LazyFrame],
    stop: Stop,
) -> Features:
    rows: dict[str, int] = {}
    entries: dict[str, int] = {}
    blocks: dict[str, list[int]] = {}
    with replaced_folder(settings.paths.features / name) as folder:
        for split, frame in texts.items():
            counted = _counted(params.vectorizer, frame, stop)
            sizes = [_save(counts, folder, split, at) for at, counts in enumerate(counted)]
            blocks[split] = [n_rows for n_rows, _ in sizes]
            rows[split], entries[split] = sum(blocks[split]), sum(found for _, found in sizes)
        features = Features(
            tokens=TOKENS_VERSION,
            vectorizer=params.vectorizer,
            texts={split: fingerprint(_parquet(settings, name, split))[1] for split in texts},
            rows=rows,
            entries=entries,
            blocks=blocks,
        )
        encoded = msgspec.json.format(msgspec.json.encode(features), indent=2)
        (folder / _DESCRIPTION).write_bytes(encoded)
    return features


def _counted(vectorizer: Vectorizer, texts: pl.LazyFrame, stop: Stop) -> Iterator[sp.csr_matrix]:
    """The counts of texts, in blocks of `_BLOCK` entries or a little more."""
    height = texts.select(pl.len()).collect().item()
    parts: list[sp.csr_matrix] = []
    for start in range(0, max(1, height), _TEXTS):
        part = texts.slice(start, _TEXTS).collect()["text"]
        parts.append(stop.run(partial(_count, vectorizer, part)))
        if start + _TEXTS >= height or sum(part.nnz for part in parts) >= _BLOCK:
            yield _stacked(parts)
            parts.clear()


def _save(counts: sp.csr_matrix, folder: Path, split: SplitName, number: int) -> tuple[int, int]:
    """Write a block; returns its rows and entries."""
    # No text repeats an n-gram 65,535 times; 16 bits halve the file.
    counts.data = np.minimum(counts.data, 65_535).astype(np.uint16)
    sp.save_npz(_block(folder, split, number), counts, compressed=False)
    return counts.shape[0], counts.nnz


def _block(folder: Path, split: SplitName, number: int) -> Path:
    return folder / f"{split}-{number:04}.npz"


def _described(settings: Settings, name: str, vectorizer: Vectorizer) -> Features | None:
    """What the features on disk are, if they are those of this vectorizer."""
    try:
        encoded = (settings.paths.features / name / _DESCRIPTION).read_bytes()
        features = msgspec.json.decode(encoded, type=Features)
    except (OSError, msgspec.MsgspecError):
        return None
    is_same = (features.tokens, features.vectorizer) == (TOKENS_VERSION, vectorizer)
    return features if is_same else None


def _stored(
    settings: Settings, name: str, split: SplitName, vectorizer: Vectorizer
) -> RowBlocks | None:
    """The counts on disk, if they are those of this vectorizer and of the texts of today."""
    features = _described(settings, name, vectorizer)
    if not features:
        return None
    if features.texts.get(split) != fingerprint(_parquet(settings, name, split))[1]:
        return None
    folder = settings.paths.features / name
    shapes = [(n_rows, 2**vectorizer.bits) for n_rows in features.blocks[split]]
    files = [_block(folder, split, number) for number in range(len(shapes))]
    if not all(file.is_file() for file in files):
        return None
    blocks = [
        Block(shape[0], partial(_load, file, shape))
        for file, shape in zip(files, shapes, strict=True)
    ]
    memory = settings.training.memory_bytes - max(_PROCESS, _resident())
    return RowBlocks(blocks, 2**vectorizer.bits, settings.paths.features, max(0, memory))


def _resident() -> int:
    """Bytes of memory that this process takes; 0 where it is not Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _load(file: Path, shape: tuple[int, int]) -> sp.csr_matrix:
    try:
        counts = sp.load_npz(file)
        if counts.shape != shape:
            raise ValueError(f"its shape is {counts.shape}")
    except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile) as error:
        again = f"olens vectorize {file.parent.name}"
        raise DataError(f"{file} is damaged ({error}). Run: {again}") from None
    counts.data = counts.data.astype(np.float32)
    return sp.csr_matrix(counts)
