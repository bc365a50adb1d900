"""Whether the arrays of a loaded model fit together.

skops checks the types in a file, not the numbers. Compiled code (ours, SciPy's, scikit-learn's
trees) indexes arrays without looking, so a file with a bucket or a child that does not exist would
make it read outside of them. Parameters are checked, too, where a number or a pattern stands for
more work than the file and the text are long, or a text for the name of a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.ensemble._forest import BaseForest
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import BaseDecisionTree
from sklearn.tree._tree import Tree

from pipelines.errors import CorruptModelError
from pipelines.text.languages import LANGUAGES
from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting
from pipelines.training.calibration import SoftmaxCalibrated
from pipelines.training.one_vs_rest import OneVsRest

_MOST_BITS: Final = 26
_MOST_NGRAMS: Final = 16
_MOST_JOBS: Final = 64
_ANALYZERS: Final = ("word", "char", "char_wb")
_PATTERNS: Final = (r"(?u)\b\w\w+\b", r"(?u)\b\w+\b", r"\b\w\w+\b", r"\b\w+\b", r"\w+", r"\S+")
"""What a word is to scikit-learn. Other patterns could take as long as one likes."""
_FINITE: Final = (
    "coef_", "intercept_", "weights_", "slope_", "offset_", "feature_log_prob_", "a_", "b_",
    "class_log_prior_", "idf_", "scale_", "components_",
)  # fmt: skip


def check_arrays(model: BaseEstimator) -> None:
    """Check every array of a fitted model that unchecked code indexes, and that numbers are finite.

    Raises
    ------
    CorruptModelError
        Saying what does not fit.
    """
    for part in _parts(model):
        try:
            _check(part)
        except (AttributeError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise CorruptModelError(
                f"The model's {type(part).__name__} is damaged: {str(error)[:200]}"
            ) from error


def _parts(model: BaseEstimator) -> Iterator[Any]:
    """Everything in a model that is checked, once: estimators, trees, sparse matrices."""
    pending: list[Any] = [model]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, list | tuple):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, np.ndarray) and value.dtype == object:
            pending.extend(value.ravel())
        elif isinstance(value, Tree) or issparse(value):
            yield value
        elif isinstance(value, BaseEstimator) or type(value).__module__.startswith("sklearn."):
            yield value
            pending.extend(getattr(value, "__dict__", {}).values())


def _check(part: Any) -> None:
    if issparse(part):
        if hasattr(part, "check_format"):
            part.check_format(full_check=True)
        return
    if isinstance(part, Tree):
        _check_tree(part)
        return
    if isinstance(part, HashedNgramVectorizer):
        _require(isinstance(part.bits, int) and 1 <= part.bits <= _MOST_BITS, "too many buckets")
        known = isinstance(part.ngram_max, int) and 1 <= part.ngram_max <= _MOST_NGRAMS
        _require(known, f"n-grams of {part.ngram_max} words")
        _require(part.language in LANGUAGES, "an unknown language")
    if isinstance(part, TermWeighting):
        _check_weighting(part)
    if isinstance(part, CountVectorizer | HashingVectorizer):
        _check_words(part)
    fitted = vars(part) if hasattr(part, "__dict__") else {}
    jobs = fitted.get("n_jobs") or 1
    _require(isinstance(jobs, int) and abs(jobs) <= _MOST_JOBS, f"n_jobs is {jobs}")
    for name in _FINITE:
        if fitted.get(name) is not None:
            numbers = np.asarray(fitted[name], dtype=np.float64)
            _require(np.isfinite(numbers).all(), f"{name} is not finite")
    if isinstance(part, SoftmaxCalibrated | OneVsRest):
        _check_classes(part)
    if isinstance(part, BaseForest | BaseDecisionTree) and "n_classes_" in fitted:
        _require(part.n_classes_ == len(part.classes_), "classes_ are not n_classes_")
    if isinstance(part, KNeighborsClassifier) and "_y" in fitted:
        _check_neighbours(part)
    if "n_features_in_" in fitted:
        _check_width(part)
    if "coef_" in fitted and "n_features_in_" in fitted:
        # One row for each class, or a single one for two classes.
        rows = np.size(part.classes_) if np.size(part.classes_) > 2 else 1
        wanted = (rows, part.n_features_in_)
        _require(np.shape(part.coef_) == wanted, f"coef_ is not of shape {wanted}")


def _check_width(part: BaseEstimator) -> None:
    """An estimator and its trees are for as many features: only those of a forest are counted."""
    if isinstance(tree := getattr(part, "tree_", None), Tree):
        same = tree.n_features == part.n_features_in_
        _require(same, f"its tree is not for {part.n_features_in_} features")
    if isinstance(part, BaseForest):
        same = all(each.n_features_in_ == part.n_features_in_ for each in part.estimators_)
        _require(same, f"not every tree is for {part.n_features_in_} features")


def _check_words(part: CountVectorizer | HashingVectorizer) -> None:
    """Scikit-learn's vectorizers do work that their parameters bound, and read no files."""
    _require(part.input == "content", f"input is {part.input!r}")
    _require(part.analyzer in _ANALYZERS, "an unknown analyzer")
    _require(
        part.token_pattern in _PATTERNS, "a pattern of words that is not one of the usual ones"
    )
    low, high = part.ngram_range
    known = isinstance(low, int) and isinstance(high, int) and 1 <= low <= high <= _MOST_NGRAMS
    _require(known, f"n-grams of {low} to {high}")
    if isinstance(part, HashingVectorizer):
        few = isinstance(part.n_features, int) and 1 <= part.n_features <= 2**_MOST_BITS
        _require(few, "too many buckets")
    elif hasattr(part, "vocabulary_"):
        columns = sorted(part.vocabulary_.values())
        _require(columns == list(range(len(columns))), "vocabulary_ does not number its words")


