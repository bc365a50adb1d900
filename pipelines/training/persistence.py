"""Fitted pipelines on disk: skops with an allow-list of our own, never pickle.

The module paths and names in `TRUSTED_TYPES` are part of the format of saved models: skops writes
them into the file. Moving or renaming one of these classes, or one of the attributes that end in
``_``, makes all models that are saved unreadable, so they stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.errors import CorruptModelError, InputError, UnsafeModelError
from pipelines.labels import BINARY, Classes, check_names
from pipelines.training.archive import check_archive
from pipelines.training.text_profile import write_profile

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from pipelines.config.params import Language
    from pipelines.training.evaluation import Metrics
    from pipelines.training.text_profile import TextProfile

MODEL_FILE: Final = "model.skops"
EXAMPLE: Final = ["A quiet, lovely film.", "The battery died after two days."]
"""Texts of our own: a logged model shows its input example to everybody."""
VERDICTS: Final = "verdicts"
"""The parameter of a logged model that asks for probabilities with the labels."""
_LOADER: Final = "pipelines.batch.pyfunc"
"""The module by which `mlflow.pyfunc` loads models; it is part of the format."""

TRUSTED_TYPES: Final = (
    "pipelines.text.vectorizer.HashedNgramVectorizer",
    "pipelines.text.vectorizer.TermWeighting",
    "pipelines.training.calibration.SigmoidCalibrated",
    "pipelines.training.calibration.SoftmaxCalibrated",
    "pipelines.training.linear.BaggedLinearSVM",
    "pipelines.training.linear.DualLogisticRegression",
    "pipelines.training.linear.LinearComplementNB",
    "pipelines.training.linear.LinearSVM",
    "pipelines.training.one_vs_rest.OneVsRest",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.tree._tree.Tree",
)
"""Types of a model beyond those that skops itself trusts."""

_KNOWN_TYPES: Final = frozenset(
    {
        *TRUSTED_TYPES,
        *(f"builtins.{kind.__name__}" for kind in (bool, dict, float, int, list, set, str, tuple)),
        *("numpy.bool", "numpy.float32", "numpy.float64", "numpy.int32", "numpy.int64"),
        "numpy.ndarray",
        "numpy.random.mtrand.RandomState",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn.calibration.CalibratedClassifierCV",
        "sklearn.decomposition._truncated_svd.TruncatedSVD",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.feature_extraction.text.CountVectorizer",
        "sklearn.feature_extraction.text.HashingVectorizer",
        "sklearn.feature_extraction.text.TfidfTransformer",
        "sklearn.feature_extraction.text.TfidfVectorizer",
        "sklearn.feature_selection._univariate_selection.SelectKBest",
        "sklearn.feature_selection._univariate_selection.SelectPercentile",
        "sklearn.isotonic.IsotonicRegression",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._ridge.RidgeClassifier",
        "sklearn.linear_model._stochastic_gradient.SGDClassifier",
        "sklearn.multiclass.OneVsRestClassifier",
        "sklearn.naive_bayes.BernoulliNB",
        "sklearn.naive_bayes.ComplementNB",
        "sklearn.naive_bayes.MultinomialNB",
        "sklearn.neighbors._classification.KNeighborsClassifier",
        "sklearn.pipeline.FeatureUnion",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.MaxAbsScaler",
        "sklearn.preprocessing._data.Normalizer",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._label.LabelBinarizer",
        "sklearn.svm._classes.LinearSVC",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.ExtraTreeClassifier",
    }
)
"""All types of a model that is loaded, whoever has logged it.

