"""Subjects: what can be trained. Each names an estimator, its parameters and its search space.

Another package adds one by an entry point in the group ``opinionlens.subjects`` that leads to a
`Subject`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final, cast

import msgspec

from pipelines.config.params import Vectorizer
from pipelines.errors import TrainingError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial
    from sklearn.base import BaseEstimator

    from pipelines.training.features import Labelled

Value = float | int | str | bool | None
Parameters = Mapping[str, Value]

_log = logging.getLogger(__name__)

ENTRY_POINT_GROUP: Final = "opinionlens.subjects"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be trained on n-gram counts.

    Attributes
    ----------
    name : str
        What ``--subject`` calls it.
    summary : str
        One line for people.
    defaults : mapping
        Every parameter with its default value.
    build : callable (parameters, seed) -> classifier
        An unfitted scikit-learn classifier whose input is the output of
        `pipelines.text.vectorizer.HashedNgramVectorizer`; it has a ``decision_function`` or
        ``predict_proba``. It need not be calibrated: `olens` does that.
    suggest : callable (trial) -> parameters
        The search space: parameters drawn from an Optuna trial; those left out keep the default.
    vectorizer : Vectorizer or None
        A feature space of its own; None for the one in ``conf/params.yaml``.
    trusted_types : tuple of str
        Types that a saved model of this subject contains, in full, such as
        ``sklearn.svm._classes.SVC``, besides those that every model may contain
        (`pipelines.training.persistence`): a model file that anybody may have made can contain
        them, so none of them should take much more time or memory than the file is long.
    choose : callable (parameters, seed, data) -> parameters, optional
        Chooses parameters that depend on the data before `olens train` fits.
    rivals : mapping of str to parameters
        Models that it is compared with, by name; a study tries their parameters first.
    several : Subject or None
        The subject as it is for more than two classes, if that differs.
    """

    name: str
    summary: str
    defaults: dict[str, Value]
    build: Callable[[Parameters, int], BaseEstimator]
    suggest: Callable[[BaseTrial], dict[str, Value]]
    vectorizer: Vectorizer | None = None
    trusted_types: tuple[str, ...] = ()
    choose: Callable[[Parameters, int, Labelled], dict[str, Value]] | None = None
    rivals: Mapping[str, Parameters] = {}
    several: Subject | None = None

    def for_classes(self, number: int) -> Subject:
        """The subject with the defaults and the search space for so many classes."""
        return self if number == 2 or self.several is None else self.several

    @property
    def slug(self) -> str:
        """The name without spaces."""
        return self.name.replace(" ", "-")

    def parameters(self, given: Parameters) -> dict[str, Value]:
        """The defaults, overridden by `given`.

        Raises
        ------
        TrainingError
            For a parameter that the subject does not have, or of another type.
        """
        for key, value in given.items():
            if key not in self.defaults:
                raise TrainingError(
                    f"The subject {self.name} has no parameter {key!r}; "
                    f"it has: {', '.join(self.defaults)}"
                )
            default = self.defaults[key]
            if default is not None and not _fits(value, default):
                raise TrainingError(
                    f"{key}={value!r}: {self.name} expects {type(default).__name__} here, "
                    f"for example {key}={default}"
                )
        return {**self.defaults, **given}


def _fits(value: Value, default: Value) -> bool:
    """Whether `value` is of the type of `default`; a whole number is a float too."""
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def get_subject(name: str) -> Subject:
    """The subject called `name`, built in or from another package.

    Raises
    ------
    TrainingError
        Listing the names there are, or saying why the package that brings it cannot be used.
    """
    subjects, broken = _discover()
    if name in subjects:
        return subjects[name]
    if name in broken:
        raise TrainingError(broken[name])
    raise TrainingError(
        f"There is no subject {name!r}; choose one of: {', '.join(sorted(subjects))}"
    )


def all_subjects() -> dict[str, Subject]:
    """All subjects by name: the eight of this package, then those of entry points that work."""
    return _discover()[0]


def broken_subjects() -> dict[str, str]:
    """Entry points that bring no subject, by name, and why."""
    return _discover()[1]


@cache
def _discover() -> tuple[dict[str, Subject], dict[str, str]]:
    subjects = {subject.name: subject for subject in _built_in()}
    broken = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            subject = _load(point, subjects)
        except TrainingError as error:
            broken[point.name] = str(error)
            _log.warning("Skipped a subject. %s", error)
        else:
            subjects[subject.name] = subject
    return subjects, broken


def _load(point: EntryPoint, known: Mapping[str, Subject]) -> Subject:
    start = f"The entry point {point.name} = {point.value}"
    try:
        subject = point.load()
    except (Exception, SystemExit) as error:  # whatever another package's import may raise
        reason = str(error).strip()[:300] or type(error).__name__
        raise TrainingError(f"{start} cannot be loaded: {reason}") from error
    if not isinstance(subject, Subject):
        raise TrainingError(
            f"{start} leads to {type(subject).__name__}, not to a "
            "pipelines.training.subjects.Subject"
        )
    if subject.name in known:
        raise TrainingError(
            f"{start} brings a subject called {subject.name!r}, which there is already"
        )
    return subject