def _check_neighbours(part: KNeighborsClassifier) -> None:
    """Every neighbour has a class that exists."""
    classes = part._y
    _require(classes.dtype.kind in "iu" and classes.ndim == 1, "_y is no list of classes")
    exists = classes.size and classes.min() >= 0 and classes.max() < part.classes_.size
    _require(exists, "a neighbour has a class that does not exist")
    _require(classes.size == part._fit_X.shape[0], "not every neighbour has a class")


def _check_classes(part: SoftmaxCalibrated | OneVsRest) -> None:
    if not hasattr(part, "classes_"):
        return  # a template that was never fitted
    count = part.classes_.size
    _require(part.classes_.shape == (count,), "classes_ is no list of classes")
    if isinstance(part, OneVsRest):
        _require(len(part.estimators_) == count, f"it has not {count} estimators")
        return
    fits = part.coef_.ndim == 2 and part.coef_.shape[0] == count
    _require(fits, f"coef_ has not {count} rows")
    _require(part.intercept_.shape == (count,), f"intercept_ is not of shape {(count,)}")


def _check_weighting(weighting: TermWeighting) -> None:
    if not hasattr(weighting, "buckets_"):
        return  # a template that was never fitted
    buckets, weights = weighting.buckets_, weighting.weights_
    _require(buckets.dtype == np.int32 and buckets.ndim == 1, "buckets_ is no list of buckets")
    _require(weights.dtype == np.float32, "weights_ is not of float32")
    _require(weights.shape == buckets.shape, "not every bucket has a weight")
    _require(np.unique(buckets).size == buckets.size, "a bucket stands twice")
    if buckets.size:
        exists = buckets.min() >= 0 and buckets.max() < weighting.n_features_in_
        _require(exists, "a bucket does not exist")


def _check_tree(tree: Tree) -> None:
    """Children come after their parent, and every split uses a feature that exists."""
    state = tree.__getstate__()
    nodes, count = state["nodes"], state["node_count"]
    _require(count == nodes.shape[0] == state["values"].shape[0] and count > 0, "nodes are missing")
    _require(np.isfinite(state["values"]).all(), "a value is not finite")
    left, right = nodes["left_child"], nodes["right_child"]
    leaf = left == -1
    _require((leaf == (right == -1)).all(), "a node has one child")
    own = np.arange(count)
    for child in (left[~leaf], right[~leaf]):
        _require((child > own[~leaf]).all() and (child < count).all(), "a child does not exist")
    feature = nodes["feature"][~leaf]
    exists = (feature >= 0).all() and (feature < tree.n_features).all()
    _require(exists, "a split uses a feature that does not exist")


def _require(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
