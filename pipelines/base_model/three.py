"""base3: negative, neutral or positive, made of two margins.

One margin is that of `base`: which way a text leans. The other says how neutral a text is. It is
that of a second machine of the same kind, fitted on rows of three kinds:

- the texts of every source that has neutral ones, neutral and other ones equally heavy inside each;
- single sentences of the texts of all sources: neutral where VADER finds no opinion at all, not
  neutral where it finds a strong one. They teach what facts and questions look like;
- the words of three opinion lexicons, as texts of one word that are not neutral.

The logits of the three classes are linear in the two margins, so that all is one table. How, is
learnt from texts of domains that both machines have not seen, where people gave the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import f1_score

from pipelines.base_model import opening
from pipelines.base_model.everyday_texts import CHOOSING, LAST_LOOK, load_everyday_of_three
from pipelines.base_model.lexicons import Vader
from pipelines.base_model.material import Material, folds_of, read_opinions
from pipelines.base_model.recipe import Recipe, Rows, class_weights, lexicon_rows, sentences_of
from pipelines.base_model.sources import NEUTRAL, Opinions
from pipelines.errors import DataError
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.inference.packing import PACKED_FILE, pack, unpack
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.calibration import fit_softmax
from pipelines.training.evaluation import Metrics, evaluate, evaluate_slices

CLASSES: Final = opening.CLASSES[opening.BASE3]
_NUMBERS: Final = np.array([0, 2, 1], dtype=np.int8)
"""The number in `CLASSES` of the labels 0, 1 and `NEUTRAL`."""

EVERYDAY: Final = "everyday"
COMPARED: Final = 600
"""Texts of each class of a domain, at most, that logits are learnt from and figures are about."""
_LEAST_COMPARED: Final = 100

VADER_NEUTRAL: Final = 0.05
"""VADER's score, in size, below which its authors call a text neutral."""


class NeutralRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """How the second machine is fitted.

    Attributes
    ----------
    starred : float
        Mean weight of a text whose label comes from a number of stars.
    plain : float
        Mean weight of a sentence.
    plain_texts : int
        Sentences come from at most this many texts of each source.
    opinion : float
        VADER's score, 0 to 1, from which on a sentence counts as holding an opinion.
    lexicon : float
        Mean weight of a word of the lexicons.
    stride : int
        What the machines say that have not seen a domain is learnt from machines that were fitted
        on every so manyth text of the others.
    kept : int
        Number of buckets that are kept at most, those with the largest weights.
    """

    starred: float = 0.5
    plain: float = 1.0
    plain_texts: int = 300
    opinion: float = 0.3
    lexicon: float = 1.0
    stride: int = 4
    kept: int = 1_200_000


class LeftOutOfThree(msgspec.Struct, frozen=True, kw_only=True):
    """How base3 does on a domain that it was fitted without, beside VADER."""

    domain: str
    starred: bool
    """Whether labels come from a number of stars: neutral texts are mixed ones then."""
    n: int
    """As many texts of each class."""
    f1_macro: float
    accuracy: float
    vader_f1_macro: float
    vader_accuracy: float


class ThreeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was made.

    Attributes
    ----------
    size
        Of the packed table, in bytes.
    metrics
        On the texts of domains left out (`test`), and of the final model on everyday texts.
    left_out
        By domain and kind of labels.
    vader
        VADER's accuracy and macro F1 on the everyday texts.
    """

    size: int
    metrics: dict[str, Metrics]
    left_out: list[LeftOutOfThree]
    vader: dict[str, tuple[float, float]]


class Logits(msgspec.Struct, frozen=True):
    """From the margins of both machines to the logits of `CLASSES`.

    Attributes
    ----------
    coef : float64 array, shape (3, 2)
    intercept : float64 array, shape (3,)
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]

    @classmethod
    def fit(cls, margins: NDArray[np.float64], numbers: NDArray[np.int8]) -> Logits:
        """Fit on margins, shape (n, 2), and numbers of classes, shape (n,)."""
        leaning, neutral = margins.T
        # One score for each class, so that the penalty is the same for negative and positive.
        coef, intercept = fit_softmax(np.column_stack([-leaning, neutral, leaning]), numbers, 3)
        return cls(np.column_stack([coef[:, 2] - coef[:, 0], coef[:, 1]]), intercept)

    def of(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logits, shape (n, 3)."""
        return margins @ self.coef.T + self.intercept

    def joined(self, leaning: LinearScorer, neutral: LinearScorer) -> LinearScorer:
        """Both machines as one table."""
        weights = np.empty((leaning.weights.size, 3), dtype=np.float32)
        for number, (first, second) in enumerate(self.coef.astype(np.float32)):
            weights[:, number] = first * leaning.weights + second * neutral.weights
        weights.flags.writeable = False  # as when it is mapped: one compiled version serves both
        biases = self.of(np.array([[leaning.info.bias, neutral.info.bias]]))[0]
        info = msgspec.structs.replace(
            leaning.info,
            bias=0.0,
            slope=1.0,
            offset=0.0,
            classes=CLASSES,
            biases=tuple(biases.tolist()),
        )
        return LinearScorer(info, weights)


def make_three(
    opinions: Opinions,
    base: LinearScorer,
    vader: Vader,
    words: dict[str, float],
    recipe: Recipe,
    own: NeutralRecipe,
    seed: int,
    folder: Path,
    on_stage: Callable[[str], None],
) -> ThreeReport:
    """Fit the second machine, join both, and write the packed table into `folder`.

    Parameters
    ----------
    opinions : Opinions
    base : LinearScorer
        The base model.
    vader, words
        VADER's rules, and the words of the lexicons.
    recipe : Recipe
        The base model's.
    own : NeutralRecipe
    seed : int
    folder : Path
    on_stage : callable
        Told what is being done now.
    """
    folds = folds_of(dict(opinions.texts["domain"].value_counts().iter_rows()), recipe.folds)
    leaning = _fit(_read_sample(opinions.texts, vader, words, recipe, own, seed, on_stage), folds)
    on_stage("reading neutral texts")
    neutral = _fit(_read(opinions, vader, words, recipe, own, seed), [*folds, []])
    unseen = _leave_out(opinions.three, leaning, neutral)
    if not unseen:
        raise DataError(
            f"No domain has {_LEAST_COMPARED} negative, neutral and positive texts to learn from"
        )
    logits = Logits.fit(*_stacked(_to_learn_from(unseen)))
    # The figures are about logits that have not seen the domain either.
    by_group = [Logits.fit(*_stacked(_to_learn_from(unseen, group.domain))) for group in unseen]
    found = [some.of(group.margins) for some, group in zip(by_group, unseen, strict=True)]
    labels = np.concatenate([group.numbers for group in unseen])
    pack(logits.joined(base, neutral[()]), folder / PACKED_FILE, own.kept)
    on_stage("comparing base3 with VADER")
    packed = unpack(folder / PACKED_FILE)
    metrics = evaluate_slices(_everyday(), lambda texts: packed.predict(texts)[1], CLASSES)
    metrics["test"] = evaluate(labels, softmax(np.concatenate(found), axis=1), CLASSES)
    return ThreeReport(
        size=(folder / PACKED_FILE).stat().st_size,
        metrics=metrics,
        left_out=[_compared(group, each, vader) for group, each in zip(unseen, found, strict=True)],
        vader={
            name: _scores(texts["label"].to_numpy(), _vader_numbers(vader, texts["text"].to_list()))
            for name, texts in _everyday().items()
        },
    )


class _Unseen(NamedTuple):
    """Texts of a domain, and their margins by machines that were fitted without it."""

    domain: str
    starred: bool
    texts: list[str]
    numbers: NDArray[np.int8]
    """Of the classes, shape (n,)."""
    margins: NDArray[np.float64]
    """Shape (n, 2)."""


def neutral_rows(texts: pl.DataFrame, recipe: Recipe, own: NeutralRecipe) -> Rows:
    """The texts of one source: its neutral ones, and up to twice as many of the others."""
    neutral = texts.filter(pl.col("label") == NEUTRAL)
    others = texts.filter(pl.col("label") != NEUTRAL)
    others = others.gather_every(max(1, others.height // (2 * neutral.height)))
    both = pl.concat([neutral, others])
    is_neutral = both["label"].to_numpy() == NEUTRAL
    weight = own.starred if texts["starred"][0] else 1.0
    return _rows(both["text"], is_neutral, weight, recipe)


def plain_rows(texts: pl.DataFrame, vader: Vader, recipe: Recipe, own: NeutralRecipe) -> Rows:
    """Sentences of the texts of one source: without an opinion by VADER, and with a strong one."""
    stride = max(1, -(-texts.height // own.plain_texts))
    chosen = texts["text"].gather_every(stride)
    sentences = pl.Series([part for text in chosen for part in sentences_of(text)], dtype=pl.String)
    strength = np.abs(vader.scores(sentences.to_list()))
    used = (strength == 0) | (strength >= own.opinion)
    return _rows(sentences.filter(pl.Series(used)), strength[used] == 0, own.plain, recipe)


def _read_sample(
    texts: pl.DataFrame,
    vader: Vader,
    words: dict[str, float],
    recipe: Recipe,
    own: NeutralRecipe,
    seed: int,
    on_stage: Callable[[str], None],
) -> Material:
    """Which way texts lean, by some of the texts that the base model is fitted on."""
    sample = texts.filter(pl.int_range(pl.len()).over("source") % own.stride == 0)
    few = msgspec.structs.replace(recipe, sentence_texts=own.plain_texts)
    return read_opinions(sample, vader, words, few, seed, on_stage)


def _fit(
    material: Material, without: Sequence[Sequence[str]]
) -> dict[tuple[str, ...], LinearScorer]:
    """Machines by the domains that they were fitted without."""
    # Two fit at a time: each needs memory for its features.
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(map(tuple, without), pool.map(material.fit, without), strict=True))


def _read(
    opinions: Opinions,
    vader: Vader,
    words: dict[str, float],
    recipe: Recipe,
    own: NeutralRecipe,
    seed: int,
) -> Material:
    """How neutral texts are."""
    parts: list[Rows] = []
    domains: list[str] = []
    for texts in opinions.three.partition_by("source", maintain_order=True):
        parts.append(neutral_rows(texts, recipe, own))
        domains.append(texts["domain"][0])
    for texts in opinions.texts.partition_by("source", maintain_order=True):
        parts.append(plain_rows(texts, vader, recipe, own))
        domains.append(texts["domain"][0])
    lexicon = lexicon_rows(words, recipe)
    none = np.zeros(lexicon.positive.size, dtype=np.bool_)
    parts.append(Rows(lexicon.counts, none, own.lexicon * lexicon.weights))
    return Material.of(parts, [*domains, ""], recipe, seed)


def _rows(texts: pl.Series, neutral: NDArray[np.bool_], weight: float, recipe: Recipe) -> Rows:
    vectorizer = HashedNgramVectorizer(**msgspec.structs.asdict(recipe.vectorizer))
    return Rows(vectorizer.transform(texts), neutral, weight * class_weights(neutral))


def _leave_out(
    three: pl.DataFrame,
    leaning: Mapping[tuple[str, ...], LinearScorer],
    neutral: Mapping[tuple[str, ...], LinearScorer],
) -> list[_Unseen]:
    """By domain and kind of labels, the same number of evenly spaced texts of each class."""
    unseen = []
    for group in three.sort("domain", "starred", maintain_order=True).partition_by(
        "domain", "starred", maintain_order=True
    ):
        classes = [group.filter(pl.col("label") == label) for label in range(3)]
        n = min(COMPARED, *(some.height for some in classes))
        domain = group["domain"][0]
        fold = next((fold for fold in leaning if domain in fold), None)
        if n < _LEAST_COMPARED or fold is None:
            continue
        texts = pl.concat([some.gather_every(some.height // n).head(n) for some in classes])
        margins = [machines[fold].margins(texts["text"]) for machines in (leaning, neutral)]
        unseen.append(
            _Unseen(
                domain,
                group["starred"][0],
                texts["text"].to_list(),
                _NUMBERS[texts["label"].to_numpy()],
                np.column_stack(margins),
            )
        )
    return unseen


def _to_learn_from(unseen: Sequence[_Unseen], without: str = "") -> Sequence[_Unseen]:
    """The groups to learn logits from, none of the domain `without` if there are others.

    Where people gave the labels, neutral is no opinion; three of five stars is a mixed one.
    """
    others = [group for group in unseen if group.domain != without] or unseen
    return [group for group in others if not group.starred] or others


def _stacked(groups: Sequence[_Unseen]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Margins and numbers of classes of all texts."""
    margins = [group.margins for group in groups]
    return np.concatenate(margins), np.concatenate([group.numbers for group in groups])


def _everyday() -> dict[str, pl.DataFrame]:
    """Opinions and neutral texts of everyday by name, with the numbers of classes as labels."""
    texts = load_everyday_of_three()
    texts = texts.with_columns(label=pl.Series(_NUMBERS[texts["label"].to_numpy()]))
    parts = {
        f"{EVERYDAY}: {part}": texts.filter(pl.col("part") == part)
        for part in (LAST_LOOK, CHOOSING)
    }
    return {EVERYDAY: texts, **parts}


def _compared(group: _Unseen, logits: NDArray[np.float64], vader: Vader) -> LeftOutOfThree:
    numbers = logits.argmax(axis=1).astype(np.int8)
    accuracy, f1_macro = _scores(group.numbers, numbers)
    vader_accuracy, vader_f1_macro = _scores(group.numbers, _vader_numbers(vader, group.texts))
    return LeftOutOfThree(
        domain=group.domain,
        starred=group.starred,
        n=len(group.texts),
        accuracy=accuracy,
        f1_macro=f1_macro,
        vader_accuracy=vader_accuracy,
        vader_f1_macro=vader_f1_macro,
    )


def _scores(labels: NDArray[np.int8], numbers: NDArray[np.int8]) -> tuple[float, float]:
    """Accuracy and macro F1."""
    accuracy = float((labels == numbers).mean())
    return accuracy, float(f1_score(labels, numbers, average="macro"))


def _vader_numbers(vader: Vader, texts: list[str]) -> NDArray[np.int8]:
    """The numbers of VADER's classes, by the thresholds of its authors."""
    scores = vader.scores(texts)
    return (1 + (scores >= VADER_NEUTRAL) - (scores <= -VADER_NEUTRAL)).astype(np.int8)
