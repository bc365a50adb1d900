"""A model whose arrays do not fit together is refused before compiled code reads them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.tree._tree import Tree

from pipelines.errors import CorruptModelError
from pipelines.training.soundness import check_arrays
from tests.unit.training.fitted import SUBJECTS, fitted_pipeline


@pytest.mark.parametrize("subject", SUBJECTS)
def test_accepts_every_fitted_subject(subject: str) -> None:
    check_arrays(fitted_pipeline(subject))


def weighting(pipeline: Pipeline):
    return pipeline.steps[-1][1].estimator_.steps[0][1]


def machine(pipeline: Pipeline):
    return pipeline.steps[-1][1].estimator_.steps[-1][1]


def _one_weight(pipeline: Pipeline) -> None:
    weighting(pipeline).weights_ = weighting(pipeline).weights_[:1]


def _negative_bucket(pipeline: Pipeline) -> None:
    weighting(pipeline).buckets_[0] = -1


def _bucket_too_far(pipeline: Pipeline) -> None:
    weighting(pipeline).buckets_[0] = 2**30


def _float_buckets(pipeline: Pipeline) -> None:
    weighting(pipeline).buckets_ = weighting(pipeline).buckets_.astype(np.float64)


def _nan_weight(pipeline: Pipeline) -> None:
    weighting(pipeline).weights_[0] = np.nan


def _short_coef(pipeline: Pipeline) -> None:
    machine(pipeline).coef_ = machine(pipeline).coef_[:, :1]


def _infinite_slope(pipeline: Pipeline) -> None:
    pipeline.steps[-1][1].slope_ = np.inf


def _huge_offset(pipeline: Pipeline) -> None:
    pipeline.steps[-1][1].offset_ = "no number"


def _many_buckets(pipeline: Pipeline) -> None:
    pipeline.steps[0][1].bits = 40


def _no_ngrams(pipeline: Pipeline) -> None:
    pipeline.steps[0][1].ngram_max = 0


def _long_ngrams(pipeline: Pipeline) -> None:
    pipeline.steps[0][1].ngram_max = 2_000


@pytest.mark.parametrize(
    "damage",
    [
        _one_weight,
        _negative_bucket,
        _bucket_too_far,
        _float_buckets,
        _nan_weight,
        _short_coef,
        _infinite_slope,
        _huge_offset,
        _many_buckets,
        _no_ngrams,
        _long_ngrams,
    ],
)
def test_refuses_damaged_linear_models(damage: Callable[[Pipeline], None]) -> None:
    pipeline = deepcopy(fitted_pipeline("nbsvm"))
    damage(pipeline)
    with pytest.raises(CorruptModelError, match="damaged"):
        check_arrays(pipeline)


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10_000), ("right_child", -7), ("feature", 2**31)]
)
def test_refuses_trees_that_point_nowhere(field: str, value: int) -> None:
    pipeline = deepcopy(fitted_pipeline("decision_tree"))
    tree = next(step.tree_ for step in _steps(pipeline) if hasattr(step, "tree_"))
    assert tree.node_count > 1
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    with pytest.raises(CorruptModelError, match="Tree is damaged"):
        check_arrays(pipeline)


@pytest.mark.parametrize("subject", ["decision_tree", "random_forest"])
def test_refuses_trees_for_more_features_than_there_are(subject: str) -> None:
    pipeline = deepcopy(fitted_pipeline(subject))
    owner = _steps(pipeline)[-1]
    for estimator in getattr(owner, "estimators_", [owner])[-1:]:
        state = estimator.tree_.__getstate__()
        state["nodes"]["feature"][0] = 2**29
        wider = Tree(2**30, estimator.tree_.n_classes, estimator.tree_.n_outputs)
        wider.__setstate__(state)
        estimator.tree_ = wider
        with pytest.raises(CorruptModelError, match=r"is not for .* features"):
            check_arrays(pipeline)
        estimator.n_features_in_ = 2**30
    if owner is not estimator:
        with pytest.raises(CorruptModelError, match="not every tree is for"):
            check_arrays(pipeline)


def test_looks_at_a_shared_part_once() -> None:
    pipeline = deepcopy(fitted_pipeline("nbsvm"))
    shared = [machine(pipeline)]
    for _ in range(60):
        shared = [shared, {"again": shared}]
    pipeline.steps[-1][1].shared = shared
    check_arrays(pipeline)
    machine(pipeline).coef_ = machine(pipeline).coef_[:, :1]
    with pytest.raises(CorruptModelError, match="damaged"):
        check_arrays(pipeline)


def test_refuses_sparse_matrices_that_point_nowhere() -> None:
    pipeline = deepcopy(fitted_pipeline("knn"))
    neighbours = next(step for step in _steps(pipeline) if hasattr(step, "_fit_X"))
    neighbours._fit_X = csr_matrix(neighbours._fit_X)
    check_arrays(pipeline)
    neighbours._fit_X.indices[0] = 2**30
    with pytest.raises(CorruptModelError, match="damaged"):
        check_arrays(pipeline)


def _steps(pipeline: Pipeline) -> list[object]:
    fitted = pipeline.steps[-1][1].estimator_
    return [step for _, step in fitted.steps] if isinstance(fitted, Pipeline) else [fitted]


TEXTS = ["good film", "bad film", "lovely day", "awful day"] * 5
VERDICTS = ["POSITIVE", "NEGATIVE"] * 10


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input", "filename", "input is 'filename'"),
        ("token_pattern", r"(\w+\s?)+$", "a pattern of words"),
        ("ngram_range", (1, 1_000_000), "n-grams of 1 to 1000000"),
        ("ngram_range", (1, 2, 3), "too many values"),
        ("analyzer", "words", "an unknown analyzer"),
        ("vocabulary_", {"good": 0, "bad": 1_000_000}, "vocabulary_ does not number its words"),
        ("vocabulary_", {"good": 0, "bad": "1"}, "not supported"),
    ],
)
def test_refuses_vectorizers_that_read_files_or_never_end(
    name: str, value: object, message: str
) -> None:
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression()).fit(TEXTS, VERDICTS)
    setattr(pipeline[0], name, value)
    with pytest.raises(CorruptModelError, match=f"CountVectorizer is damaged: .*{message}"):
        check_arrays(pipeline)


@pytest.mark.parametrize("name", ["n_jobs", "n_classes_"])
@pytest.mark.parametrize("value", [10**9, "many"])
def test_refuses_forests_with_impossible_numbers(name: str, value: object) -> None:
    forest = RandomForestClassifier(3, random_state=0)
    pipeline = make_pipeline(HashingVectorizer(n_features=16), forest).fit(TEXTS, VERDICTS)
    check_arrays(pipeline)
    setattr(forest, name, value)
    with pytest.raises(CorruptModelError, match="RandomForestClassifier is damaged"):
        check_arrays(pipeline)


@pytest.mark.parametrize("number", [-1, 2, 10**9])
def test_refuses_neighbours_of_a_class_that_does_not_exist(number: int) -> None:
    neighbours = KNeighborsClassifier(2, algorithm="brute")
    pipeline = make_pipeline(CountVectorizer(), TruncatedSVD(2), neighbours).fit(TEXTS, VERDICTS)
    check_arrays(pipeline)
    neighbours._y[0] = number
    with pytest.raises(CorruptModelError, match="KNeighborsClassifier is damaged"):
        check_arrays(pipeline)
