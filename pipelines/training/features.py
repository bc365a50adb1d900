"""`olens vectorize`: prepared texts -> n-gram counts on disk, one folder for each data set."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.datasets.loading import load_split
from pipelines.datasets.reports import fingerprint
from pipelines.datasets.splitting import SplitName
from pipelines.datasets.writing import replaced_folder
from pipelines.errors import DataError
from pipelines.params import Params, Vectorizer
from pipelines.settings import Settings
from pipelines.text.tokens import TOKENS_VERSION
from pipelines.text.vectorizer import HashedNgramVectorizer

SPLITS: Final[tuple[SplitName, ...]] = ("train", "val", "test")

_DESCRIPTION: Final = "vectorizer.json"


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder of features was made with and from."""

    tokens: int
    """Version of the definition of tokens."""
    vectorizer: Vectorizer
    texts: dict[str, str]
    """SHA-256 of the Parquet file of each split."""
    rows: dict[str, int]
    entries: dict[str, int]


class Labelled(msgspec.Struct, frozen=True):
    """Counts and labels of one split.

    Attributes
    ----------
    counts : csr_matrix of float32, shape (n, 2 ** bits)
    labels : int8 array, shape (n,)
        0 negative, 1 positive.
    """

    counts: sp.csr_matrix
    labels: NDArray[np.int8]


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
    for name in params.datasets if datasets is None else datasets:
        frames = {split: _texts(settings, params, split, name) for split in SPLITS}
        done[name] = _write(settings, params, name, frames)
        if on_dataset:
            on_dataset(name, done[name])
    return done


def load_counts(
    settings: Settings,
    params: Params,
    split: SplitName,
    datasets: Sequence[str],
    vectorizer: Vectorizer,
) -> Labelled:
    """Counts and labels of one split of several data sets, one below the other.

    What `olens vectorize` left on disk is used where it fits; the rest is counted now.
    """
    parts = []
    labels = []
    load_split(settings, params, split, datasets)  # says what is wrong with them as a whole
    for name in datasets:
        frame = _texts(settings, params, split, name)
        labels.append(frame["label"].to_numpy())
        stored = _stored(settings, name, split, vectorizer)
        parts.append(_count(vectorizer, frame["text"]) if stored is None else stored)
    counts = parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")
    return Labelled(counts, np.concatenate(labels))


def _texts(settings: Settings, params: Params, split: SplitName, name: str) -> pl.DataFrame:
    if name not in params.datasets:
        raise DataError(
            f"There is no data set {name!r} in conf/params.yaml; "
            f"there are: {', '.join(params.datasets)}"
        )
    path = _parquet(settings, name, split)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Run: olens preprocess {name}")
    return pl.read_parquet(path, columns=["text", "label"], glob=False)


def _parquet(settings: Settings, name: str, split: SplitName) -> Path:
    return settings.paths.prepared / name / f"{split}.parquet"


def _count(vectorizer: Vectorizer, texts: pl.Series) -> sp.csr_matrix:
    return HashedNgramVectorizer(**msgspec.structs.asdict(vectorizer)).transform(texts)


def _write(
    settings: Settings, params: Params, name: str, frames: dict[SplitName, pl.DataFrame]
) -> Features:
    entries: dict[str, int] = {}
    with replaced_folder(settings.paths.features / name) as folder:
        for split, frame in frames.items():
            counts = _count(params.vectorizer, frame["text"])
            entries[split] = counts.nnz
            # No text repeats an n-gram 65,535 times; 16 bits halve the file.
            counts.data = np.minimum(counts.data, 65_535).astype(np.uint16)
            sp.save_npz(folder / f"{split}.npz", counts, compressed=False)
        features = Features(
            tokens=TOKENS_VERSION,
            vectorizer=params.vectorizer,
            texts={split: fingerprint(_parquet(settings, name, split))[1] for split in frames},
            rows={split: frame.height for split, frame in frames.items()},
            entries=entries,
        )
        encoded = msgspec.json.format(msgspec.json.encode(features), indent=2)
        (folder / _DESCRIPTION).write_bytes(encoded)
    return features


def _stored(
    settings: Settings, name: str, split: SplitName, vectorizer: Vectorizer
) -> sp.csr_matrix | None:
    """The counts on disk, if they are those of this vectorizer and of the texts of today."""
    folder = settings.paths.features / name
    try:
        features = msgspec.json.decode((folder / _DESCRIPTION).read_bytes(), type=Features)
    except (OSError, msgspec.MsgspecError):
        return None
    if (features.tokens, features.vectorizer) != (TOKENS_VERSION, vectorizer):
        return None
    if features.texts.get(split) != fingerprint(_parquet(settings, name, split))[1]:
        return None
    try:
        counts = sp.load_npz(folder / f"{split}.npz")
    except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile):
        return None  # damaged: to be counted anew
    if counts.shape != (features.rows[split], 2**vectorizer.bits):
        return None
    counts.data = counts.data.astype(np.float32)
    return sp.csr_matrix(counts)
