"""The training texts of the base model: the declared data sets and a corpus of many sources.

`OLENS_REAL_DATA` names the folder that holds both::

    raw/                      the files of the declared data sets
    corpus/corpus.parquet     text, label, rating, domain, source and licence of many sources' texts
    corpus/lexicons/          the opinion lexicons of AFINN and of Bing Liu
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from pipelines.config.params import Params
from pipelines.config.settings import Settings
from pipelines.datasets.loading import load_slices, load_split
from pipelines.datasets.preparing import preprocess
from pipelines.errors import DataError
from pipelines.files import temporary_folder
from pipelines.labels import BINARY

REAL_DATA: Final = "OLENS_REAL_DATA"
CORPUS: Final = Path("corpus", "corpus.parquet")
AFINN: Final = Path("corpus", "lexicons", "afinn", "AFINN-en-165.txt")
BING_LIU: Final = {
    1.0: Path("corpus", "lexicons", "bing_liu", "positive-words.txt"),
    -1.0: Path("corpus", "lexicons", "bing_liu", "negative-words.txt"),
}

_DECLARED: Final = {
    "imdb": ("films", "Large Movie Review Dataset (Maas et al. 2011), for research"),
    "amazon": ("grocery", "Amazon Fine Food Reviews (McAuley and Leskovec 2013), CC0 on Kaggle"),
    "airline": ("airlines", "Twitter US Airline Sentiment (CrowdFlower), CC BY-NC-SA 4.0"),
}
"""Domain and terms of the data sets that this project declares."""

NEUTRAL: Final = 2
"""The label of neutral texts."""

COMPARED: Final = 2_000
"""A model that has not seen a domain is tested on so many texts of each class at most."""

LEAST_NEUTRAL: Final = 50
"""A source with fewer neutral texts says nothing of them."""

_COLUMNS: Final = ("text", "label", "source", "domain", "licence")


class Opinions(msgspec.Struct, frozen=True):
    """Labelled texts to learn from, and some to test on.

    Attributes
    ----------
    texts : pl.DataFrame
        `text`, `label` (0 negative, 1 positive), `source`, `domain` and `licence`.
    slices : dict of str to pl.DataFrame
        Test texts of the declared data sets, none of them among `texts`, by slice; `test` is all.
    unseen : dict of str to pl.DataFrame
        What a model is tested on that was fitted without their `domain`: texts of each domain of
        the corpus, and the test texts of each declared data set. `text`, `label` and `domain`.
    three : pl.DataFrame
        All texts of the sources of the corpus that have neutral ones, as `texts` with the label 2
        for neutral, and `starred`: whether a label comes from a number of stars or points.
    """

    texts: pl.DataFrame
    slices: dict[str, pl.DataFrame]
    unseen: dict[str, pl.DataFrame]
    three: pl.DataFrame


def real_data() -> Path:
    """The folder that `OLENS_REAL_DATA` names.

    Raises
    ------
    DataError
        If it names none, or one without the corpus.
    """
    named = os.environ.get(REAL_DATA)
    if not named:
        raise DataError(
            f"The base model is made from real data: set {REAL_DATA} to the folder that holds "
            f"raw/, {CORPUS} and {CORPUS.parent}/lexicons/"
        )
    folder = Path(named).resolve()
    for path in (CORPUS, AFINN, *BING_LIU.values()):
        if not (folder / path).is_file():
            raise DataError(f"{REAL_DATA} is {folder}, and there is no {path} in it")
    return folder


def load_opinions(
    folder: Path, settings: Settings, params: Params, noisy: Sequence[str], without: Sequence[str]
) -> Opinions:
    """Read the declared data sets and the corpus below `folder`.

    Parameters
    ----------
    folder : Path
        See `real_data`.
    settings, params
        Declare the data sets; their files are read from ``folder / "raw"``.
    noisy : sequence of str
        Sources of the corpus whose labels are too noisy to learn from.
    without : sequence of str
        Sources and domains to leave out.

    Raises
    ------
    DataError
        If a file is missing or not as declared, or `without` names something that is not there.
    """
    with temporary_folder("olens-base-") as temporary:
        declared, slices = _declared(folder, settings, params, temporary)
    whole = _corpus(folder / CORPUS)
    corpus = whole.filter(pl.col("label") < NEUTRAL).select(_COLUMNS)
    known = {*declared["source"], *declared["domain"], *corpus["source"], *corpus["domain"]}
    if unknown := sorted(set(without) - known):
        raise DataError(
            f"There is no source or domain {unknown[0]!r}; there are: {', '.join(sorted(known))}"
        )
    left_out = [*noisy, *without]
    usable = (
        ~pl.col("source").is_in(left_out)
        & ~pl.col("domain").is_in(left_out)
        & (pl.col("label").n_unique().over("source") == 2)
    )
    declared, corpus = declared.filter(usable), corpus.filter(usable)
    neutral = (pl.col("label") == NEUTRAL).sum().over("source")
    three = whole.filter(
        ~pl.col("source").is_in(left_out),
        ~pl.col("domain").is_in(left_out),
        neutral >= LEAST_NEUTRAL,
    )
    return Opinions(
        texts=pl.concat([declared, corpus]).sort("domain", "source", maintain_order=True),
        slices=slices,
        unseen=_by_domain(corpus) | _by_dataset(slices["test"], declared),
        three=three.sort("domain", "source", maintain_order=True),
    )


def _declared(
    folder: Path, settings: Settings, params: Params, temporary: Path
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Texts of the declared data sets to learn from, and slices of their test splits."""
    paths = msgspec.structs.replace(
        settings.paths,
        raw=folder / "raw",
        prepared=temporary / "prepared",
        slices=temporary / "slices",
        reports=temporary / "reports",
    )
    settings = msgspec.structs.replace(settings, paths=paths)
    if params.classes() != BINARY:
        raise DataError("conf/params.yaml: the base model has the classes negative and positive")
    preprocess(settings, params)
    parts = []
    for name in params.datasets:
        domain, licence = _DECLARED.get(name, (name, "not known"))
        texts = pl.concat([load_split(settings, params, part, [name]) for part in ("train", "val")])
        parts.append(
            texts.select(
                "text",
                "label",
                source=pl.lit(name),
                domain=pl.lit(domain),
                licence=pl.lit(licence),
            )
        )
    slices = {"test": load_split(settings, params, "test"), **load_slices(settings, params)}
    return pl.concat(parts), slices