skops trusts every estimator of scikit-learn, and a few hundred bytes of some of them take gigabytes
or hours for a text, such as ``PolynomialFeatures(degree=8)``. What these do is bounded by the size
of their file and of the text; `pipelines.training.soundness` checks the parameters that matter.
"""


def trusted_types() -> list[str]:
    """The allow-list, with the types that installed subjects of other packages declare."""
    from pipelines.training.subjects import all_subjects

    return sorted({*TRUSTED_TYPES, *(t for s in all_subjects().values() for t in s.trusted_types)})


def load_pipeline(folder: Path) -> Pipeline:
    """Load the pipeline of the logged model in `folder`.

    The allow-list in the model's own ``MLmodel`` file is not consulted: a model cannot vouch for
    itself.

    Raises
    ------
    UnsafeModelError
        If the model is a pickle, or contains a type that is not on our list.
    CorruptModelError
        If the file cannot be read, or holds no fitted pipeline that gives two or more named
        classes a probability.
    """
    import skops.io

    from pipelines.training.soundness import check_arrays

    path = folder / MODEL_FILE
    if not path.is_file():
        pickles = [p.name for pattern in ("*.pkl", "*.pickle") for p in folder.glob(pattern)]
        if pickles:
            raise UnsafeModelError(
                f"{folder.name} is a pickle ({pickles[0]}), and loading a pickle can run any code. "
                "If you trust where it comes from, load it yourself and log it again with "
                'mlflow.sklearn.log_model(model, serialization_format="skops")'
            )
        raise CorruptModelError(f"{folder.name} holds no {MODEL_FILE}")
    trusted = trusted_types()
    try:
        _require_known_types(path, folder.name, trusted)
        model = skops.io.load(path, trusted=trusted)
    except UnsafeModelError:
        raise
    except Exception as error:  # a damaged file fails anywhere in zipfile, json or numpy
        reason = str(error)[:500]
        raise CorruptModelError(f"{folder.name}: {MODEL_FILE} cannot be read: {reason}") from error
    if not _serves(model):
        raise CorruptModelError(
            f"{folder.name}: {MODEL_FILE} holds a {type(model).__name__}, not a fitted pipeline "
            "from texts to the probabilities of named classes, such as NEGATIVE and POSITIVE"
        )
    check_arrays(model)
    return model


def classes_of(pipeline: Pipeline) -> Classes:
    """The classes of a fitted pipeline, in the order of its probabilities.

    Raises
    ------
    InputError
        If they have no usable names.
    """
    names = pipeline.classes_.tolist()
    if not all(isinstance(name, str) for name in names):
        raise InputError("the classes have no names")
    check_names(names)
    if tuple(names) == BINARY.names:
        return BINARY
    return Classes(tuple(names), bool(getattr(pipeline.steps[-1][1], "ordered", False)))


def language_of(pipeline: Pipeline) -> Language:
    """The language whose rules a pipeline goes by; English if it names none."""
    language: Language = getattr(pipeline[0], "language", "en")
    return language


def _serves(model: object) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import Pipeline

    try:
        return (
            isinstance(model, Pipeline)
            and hasattr(model, "predict_proba")
            and bool(classes_of(model).names)
        )
    except (AttributeError, NotFittedError, InputError):
        return False


def _require_known_types(path: Path, of: str, trusted: list[str]) -> None:
    """Refuse the model file `path` of the model `of` if it consists of other types."""
    if unknown := check_archive(path) - _KNOWN_TYPES - set(trusted):
        names = ", ".join(sorted(unknown))[:300]
        raise UnsafeModelError(
            f"{of} contains {names}, which OpinionLens does not load. A subject of another package "
            "names its types in Subject.trusted_types"
        )


def save_model(
    pipeline: Pipeline,
    folder: Path,
    card: str,
    metrics: Mapping[str, Metrics],
    example: list[str],
    profile: TextProfile | None = None,
) -> None:
    """Write `pipeline` as an MLflow model into the new folder `folder`.

    Beside MLflow's own files there are ``model_card.md``, ``metrics.json`` (by slice) and, if the
    model has a `profile`, ``text_profile.json``. The model takes texts and answers labels, or
    verdicts (`pipelines.batch.pyfunc`).

    Raises
    ------
    UnsafeModelError
        If it contains types that its subject does not name, so that it could not be loaded.
    """
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    text = Schema([ColSpec("string")])
    params = ParamSchema([ParamSpec(VERDICTS, DataType.boolean, default=False)])
    mlflow.sklearn.save_model(
        pipeline,
        str(folder),
        signature=ModelSignature(inputs=text, outputs=text, params=params),
        input_example=example,
        serialization_format="skops",
        skops_trusted_types=trusted_types(),
        # Given, so that MLflow need not load the model in another process to guess them.
        pip_requirements=[f"opinionlens=={version('opinionlens')}", "mlflow"],
    )
    _require_known_types(folder / MODEL_FILE, "The model", trusted_types())
    _load_by(_LOADER, folder)
    (folder / "model_card.md").write_text(card, encoding="utf-8")
    encoded = msgspec.json.format(msgspec.json.encode(metrics), indent=2)
    (folder / "metrics.json").write_bytes(encoded + b"\n")
    if profile is not None:
        write_profile(profile, folder)


def _load_by(module: str, folder: Path) -> None:
    """Let `mlflow.pyfunc` load the model in `folder` by a module of ours."""
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME

    described = Model.load(str(folder))
    described.flavors["python_function"]["loader_module"] = module
    described.save(str(folder / MLMODEL_FILE_NAME))
