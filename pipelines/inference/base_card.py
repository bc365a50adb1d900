"""The base model's card: what it is, what it learnt from, how good it is, and where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from pipelines.training.base_model import Recipe
from pipelines.training.evaluation import Metrics
from pipelines.training.model_card import (
    LIMITS,
    DataFacts,
    metrics_table,
    table,
    training_data,
)

EVERYDAY: Final = "everyday"


class BaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the card states."""

    sha256: str
    size: int
    kept: int
    """Number of weights."""
    recipe: Recipe
    data: list[DataFacts]
    metrics: dict[str, Metrics]
    """By slice; those of the everyday texts have names that begin with `EVERYDAY`."""
    left_out: dict[str, Metrics]
    """By data set, of models that were fitted without it."""
    lexicon: dict[str, Metrics]
    """VADER's, by data set, and on the everyday texts."""


def base_card(facts: BaseFacts) -> str:
    """The card as Markdown."""
    sections = [
        "# The base model",
        _INTRODUCTION,
        _what_it_is(facts),
        training_data(facts.data),
        _quality(facts),
        _elsewhere(facts),
        _everyday(facts),
        _CHOICE,
        f"## Limits\n\n{LIMITS}",
        _LICENCE,
    ]
    return "\n\n".join(sections) + "\n"


def _what_it_is(facts: BaseFacts) -> str:
    recipe, vectorizer = facts.recipe, facts.recipe.vectorizer
    rows = [
        ("Task", "binary sentiment of English texts: NEGATIVE or POSITIVE"),
        ("Kind", "support vector machine on naive Bayes log-count ratios, one weight a bucket"),
        ("Features", f"presence of word n-grams up to {vectorizer.ngram_max}, hashed"),
        ("Buckets", f"2^{vectorizer.bits}; {facts.kept:,} have a weight, of eight bits"),
        ("Size", f"{facts.size:,} bytes"),
        ("SHA-256", f"`{facts.sha256}`"),
        ("Parameters", ", ".join(f"`{key}={value}`" for key, value in _numbers(recipe).items())),
        ("Threshold", "POSITIVE from a probability of 0.5"),
    ]
    return "## What it is\n\n" + table(("Property", "Value"), rows)


def _numbers(recipe: Recipe) -> dict[str, float]:
    values = msgspec.structs.asdict(recipe)
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def _quality(facts: BaseFacts) -> str:
    own = {k: v for k, v in facts.metrics.items() if not k.startswith(EVERYDAY)}
    return (
        "## On texts like those it learnt from\n\n"
        "The test splits of its data sets (`test` is all of them), and slices of them:\n\n"
        + metrics_table("Slice", own)
    )


def _elsewhere(facts: BaseFacts) -> str:
    rows = [
        (
            name,
            f"{metrics.n:,}",
            f"{metrics.positives / metrics.n:.0%}",
            f"{metrics.accuracy:.1%}",
            f"{facts.lexicon[name].accuracy:.1%}",
            _area(metrics),
            _area(facts.lexicon[name]),
        )
        for name, metrics in facts.left_out.items()
    ]
    header = ("Left out", "Texts", "Positive", "Accuracy", "VADER", "ROC AUC", "VADER")
    return (
        "## On texts from elsewhere\n\n"
        "Each data set was left out in turn: the same recipe was fitted on the others alone, and "
        "tested on the test split of the one it had not seen. VADER is the lexicon with its rules, "
        "on the same texts. The model in this folder has seen all data sets, so it knows more than "
        "any of these. Where nearly all texts are of one class, the ROC AUC says more than the "
        "accuracy.\n\n" + table(header, rows)
    )


def _area(metrics: Metrics) -> str:
    return "not defined" if metrics.roc_auc is None else f"{metrics.roc_auc:.3f}"


def _everyday(facts: BaseFacts) -> str:
    own = {k: v for k, v in facts.metrics.items() if k.startswith(EVERYDAY)}
    last_look = f"{EVERYDAY}: last look"
    return (
        "## On everyday texts of one sentence\n\n"
        "240 opinions on products, restaurants, films and life, written by hand for this purpose "
        "(`pipelines/training/everyday.csv`), half of them positive; nothing is trained on them. "
        "One half was looked at while parameters were chosen; the other, `last look`, was not. "
        f"VADER is right about {facts.lexicon[EVERYDAY].accuracy:.1%} of all, and "
        f"{facts.lexicon[last_look].accuracy:.1%} of those for the last look.\n\n"
        + metrics_table("Everyday texts", own)
    )


