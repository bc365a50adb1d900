"""`olens base-model`: fit the base model, look at it from all sides, write it into the package."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.datasets.loading import load_report, load_slices, load_split
from pipelines.datasets.writing import replaced_folder
from pipelines.errors import DataError, TrainingError
from pipelines.inference.base import CARD_FILE, METRICS_FILE
from pipelines.inference.base_card import BaseFacts, base_card
from pipelines.inference.linear import LinearScorer, TableInfo
from pipelines.inference.packing import PACKED_FILE, pack, unpack
from pipelines.params import Params
from pipelines.settings import Settings
from pipelines.training.base_model import (
    OpinionLexicon,
    Recipe,
    Rows,
    WeightTable,
    Words,
    dataset_rows,
    fit_sigmoid,
    fit_table,
    lexicon_rows,
    sentence_rows,
    turn_negated,
)
from pipelines.training.evaluation import Metrics, evaluate, evaluate_slices
from pipelines.training.everyday import CHOOSING, LAST_LOOK, load_everyday
from pipelines.training.features import Labelled, load_counts
from pipelines.training.model_card import DataFacts

MAX_BYTES: Final = 4_000_000
"""Of the packed table."""
MAX_LOSS: Final = 0.001
"""Of validation accuracy, by packing."""

OnStage = Callable[[str], None]


class BaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was made.

    Attributes
    ----------
    sha256, size
        Of the packed table.
    metrics
        On the test splits, by slice (`test` is all of them), and on the everyday texts.
    left_out
        By data set: metrics on its test split of a model that was fitted without it.
    lexicon
        VADER's on the same test splits and the everyday texts.
    """

    folder: Path
    sha256: str
    size: int
    metrics: dict[str, Metrics]
    left_out: dict[str, Metrics]
    lexicon: dict[str, Metrics]


class _Material(msgspec.Struct, frozen=True):
    """What models are fitted on, by data set; and the rows and words of the lexicon."""

    rows: dict[str, list[Rows]]
    words: dict[str, Words]
    validation: dict[str, Labelled]
    lexicon: tuple[Rows, Words]
    recipe: Recipe
    seed: int

    def fit(self, datasets: Sequence[str]) -> LinearScorer:
        """A calibrated scorer that has seen these data sets only."""
        parts = [rows for name in datasets for rows in self.rows[name]]
        rows, words = self.lexicon
        fitted = fit_table([*parts, rows], self.recipe, self.seed)
        known = [*(self.words[name] for name in datasets), words]
        table = turn_negated(fitted, known, self.recipe)
        slope, offset = fit_sigmoid(table, [self.validation[name] for name in datasets])
        return _scorer(table, self.recipe, slope, offset)


def make_base(
    settings: Settings,
    params: Params,
    folder: Path,
    recipe: Recipe | None = None,
    on_stage: OnStage = lambda stage: None,
) -> BaseReport:
    """Make the base model from the declared data sets and write its files to `folder`.

    The same data, recipe and versions of the libraries give the same files. The folder is
    replaced as a whole.

    Parameters
    ----------
    settings, params
        Name the data sets, which have to be prepared.
    folder : Path
        For the packed table, the model card and the metrics.
    recipe : Recipe, optional
        How it is fitted.
    on_stage : callable, optional
        Told what is being done now.

    Raises
    ------
    DataError
        If the data are not prepared, or are the synthetic sample.
    MissingExtraError
        Without the package `vaderSentiment`.
    TrainingError
        If the table is too large, or packing it cost accuracy.
    """
    recipe = recipe or Recipe()
    lexicon = OpinionLexicon()
    names = list(params.datasets)
    data = [_facts(settings, name) for name in names]
    slices = {"test": load_split(settings, params, "test"), **load_slices(settings)}
    material = _read(settings, params, lexicon, recipe, on_stage)
    left_out = {}
    for name in names:
        on_stage(f"fitting without {name}")
        scorer = material.fit([other for other in names if other != name])
        left_out[name] = _evaluate(scorer, _of(slices["test"], name))
    on_stage("fitting on everything")
    scorer = material.fit(names)
    with replaced_folder(folder) as temporary:
        on_stage("packing")
        packed = _packed(scorer, temporary / PACKED_FILE, recipe, material.validation)
        on_stage("looking at the test splits")
        report = BaseReport(
            folder=folder,
            sha256=hashlib.sha256((temporary / PACKED_FILE).read_bytes()).hexdigest(),
            size=(temporary / PACKED_FILE).stat().st_size,
            metrics=_metrics(packed, slices),
            left_out=left_out,
            lexicon=_lexicon_metrics(lexicon, slices["test"], names),
        )
        _write(temporary, report, recipe, data, int(np.count_nonzero(packed.weights)))
    return report