def _built_in() -> list[Subject]:
    return [
        nbsvm(),
        Subject(
            name="logistic_regression",
            summary="logistic regression with L2 penalty",
            defaults={"C": 30.0, "scheme": "tfidf", "min_df": 2, "class_weight": "none"},
            build=_logistic_regression,
            suggest=lambda trial: {
                "C": trial.suggest_float("C", 1.0, 100.0, log=True),
                "scheme": trial.suggest_categorical("scheme", ["nb", "tfidf"]),
                "min_df": trial.suggest_int("min_df", 1, 3),
            },
        ),
        Subject(
            name="linear_svc",
            summary="support vector machine on tf-idf",
            defaults={"C": 1.0, "scheme": "tfidf", "min_df": 2, "class_weight": "none"},
            build=_linear_svc,
            suggest=lambda trial: {
                "C": trial.suggest_float("C", 0.1, 10.0, log=True),
                "scheme": trial.suggest_categorical("scheme", ["tfidf", "binary"]),
                "min_df": trial.suggest_int("min_df", 1, 3),
            },
        ),
        Subject(
            name="bagging_linear_svc",
            summary="mean of support vector machines on bootstrap samples",
            defaults={
                "C": 1.0,
                "n_estimators": 10,
                "max_samples": 0.8,
                "scheme": "tfidf",
                "min_df": 2,
                "class_weight": "none",
            },
            build=_bagging_linear_svc,
            suggest=lambda trial: {
                "C": trial.suggest_float("C", 0.1, 10.0, log=True),
                "n_estimators": trial.suggest_int("n_estimators", 5, 20),
                "max_samples": trial.suggest_float("max_samples", 0.5, 1.0),
            },
        ),
        Subject(
            name="complement_nb",
            summary="complement naive Bayes",
            defaults={"alpha": 0.3, "scheme": "tfidf", "min_df": 2},
            build=_complement_nb,
            suggest=lambda trial: {
                "alpha": trial.suggest_float("alpha", 0.01, 3.0, log=True),
                "scheme": trial.suggest_categorical("scheme", ["tfidf", "binary"]),
                "min_df": trial.suggest_int("min_df", 1, 3),
            },
        ),
        Subject(
            name="knn",
            summary="nearest neighbours among latent topics",
            vectorizer=_SMALL,
            defaults={"n_neighbors": 25, "n_topics": 100, "weights": "distance"},
            build=_knn,
            suggest=lambda trial: {
                "n_neighbors": trial.suggest_int("n_neighbors", 5, 100, log=True),
                "n_topics": trial.suggest_int("n_topics", 50, 200, step=50),
                "weights": trial.suggest_categorical("weights", ["uniform", "distance"]),
            },
        ),
        Subject(
            name="decision_tree",
            summary="one decision tree on the most informative n-grams",
            vectorizer=_SMALL,
            defaults={"max_depth": 40, "min_samples_leaf": 10, "n_features": 1000},
            build=_decision_tree,
            suggest=lambda trial: {
                "max_depth": trial.suggest_int("max_depth", 10, 80),
                "min_samples_leaf": trial.suggest_int("min_samples_leaf", 2, 50, log=True),
                "n_features": trial.suggest_int("n_features", 500, 1500, step=500),
            },
        ),
        Subject(
            name="random_forest",
            summary="random forest on the most informative n-grams",
            vectorizer=_SMALL,
            defaults={"n_estimators": 150, "min_samples_leaf": 2, "n_features": 1500},
            build=_random_forest,
            suggest=lambda trial: {
                "n_estimators": trial.suggest_int("n_estimators", 100, 250, step=50),
                "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 10, log=True),
                "n_features": trial.suggest_int("n_features", 1000, 2000, step=500),
            },
        ),
    ]


@cache
def nbsvm() -> Subject:
    """The subject that is the default, without a look at those of other packages."""

    def suggest(
        C: tuple[float, float], smoothing: tuple[float, float], trial: BaseTrial
    ) -> dict[str, Value]:
        return {
            "C": trial.suggest_float("C", *C, log=True),
            "smoothing": trial.suggest_float("smoothing", *smoothing, log=True),
            "min_df": trial.suggest_int("min_df", 1, 3),
        }

    two = Subject(
        name="nbsvm",
        summary="support vector machine on naive Bayes log-count ratios",
        defaults={
            "C": 12.0,
            "smoothing": 1.0,
            "min_df": 2,
            "min_ratio": 0.2,
            "damping": 0.1,
            "class_weight": "none",
        },
        build=_nbsvm,
        suggest=partial(suggest, (1.0, 64.0), (0.5, 3.0)),
    )
    # Best by validation on three data sets: `python -m tests.benchmarks losses`.
    several = msgspec.structs.replace(
        two,
        defaults={**two.defaults, "C": 0.3, "smoothing": 0.5, "damping": 0.0},
        suggest=partial(suggest, (0.05, 10.0), (0.1, 3.0)),
    )
    return msgspec.structs.replace(two, several=several)


