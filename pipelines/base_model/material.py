"""What machines are fitted on: rows in parts, each of a domain that can be left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.base_model.lexicons import load_idioms
from pipelines.base_model.recipe import (
    NONE_NEGATED,
    Features,
    Recipe,
    Rows,
    fit_table,
    idiom_rows,
    lexicon_rows,
    negated_words,
    sentence_rows,
    text_rows,
)
from pipelines.inference.linear_scorer import LinearScorer, TableInfo

if TYPE_CHECKING:
    import polars as pl

    from pipelines.base_model.lexicons import Vader


class Material(msgspec.Struct, frozen=True):
    """Rows to fit on.

    Attributes
    ----------
    features : Features
    domains : list of str
        The domain of each part; empty for what is of none, as the lexicons.
    negated : int32 array, shape (n, 2)
        Words that negation takes back as far as little is learnt of it; see `negated_words`.
    """

    features: Features
    domains: list[str]
    recipe: Recipe
    seed: int
    negated: NDArray[np.int32] = NONE_NEGATED

    @classmethod
    def of(
        cls,
        parts: Sequence[Rows],
        domains: Sequence[str],
        recipe: Recipe,
        seed: int,
        negated: NDArray[np.int32] = NONE_NEGATED,
    ) -> Material:
        """Stack `parts`."""
        return cls(Features.of(parts, recipe), list(domains), recipe, seed, negated)

    def fit(self, without: Sequence[str] = ()) -> LinearScorer:
        """Fit on all domains but some; not calibrated."""
        rows = self.features.rows(
            [part for part, domain in enumerate(self.domains) if domain not in without]
        )
        weights, bias = fit_table(self.features, rows, self.recipe, self.seed, self.negated)
        info = TableInfo(
            ngram_max=self.recipe.vectorizer.ngram_max,
            bits=self.recipe.vectorizer.bits,
            char_max=self.recipe.vectorizer.char_max,
            terms="presence",
            bias=bias,
            slope=1.0,
            offset=0.0,
        )
        weights.flags.writeable = False  # as when it is mapped: one compiled version serves both
        return LinearScorer(info, weights)


def folds_of(sizes: Mapping[str, int], count: int) -> list[list[str]]:
    """Domains in groups of about the same number of texts; `sizes` are those of the domains."""
    folds: list[list[str]] = [[] for _ in range(min(count, len(sizes)))]
    for domain in sorted(sizes, key=lambda name: (-sizes[name], name)):
        min(folds, key=lambda fold: sum(sizes[name] for name in fold)).append(domain)
    return folds


def read_opinions(
    texts: pl.DataFrame,
    vader: Vader,
    words: dict[str, float],
    recipe: Recipe,
    seed: int,
    on_stage: Callable[[str], None],
) -> Material:
    """Which way texts lean: those of each source, sentences of them, lexicons and idioms."""
    parts: list[Rows] = []
    domains: list[str] = []
    by_source = texts.partition_by("source", maintain_order=True)
    for number, some in enumerate(by_source, start=1):
        on_stage(f"reading {some['source'][0]} ({number} of {len(by_source)})")
        parts += [text_rows(some, recipe), sentence_rows(some, vader, recipe)]
        domains += [some["domain"][0]] * 2
    idioms = idiom_rows(load_idioms(), recipe)
    parts += [lexicon_rows(words, recipe), idioms]
    # An emoticon after a negated word is not negated.
    negated = negated_words([word for word in words if word.isalpha()], recipe)
    # Of a word that an idiom negates, the idiom says what is learnt.
    taught = np.isin(negated[:, 1], idioms.counts.indices)
    return Material.of(parts, [*domains, "", ""], recipe, seed, negated[~taught])
