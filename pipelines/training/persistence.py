"""Fitted pipelines on disk: skops with an allow-list of our own, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.errors import CorruptModelError, UnsafeModelError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from pipelines.training.evaluation import Metrics

MODEL_FILE: Final = "model.skops"

TRUSTED_TYPES: Final = (
    "pipelines.text.vectorizer.HashedNgramVectorizer",
    "pipelines.text.vectorizer.TermWeighting",
    "pipelines.training.calibration.SigmoidCalibrated",
    "pipelines.training.linear.BaggedLinearSVM",
    "pipelines.training.linear.LinearComplementNB",
    "pipelines.training.linear.LinearSVM",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.tree._tree.Tree",
)
"""What a model may contain beyond the types that skops itself trusts."""


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
        If the file cannot be read, or holds no fitted pipeline that tells `NEGATIVE` from
        `POSITIVE` with a probability.
    """
    import skops.io

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
        unknown = set(skops.io.get_untrusted_types(file=path)) - set(trusted)
        if unknown:
            raise UnsafeModelError(
                f"{folder.name} contains {', '.join(sorted(unknown))}, which OpinionLens does not "
                "load. A subject of another package names its types in Subject.trusted_types"
            )
        model = skops.io.load(path, trusted=trusted)
    except UnsafeModelError:
        raise
    except Exception as error:  # a damaged file fails anywhere in zipfile, json or numpy
        raise CorruptModelError(f"{folder.name}: {MODEL_FILE} cannot be read: {error}") from error
    if not _serves(model):
        raise CorruptModelError(
            f"{folder.name}: {MODEL_FILE} holds a {type(model).__name__}, not a fitted pipeline "
            "from texts to the probabilities of NEGATIVE and POSITIVE"
        )
    return model


def _serves(model: object) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import Pipeline

    try:
        return (
            isinstance(model, Pipeline)
            and hasattr(model, "predict_proba")
            and list(model.classes_) == ["NEGATIVE", "POSITIVE"]
        )
    except (AttributeError, NotFittedError):
        return False


def save_model(
    pipeline: Pipeline,
    folder: Path,
    card: str,
    metrics: Mapping[str, Metrics],
    example: list[str],
) -> None:
    """Write `pipeline` as an MLflow model into the new folder `folder`.

    Beside MLflow's own files there are ``model_card.md`` and ``metrics.json`` (by slice). The
    model takes texts and answers labels.
    """
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    text = Schema([ColSpec("string")])
    mlflow.sklearn.save_model(
        pipeline,
        str(folder),
        signature=ModelSignature(inputs=text, outputs=text),
        input_example=example,
        serialization_format="skops",
        skops_trusted_types=trusted_types(),
        # Given, so that MLflow need not load the model in another process to guess them.
        pip_requirements=[f"opinionlens=={version('opinionlens')}", "mlflow"],
    )
    (folder / "model_card.md").write_text(card, encoding="utf-8")
    encoded = msgspec.json.format(msgspec.json.encode(metrics), indent=2)
    (folder / "metrics.json").write_bytes(encoded + b"\n")