def _corpus(path: Path) -> pl.DataFrame:
    labels = pl.DataFrame(
        {"label": ["negative", "positive", "neutral"], "value": [0, 1, NEUTRAL]},
        schema_overrides={"value": pl.Int8},
    )
    try:
        corpus = pl.read_parquet(path, columns=[*_COLUMNS, "rating"])
        return (
            corpus.join(labels, on="label", how="inner", maintain_order="left")
            .with_columns(label=pl.col("value"), starred=pl.col("rating").is_not_null())
            .select(*_COLUMNS, "starred")
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _by_domain(corpus: pl.DataFrame) -> dict[str, pl.DataFrame]:
    ordered = corpus.sort("domain", "source", maintain_order=True)
    return {
        texts["domain"][0]: _spaced(texts)
        for texts in ordered.partition_by("domain", maintain_order=True)
    }


def _by_dataset(test: pl.DataFrame, declared: pl.DataFrame) -> dict[str, pl.DataFrame]:
    names = declared.select("source", "domain").unique(maintain_order=True)
    return {
        name: _spaced(test.filter(pl.col("dataset") == name).with_columns(domain=pl.lit(domain)))
        for name, domain in names.iter_rows()
    }


def _spaced(texts: pl.DataFrame) -> pl.DataFrame:
    """At most `COMPARED` evenly spaced texts of each class."""
    classes = [texts.filter(pl.col("label") == label) for label in (0, 1)]
    chosen = [some.gather_every(max(1, -(-some.height // COMPARED))) for some in classes]
    return pl.concat(chosen).select("text", "label", "domain")
