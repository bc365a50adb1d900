"""`olens register`, which takes the base model too: as a logged model like any other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from pipelines.errors import ModelNotFoundError
from pipelines.inference.base import BASE, CARD_FILE, FOLDER, METRICS_FILE, base_sha256, open_base
from pipelines.registry.registering import register_model
from pipelines.registry.tracking_store import LATEST, TrackingStore
from pipelines.training.evaluation import Metrics

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from pipelines.connection import Credentials
    from pipelines.registry.versions import RegisteredVersion
    from pipelines.settings import Settings

TABLE_TAG: Final = "olens.base.sha256"
"""Tag of a logged base model: SHA-256 of the packed table it was made of."""

_EXAMPLE: Final = ["A quiet, lovely film.", "The battery died after two days."]


def register(
    settings: Settings,
    name: str,
    model: str = LATEST,
    alias: str | None = None,
    credentials: Credentials | None = None,
) -> RegisteredVersion:
    """`register_model`, for which `model` may also be ``base``."""
    if model == BASE:
        model = log_base(settings)
    return register_model(settings, name, model, alias, credentials)


def log_base(settings: Settings) -> str:
    """Put the base model into the tracking store, unless it is there; returns its ID.

    It goes to an experiment of its own, so that ``latest`` goes on meaning what was trained last.

    Raises
    ------
    MissingExtraError
        Without the extra `train`, whose MLflow writes models.
    """
    from pipelines.training.persistence import save_model
    from pipelines.training.runs import flattened
    from pipelines.training.tracking import Tracker

    experiment = f"{settings.mlflow.experiment}-{BASE}"
    mlflow = msgspec.structs.replace(settings.mlflow, experiment=experiment)
    digest = base_sha256()
    try:
        logged = TrackingStore(mlflow).find()
        if logged.tags.get(TABLE_TAG) == digest:
            return logged.id
    except ModelNotFoundError:
        pass  # the first time
    metrics = msgspec.json.decode((FOLDER / METRICS_FILE).read_bytes(), type=dict[str, Metrics])
    tags = {TABLE_TAG: digest}
    tracker = Tracker.open(msgspec.structs.replace(settings, mlflow=mlflow))
    with tracker.run("base model", tags) as run, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        card = (FOLDER / CARD_FILE).read_text(encoding="utf-8")
        save_model(base_pipeline(), folder, card, metrics, example=_EXAMPLE)
        return run.log_model(folder, {"subject": BASE}, flattened(metrics), tags)


def base_pipeline() -> Pipeline:
    """The base model as a scikit-learn pipeline from raw text to calibrated probability."""
    from sklearn.pipeline import Pipeline

    from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting
    from pipelines.training.calibration import SigmoidCalibrated
    from pipelines.training.linear import LinearSVM

    scorer = open_base()
    info = scorer.info
    vectorizer = HashedNgramVectorizer(info.ngram_max, info.bits, info.char_max)
    classifier = Pipeline([("weighting", TermWeighting("binary")), ("classifier", LinearSVM())])
    calibrated = SigmoidCalibrated(classifier)
    # Fitted on two words, so that scikit-learn builds what a fitted one consists of; then every
    # number in it is replaced by the base model's.
    calibrated.fit(vectorizer.transform(["good", "bad"] * 2), ["POSITIVE", "NEGATIVE"] * 2)
    (_, weighting), (_, machine) = calibrated.estimator_.steps
    weighting.buckets_ = np.flatnonzero(scorer.weights).astype(np.int32)
    weighting.weights_ = np.ones(weighting.buckets_.size, dtype=np.float32)
    machine.coef_ = scorer.weights[weighting.buckets_][np.newaxis]
    machine.intercept_ = np.array([scorer.info.bias])
    machine.n_features_in_ = weighting.buckets_.size
    calibrated.slope_, calibrated.offset_ = scorer.info.slope, scorer.info.offset
    return Pipeline([("vectorizer", vectorizer), ("classifier", calibrated)])
