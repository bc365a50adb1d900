"""Every built-in subject, fitted once for all tests."""

from __future__ import annotations

from functools import cache

from sklearn.pipeline import Pipeline

from pipelines.config.params import Vectorizer
from pipelines.training.fitting import fit_pipeline
from pipelines.training.subjects import Value, get_subject
from tests.unit.training.corpus import labelled

SUBJECTS = [
    "nbsvm",
    "logistic_regression",
    "linear_svc",
    "bagging_linear_svc",
    "complement_nb",
    "knn",
    "decision_tree",
    "random_forest",
]
LINEAR = SUBJECTS[:5]
VECTORIZER = Vectorizer(ngram_max=2, bits=14)
ROWS = 400

# What the defaults are made for is more data than here.
SMALLER: dict[str, dict[str, Value]] = {
    "knn": {"n_topics": 20},
    "random_forest": {"n_estimators": 10},
}


@cache
def fitted_pipeline(subject: str) -> Pipeline:
    found = get_subject(subject)
    parameters = found.parameters(SMALLER.get(subject, {}))
    return fit_pipeline(found, parameters, 42, VECTORIZER, labelled(ROWS, VECTORIZER))