def _facts(settings: Settings, name: str) -> DataFacts:
    facts = DataFacts.from_report(load_report(settings, name))
    if facts.synthetic:
        raise DataError(
            f"{name} is the synthetic sample; the base model is for real texts. Put the data set "
            f"into {settings.paths.raw} (olens data list), then run: olens preprocess"
        )
    return facts


def _read(
    settings: Settings,
    params: Params,
    lexicon: OpinionLexicon,
    recipe: Recipe,
    on_stage: OnStage,
) -> _Material:
    rows, words, validation = {}, {}, {}
    for name in params.datasets:
        on_stage(f"reading {name}")
        texts = load_split(settings, params, "train", [name])
        rows[name] = [dataset_rows(texts, recipe), *sentence_rows(texts, lexicon, recipe)]
        words[name] = Words.of(texts["text"], recipe)
        validation[name] = load_counts(settings, params, "val", [name], recipe.vectorizer)
    of_lexicon = lexicon_rows(lexicon, recipe), Words.of(list(lexicon.words), recipe)
    return _Material(rows, words, validation, of_lexicon, recipe, params.seed)


def _scorer(table: WeightTable, recipe: Recipe, slope: float, offset: float) -> LinearScorer:
    info = TableInfo(
        **msgspec.structs.asdict(recipe.vectorizer),
        terms="presence",
        bias=table.bias,
        slope=slope,
        offset=offset,
    )
    table.weights.flags.writeable = False  # as when it is mapped: one compiled version serves both
    return LinearScorer(info, table.weights)


def _packed(
    scorer: LinearScorer, path: Path, recipe: Recipe, validation: Mapping[str, Labelled]
) -> LinearScorer:
    """The scorer as it is after packing, once it is small enough and no worse."""
    pack(scorer, path, recipe.kept)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise TrainingError(
            f"The packed table has {size:,} bytes and may have {MAX_BYTES:,}: keep fewer weights "
            f"than {recipe.kept:,}"
        )
    packed = unpack(path)
    loss = _accuracy(scorer, validation) - _accuracy(packed, validation)
    if loss > MAX_LOSS:
        raise TrainingError(
            f"Packing costs {loss:.2%} of validation accuracy, more than {MAX_LOSS:.1%}: keep more "
            f"weights than {recipe.kept:,}"
        )
    return packed


def _accuracy(scorer: LinearScorer, validation: Mapping[str, Labelled]) -> float:
    """Accuracy on the validation texts of all data sets together."""
    table = WeightTable(scorer.weights, scorer.info.bias)
    right = [
        (scorer.probabilities(table.margins(data.counts)) > 0.5) == (data.labels == 1)
        for data in validation.values()
    ]
    return float(np.concatenate(right).mean())


def _metrics(scorer: LinearScorer, slices: Mapping[str, pl.DataFrame]) -> dict[str, Metrics]:
    everyday = load_everyday()
    frames = {
        **slices,
        "everyday": everyday,
        "everyday: last look": everyday.filter(pl.col("part") == LAST_LOOK),
        "everyday: choosing": everyday.filter(pl.col("part") == CHOOSING),
        **{
            f"everyday: {value}": everyday.filter(pl.col(column) == value)
            for column in ("topic", "kind")
            for value in everyday[column].unique(maintain_order=True)
        },
    }
    return evaluate_slices(frames, lambda texts: scorer.predict(texts)[1])


def _of(frame: pl.DataFrame, dataset: str) -> pl.DataFrame:
    return frame.filter(pl.col("dataset") == dataset)


def _lexicon_metrics(
    lexicon: OpinionLexicon, test: pl.DataFrame, datasets: Sequence[str]
) -> dict[str, Metrics]:
    everyday = load_everyday()
    frames = {
        **{name: _of(test, name) for name in datasets},
        "everyday": everyday,
        "everyday: last look": everyday.filter(pl.col("part") == LAST_LOOK),
    }
    return {
        name: evaluate(_labels(frame), (lexicon.scores(frame["text"].to_list()) + 1) / 2)
        for name, frame in frames.items()
    }


def _evaluate(scorer: LinearScorer, frame: pl.DataFrame) -> Metrics:
    return evaluate(_labels(frame), scorer.predict(frame["text"].to_list())[1])


def _labels(frame: pl.DataFrame) -> NDArray[np.int8]:
    return frame["label"].to_numpy()


def _write(
    folder: Path, report: BaseReport, recipe: Recipe, data: list[DataFacts], kept: int
) -> None:
    facts = BaseFacts(
        sha256=report.sha256,
        size=report.size,
        kept=kept,
        recipe=recipe,
        data=data,
        metrics=report.metrics,
        left_out=report.left_out,
        lexicon=report.lexicon,
    )
    (folder / CARD_FILE).write_text(base_card(facts), encoding="utf-8")
    left_out = {f"without {name}": metrics for name, metrics in report.left_out.items()}
    encoded = msgspec.json.encode({**report.metrics, **left_out})
    (folder / METRICS_FILE).write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
