"""`olens quickstart`: all steps once, from labelled files to an active model.

A step whose result is there from an earlier run, and still fits, is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from pipelines.cache.model_cache import ModelCache
from pipelines.config.params import Params
from pipelines.config.settings import Settings
from pipelines.datasets.found_language import found_language, in_language
from pipelines.datasets.loading import load_report, stale
from pipelines.datasets.preparing import preprocess
from pipelines.datasets.slicing import prepare_slices
from pipelines.datasets.sources import find_source
from pipelines.errors import DataError, ModelNotFoundError, OpinionLensError
from pipelines.files import sha256_of
from pipelines.inference.profiling import profile_pipeline
from pipelines.registry.client import Registry
from pipelines.registry.logged_models import TrackingStore
from pipelines.registry.versions import RegisteredVersion
from pipelines.training.baseline_runs import run_baselines
from pipelines.training.features import vectorize
from pipelines.training.reports import Tuned, read_baselines, read_tuned
from pipelines.training.tuning import Plan, study_names, tune
from pipelines.workflows.fetch import fetch_model
from pipelines.workflows.register import log_base, register

NAME: Final = "opinionlens"
"""Of the registered model."""
BASE_NAME: Final = "opinionlens-base"
"""Of the base model in the registry."""
ALIAS: Final = "champion"
TRIALS: Final = 5

OnStep = Callable[[str], None]


class Step(msgspec.Struct, frozen=True):
    """A step's name and its result in one sentence."""

    name: str
    result: str


class Quickstart(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, in order."""

    steps: list[Step]
    sample: bool
    """Whether the synthetic sample was used, for want of raw data."""
    model: str
    """ID of the active model."""


def quickstart(
    settings: Settings, params: Params, on_step: OnStep = lambda name: None
) -> Quickstart:
    """Preprocess, vectorize, run baselines, tune, register and fetch; then activate a model.

    The model that was trained is activated. Only if it was trained on the synthetic sample, whose
    texts are made up, the base model is activated instead.

    Uses the declared data sets whose files are in the folder of raw data; if there is none, the
    synthetic sample.

    Raises
    ------
    DataError
        If there are neither raw data nor the sample.
    """
    present = [
        name for name in params.datasets if find_source(settings, params, name).path.is_file()
    ]
    sample = not present
    if present:
        chosen = {name: params.datasets[name] for name in present}
        params = msgspec.structs.replace(params, datasets=chosen)
    steps = []
    for name, step in _STEPS.items():
        on_step(name)
        steps.append(Step(name, step(settings, params, sample)))
    active = ModelCache(settings.paths.models).active()
    assert active is not None, "the last step activates a model"
    return Quickstart(steps=steps, sample=sample, model=active.id)


def _preprocess(settings: Settings, params: Params, sample: bool) -> str:
    if not _is_prepared(settings, params, sample):
        preprocess(settings, params, list(params.datasets), sample=sample)
        prepare_slices(settings, params)
    reports = [load_report(settings, name) for name in params.datasets]
    kept = sum(report.kept for report in reports)
    origin = "synthetic sample" if sample else "data/raw"
    return f"{kept:,} texts of {', '.join(params.datasets)} ({origin})"


def _is_prepared(settings: Settings, params: Params, sample: bool) -> bool:
    try:
        reports = [load_report(settings, name) for name in params.datasets]
    except DataError:
        return False
    origin = "sample" if sample else "raw"
    slices = settings.paths.slices / "report.json"
    fits = all(report.origin == origin for report in reports) and slices.is_file()
    return fits and not stale(settings, params)


def _vectorize(settings: Settings, params: Params, sample: bool) -> str:
    done = vectorize(settings, params)
    entries = sum(sum(features.entries.values()) for features in done.values())
    found = found_language(settings, params)
    return f"{entries:,} n-grams counted" + (f". {found.evidence}" if found else "")


def _baselines(settings: Settings, params: Params, sample: bool) -> str:
    found = read_baselines(settings, list(params.datasets))
    if not found or _picked_up(settings, params) is None:
        run_baselines(settings, params)
        found = read_baselines(settings, list(params.datasets))
    best = max(found, key=lambda name: found[name].accuracy)
    return f"to beat: {found[best].accuracy:.1%} accuracy ({best})"


def _tune(settings: Settings, params: Params, sample: bool) -> str:
    tuned = _picked_up(settings, params)
    if tuned is None:
        study = _study(settings, params)
        plan = Plan(
            trials=TRIALS,
            timeout=None,
            jobs=1,
            metric=params.tune.metric,
            study=study,
            resume=study in study_names(settings),
        )
        tuned = tune(settings, params, params.tune.subject, plan, profile=profile_pipeline).tuned
    accuracy = tuned.test["test"].accuracy
    return f"{tuned.subject}, best of {tuned.trials} trials: {accuracy:.1%} accuracy on test texts"


def _register(settings: Settings, params: Params, sample: bool) -> str:
    tuned = read_tuned(settings)
    assert tuned is not None, "tuning comes before"
    version = _registered(settings, NAME, tuned.model_id)
    return f"{version.name} version {version.version}, alias {ALIAS}"


def _registered(settings: Settings, name: str, logged: str) -> RegisteredVersion:
    """The version of `name` that is this logged model; registered now if it is not the champion."""
    server = settings.mlflow
    manifest = TrackingStore(server).find(logged).manifest_sha256
    try:
        found = Registry(server).resolve(name, alias=ALIAS)
        if found.manifest_sha256 == manifest:
            return found
    except ModelNotFoundError:
        pass  # the first time
    return register(settings, name, logged, ALIAS)


def _fetch(settings: Settings, params: Params, sample: bool) -> str:
    model = fetch_model(settings, NAME, alias=ALIAS, activate=not sample)
    if sample:
        return f"{model.id} is in the cache: olens models activate {model.id}"
    return f"{model.id} is active: it was trained on the texts in data/raw"


def _base(settings: Settings, params: Params, sample: bool) -> str:
    """Activate the base model where there was nothing but the sample to train on."""
    _registered(settings, BASE_NAME, log_base(settings))
    model = fetch_model(settings, BASE_NAME, alias=ALIAS, activate=sample)
    if sample:
        return f"{model.id} is active: it was trained on real texts, not on made-up ones"
    return f"{model.id} is in the cache, to compare: olens models activate {model.id}"


_STEPS: Final[dict[str, Callable[[Settings, Params, bool], str]]] = {
    "preprocess": _preprocess,
    "vectorize": _vectorize,
    "baselines": _baselines,
    "tune": _tune,
    "register": _register,
    "fetch": _fetch,
    "base model": _base,
}


def _study(settings: Settings, params: Params) -> str:
    """The study's name; it changes with whatever its trials depend on."""
    facts = [
        [load_report(settings, name) for name in params.datasets],
        in_language(settings, params).vectorizer,
        params.tune.subject,
        params.tune.metric,
    ]
    return f"quickstart-{sha256_of(msgspec.json.encode(facts))[:12]}"


def _picked_up(settings: Settings, params: Params) -> Tuned | None:
    """The tuned model of an earlier run on the same data, if it is still in the tracking store."""
    tuned = read_tuned(settings)
    if tuned is None or tuned.study != _study(settings, params):
        return None
    try:
        TrackingStore(settings.mlflow).find(tuned.model_id)
    except OpinionLensError:
        return None
    return tuned