# Trees and neighbours gain nothing from millions of n-grams and take hours over them.
_SMALL: Final = Vectorizer(ngram_max=2, bits=18)


# On held-out train texts of IMDB, calibrated, 0.3 is as accurate as 0.1 (92.0 %) in two thirds of
# the time.
_NBSVM_TOL: Final = 0.3


def _nbsvm(parameters: Parameters, seed: int) -> BaseEstimator:
    return _linear({**parameters, "scheme": "nb"}, seed, _NBSVM_TOL)


def _linear_svc(parameters: Parameters, seed: int) -> BaseEstimator:
    return _linear(parameters, seed)


def _linear(parameters: Parameters, seed: int, tol: float = 0.1) -> BaseEstimator:
    from pipelines.training.linear import LinearSVM

    classifier = LinearSVM(
        C=cast(float, parameters["C"]),
        class_weight=_class_weight(parameters),
        tol=tol,
        random_state=seed,
    )
    return _weighted(parameters, classifier)


def _bagging_linear_svc(parameters: Parameters, seed: int) -> BaseEstimator:
    from pipelines.training.linear import BaggedLinearSVM

    classifier = BaggedLinearSVM(
        n_estimators=cast(int, parameters["n_estimators"]),
        max_samples=cast(float, parameters["max_samples"]),
        C=cast(float, parameters["C"]),
        class_weight=_class_weight(parameters),
        random_state=seed,
    )
    return _weighted(parameters, classifier)


def _logistic_regression(parameters: Parameters, seed: int) -> BaseEstimator:
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(
        C=parameters["C"],
        solver="liblinear",
        dual=True,
        tol=0.01,
        max_iter=300,
        class_weight=_class_weight(parameters),
        random_state=seed,
    )
    return _weighted(parameters, classifier)


def _complement_nb(parameters: Parameters, seed: int) -> BaseEstimator:
    from pipelines.training.linear import LinearComplementNB

    return _weighted(parameters, LinearComplementNB(alpha=parameters["alpha"]))


def _knn(parameters: Parameters, seed: int) -> BaseEstimator:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import Normalizer

    return _reduced(
        20_000,
        TruncatedSVD(parameters["n_topics"], n_iter=3, random_state=seed),
        Normalizer(),
        KNeighborsClassifier(
            parameters["n_neighbors"], weights=parameters["weights"], algorithm="brute"
        ),
    )


def _decision_tree(parameters: Parameters, seed: int) -> BaseEstimator:
    from sklearn.tree import DecisionTreeClassifier

    return _reduced(
        parameters["n_features"],
        DecisionTreeClassifier(
            max_depth=parameters["max_depth"],
            min_samples_leaf=parameters["min_samples_leaf"],
            random_state=seed,
        ),
    )


def _random_forest(parameters: Parameters, seed: int) -> BaseEstimator:
    from sklearn.ensemble import RandomForestClassifier

    return _reduced(
        parameters["n_features"],
        RandomForestClassifier(
            parameters["n_estimators"],
            min_samples_leaf=parameters["min_samples_leaf"],
            max_samples=0.5,
            n_jobs=-1,
            random_state=seed,
        ),
    )


def _weighted(parameters: Parameters, classifier: BaseEstimator) -> BaseEstimator:
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import TermWeighting

    weighting = TermWeighting(
        scheme=cast(str, parameters["scheme"]),
        min_df=cast(int, parameters["min_df"]),
        smoothing=cast(float, parameters.get("smoothing", 1.0)),
        min_ratio=cast(float, parameters.get("min_ratio", 0.0)),
        damping=cast(float, parameters.get("damping", 0.0)),
    )
    return Pipeline([("weighting", weighting), ("classifier", classifier)])


def _reduced(n_features: Value, *steps: BaseEstimator) -> BaseEstimator:
    """Tf-idf of the most informative n-grams (chi-squared), then `steps`."""
    from sklearn.feature_selection import SelectKBest, chi2
    from sklearn.pipeline import make_pipeline

    from pipelines.text.vectorizer import TermWeighting

    return make_pipeline(TermWeighting("tfidf", min_df=5), SelectKBest(chi2, k=n_features), *steps)


def _class_weight(parameters: Parameters) -> str | None:
    given = parameters["class_weight"]
    if given not in {"none", "balanced"}:
        raise TrainingError(f"class_weight={given!r}: choose none or balanced")
    return None if given == "none" else str(given)