def summary(metrics: Mapping[str, Metrics]) -> str:
    """One line for people: accuracy on the test splits and on everyday texts."""
    return (
        f"{metrics['test'].accuracy:.1%} accuracy on test texts, "
        f"{metrics[EVERYDAY].accuracy:.1%} on everyday texts"
    )


_INTRODUCTION: Final = """\
It comes with OpinionLens and answers until a model of one's own is active; commands call it
`base`. It is a first opinion on English texts of any kind. A model that is trained on texts like
yours is better on them: `olens tune`.

This folder is made by `make base-model`, which needs the real data sets. It holds weights only, no
text of the data sets and no word of the lexicon."""

_CHOICE: Final = """\
## How it was chosen

Parameters were chosen by what they gave on the data set left out (its training and validation
texts), on validation texts, and on the half of the everyday texts that is for choosing. The test
splits and the other half were looked at once, for the tables above. In the order in which it was
tried, with 12,000 training texts of IMDB (ROC AUC is the mean of the three data sets left out;
accuracy on everyday texts is that of the half for choosing):

| What | ROC AUC, left out | Everyday, accuracy | Everyday, ROC AUC |
| --- | --- | --- | --- |
| all training texts as they are, C 16, all of IMDB | 0.870 | 73.3% | 0.840 |
| classes balanced inside each data set, all of IMDB | 0.870 | 72.5% | 0.834 |
| and the words of VADER's lexicon, weight 0.3, all of IMDB | 0.876 | 73.3% | 0.844 |
| weight 1, all of IMDB | 0.876 | 74.2% | 0.848 |
| weight 3 | 0.871 | 74.2% | 0.840 |
| weight 10 | 0.872 | 64.2% | 0.839 |
| "not", "very" ... before each word of the lexicon, heavy | 0.823 | 76.7% | 0.847 |
| all sentences of reviews with the review's label | 0.860 | 76.7% | 0.876 |
| only sentences with which the lexicon agrees | 0.884 | 78.3% | 0.892 |
| and those of which it says little, lighter | 0.885 | 81.7% | 0.898 |
| C 4 instead of 16 | 0.890 | 79.2% | 0.899 |
| C 0.3 | 0.899 | 76.7% | 0.866 |
| smoothing 5, C 2 | 0.899 | 79.2% | 0.892 |
| twice the sentences, C 1.5 | 0.900 | 80.0% | 0.907 |
| all of IMDB, smoothing 5, C 2 | 0.903 | 82.5% | 0.915 |

With all of IMDB and the sentences of 20,000 of its texts, accuracy on everyday texts for choosing
and mean accuracy on validation texts: C 1 80.0% and 90.7%, C 2 82.5% and 91.1%, **C 4 83.3% and
91.4%**, C 8 83.3% and 91.1%. None of these was better than that by more than a text or two: lighter
reviews of IMDB, heavier sentences, heavier sentences with "not" or "but", unigrams heavier than
trigrams, a heavier lexicon, the words of OpinionLens's own lexicon, a larger `min_df`, and a second
round in which the first model decides which sentences to believe.

Then the definition of words changed. With `n't` read as `not`, and every word between a negator
and the next mark counted once more as a negated word, the mean ROC AUC left out, on validation
texts, rose from 0.903 to 0.907, and on everyday texts for choosing accuracy from 82.5% to 84.2%
and ROC AUC from 0.922 to 0.938. Twice as many buckets, 2^23, gave 0.909, 84.2% and 0.941.

Last, words stopped to count as themselves where they are negated. The mean ROC AUC left out rose by
0.001, mean accuracy on validation texts by 0.1 points; on everyday texts for choosing accuracy rose
from 84.2% to 87.5%, and ROC AUC from 0.941 to 0.962. With half of their weight off, 0.5 instead of
1: 0.002, 0.15 points, 85.0% and 0.955; with 1.5: -0.003, -0.5 points, 87.5% and 0.962. It did not
help to fit with this rule in place, to have it for the lexicon's words alone, or to add rows of
the lexicon's words after "not" with the opposite label. With more negators ("nothing", "hardly",
"dont" ...), and "only" and "just" ending what is negated, the mean ROC AUC left out rose by another
0.001; of the everyday texts for choosing one more was wrong (86.7%, 0.964)."""

_LICENCE: Final = """\
## Licence

OpinionLens is under the Apache License 2.0. The weights were learnt from the data sets above; check
their terms before you pass the model on. While it was trained, and only then, the words of VADER's
lexicon and its rules were used (package vaderSentiment, MIT License; C.J. Hutto and E. Gilbert,
2014: VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM)."""
