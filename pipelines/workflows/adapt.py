"""`olens adapt`: a file of labelled texts -> a model of one's own that starts from another one.

Every figure is about texts that the measured model has not seen: of a small file each text is held
out once, of a large one a fifth. The model that is kept has learnt from all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split

from pipelines.errors import DataError, InputError, TrainingError
from pipelines.inference.adapting import LabelledTexts
from pipelines.inference.compiling import as_pipeline
from pipelines.inference.evidence import Judgement
from pipelines.inference.profiling import profile_judged
from pipelines.labels import Classes
from pipelines.text.normalise import normalise_column
from pipelines.training.adaptation import (
    LEAST_ROWS_OF_A_CLASS,
    Kind,
    Plan,
    Rows,
    adapt,
    disagreement,
    scratch_plans,
)
from pipelines.training.model_card import (
    DataFacts,
    Parameter,
)
from pipelines.training.text_profile import TextProfile
from pipelines.workflows.fetch import fetch_model
from pipelines.workflows.learnt_model import Figures, figures_of, log_learnt
from pipelines.workflows.open_start import open_linear
from pipelines.workflows.register import check_new_name, register

if TYPE_CHECKING:
    from pipelines.config.settings import Settings
    from pipelines.tables.labelled import LabelledTable

SEED: Final = 42
FOLDS: Final = 5
LEAST: Final = 15
LEAST_OF_A_CLASS: Final = 4
"""So few texts leave enough to learn from when some are held out."""
LARGE: Final = 5_000
"""Texts from which on one fifth is held out once instead of all in turn."""
CURVE: Final = (20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
_CURVE_REPEATS: Final = 3
_SWAPPED: Final = 0.6
"""Balanced share of the texts of two classes on which labels and start disagree, from which on it
is said."""
_FEW_KNOWN: Final = 0.2

OnStage = Callable[[str], None]


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy on held-out texts after learning from `texts` of them."""

    texts: int
    scratch: float
    adapted: float


class Adapted(msgspec.Struct, frozen=True, kw_only=True):
    """What `adapt_to_file` came to."""

    start: str
    texts: int
    held_out: str
    """Which texts the figures are about, in words."""
    figures: dict[Kind, Figures]
    learnt: Kind
    """What cross-validation chose; `start` is the start as it was, only calibrated anew."""
    scale: float
    C: float
    ratios: bool
    """See `pipelines.training.adaptation.Plan`, as `scale` and `C`."""
    curve: list[CurvePoint]
    model_id: str
    cached_id: str | None
    """In the model cache, if it was registered."""
    messages: list[str]
    warnings: list[str]
    seconds: float


class _Texts(msgspec.Struct, frozen=True):
    """Distinct texts with one label each."""

    texts: pl.Series
    labels: NDArray[np.int8]
    """Numbers of the classes of the model to start from."""
    messages: list[str]


def adapt_to_file(
    settings: Settings,
    labelled: LabelledTable,
    start: str = "base",
    name: str | None = None,
    alias: str | None = None,
    activate: bool = False,
    curve: bool = False,
    on_stage: OnStage = lambda stage: None,
    sha256: str = "",
) -> Adapted:
    """Learn from a labelled file, compare, log the model, and register and cache it.

    Parameters
    ----------
    settings : Settings
    labelled : LabelledTable
        `LEAST` texts or more; it is held in memory.
    start : str
        The linear model to start from, by any name that `open_model` knows.
    name : str, optional
        Registered model that gets a new version, which is fetched into the cache. None: the model
        is only logged.
    alias : str, optional
        Alias that points to the new version.
    activate : bool
        Whether it answers from now on.
    curve : bool
        Whether to measure what fewer texts would have given.
    on_stage : callable, optional
        Told what is being done now.
    sha256 : str
        Of the file, for the model card.

    Raises
    ------
    DataError, TrainingError
        If the file cannot be read, or has too few texts of a class.
    InputError
        If the start is not linear, or the name or alias is not allowed.
    """
    started = time.monotonic()
    if name is None and (alias or activate):
        raise InputError("Give the model a name: --name NAME")
    on_stage("reading texts")
    found = _read(labelled)
    start_id, scorer = open_linear(settings, start)
    _check_enough(found, scorer.classes, Path(labelled.table.name).name)
    if name is not None:
        check_new_name(name, alias)
    on_stage("learning")
    data = LabelledTexts(scorer, found.texts, found.labels)
    model = data.adapt(SEED)
    on_stage("comparing")
    figures, held_out = _compare(data.rows, scorer.classes)
    points = _curve(data.rows, scorer.classes) if curve else []
    on_stage("logging the model")
    facts = _data_facts(labelled, found, sha256)
    plan = model.adaptation.plan
    parameters: dict[str, Parameter] = msgspec.structs.asdict(plan)
    profile = _profile(data, found.texts, plan, facts.name)
    model_id = log_learnt(
        settings,
        f"adapt {facts.name}",
        "adapted",
        start_id,
        model.scorer,
        as_pipeline(model.scorer),
        parameters,
        facts,
        figures,
        profile,
    )
    cached_id = None
    if name is not None:
        on_stage("registering the model")
        version = register(settings, name, model_id, alias)
        cached_id = fetch_model(settings, name, version.version, activate=activate).id
    return Adapted(
        start=start_id,
        texts=len(found.texts),
        held_out=held_out,
        figures=figures,
        learnt=plan.kind,
        scale=plan.scale,
        C=plan.C,
        ratios=plan.ratios,
        curve=points,
        model_id=model_id,
        cached_id=cached_id,
        messages=[*labelled.messages(), *found.messages],
        warnings=[*labelled.warnings(), *_doubts(data, scorer.classes, start_id)],
        seconds=time.monotonic() - started,
    )


def _read(labelled: LabelledTable) -> _Texts:
    """The distinct texts of a file; those that have several labels are left out."""
    rows = pl.concat(labelled.batches())
    rows = rows.with_columns(text=normalise_column(rows["text"])[0]).filter(pl.col("text") != "")
    grouped = rows.group_by("text", maintain_order=True).agg(
        pl.col("label").first(), several=pl.col("label").n_unique() > 1
    )
    kept = grouped.filter(~pl.col("several"))
    repeated = rows.height - grouped.height
    contradictory = grouped.height - kept.height
    messages = []
    if repeated:
        messages.append(
            f"Left out: {repeated:,} row{'s' * (repeated != 1)} with a text seen before."
        )
    if contradictory:
        messages.append(
            f"Left out: {contradictory:,} text{'s' * (contradictory != 1)} with several labels."
        )
    if not kept.height:
        raise DataError(f"{labelled.table.name} has no text with one label.")
    return _Texts(kept["text"], kept["label"].to_numpy(), messages)


def _check_enough(found: _Texts, classes: Classes, name: str) -> None:
    sizes = np.bincount(found.labels, minlength=len(classes.names))
    rarest = int(sizes.argmin())
    if found.labels.size < LEAST or sizes[rarest] < LEAST_OF_A_CLASS:
        raise TrainingError(
            f"{name} has {found.labels.size:,} different texts, {sizes[rarest]:,} of them "
            f"{classes.names[rarest]}. That is too few to learn from and to hold some out: give "
            f"{LEAST} or more, {LEAST_OF_A_CLASS} of each class."
        )


def _compare(rows: Rows, classes: Classes) -> tuple[dict[Kind, Figures], str]:
    """Start, model from scratch and adapted start on held-out rows; and which rows these are."""
    probabilities: dict[Kind, NDArray[np.float64]] = {}
    tested = np.zeros(rows.labels.size, dtype=bool)
    for seen, held_out in _splits(rows):
        tested[held_out] = True
        for kind, found in _predict(rows[seen], rows[held_out]).items():
            probabilities.setdefault(kind, np.empty(rows.start.shape))[held_out] = found
    labels = rows.labels[tested].astype(np.int8)
    figures = {
        kind: figures_of(labels, found[tested], classes) for kind, found in probabilities.items()
    }
    n = int(tested.sum())
    whole = n == rows.labels.size
    return figures, f"each of {n:,} texts, held out once" if whole else f"{n:,} held-out texts"


def _splits(rows: Rows) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    folds = min(FOLDS, int(rows.sizes.min()))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=SEED)
    for seen, held_out in splitter.split(rows.labels, rows.labels):
        yield seen, held_out
        if rows.labels.size >= LARGE:
            return


def _predict(seen: Rows, held_out: Rows) -> dict[Kind, NDArray[np.float64]]:
    from_scratch = scratch_plans(seen.n_classes, seen.labels.size)
    return {
        "start": held_out.start_probabilities(),
        "scratch": adapt(seen, SEED, from_scratch).probabilities(held_out),
        "adapted": adapt(seen, SEED).probabilities(held_out),
    }


def _curve(rows: Rows, classes: Classes) -> list[CurvePoint]:
    """Accuracy on a held-out third after learning from more and more of the others."""
    found: dict[int, list[tuple[float, float]]] = {}
    for repeat in range(_CURVE_REPEATS):
        pool, test = train_test_split(
            np.arange(rows.labels.size),
            test_size=1 / 3,
            random_state=repeat,
            stratify=rows.labels,
        )
        pool = pool[_mixed(rows.labels[pool], np.random.default_rng(repeat))]
        held_out = rows[np.sort(test)]
        for size in [*(n for n in CURVE if n < pool.size), pool.size]:
            seen = rows[np.sort(pool[:size])]
            if seen.sizes.min() < LEAST_ROWS_OF_A_CLASS:
                continue
            scores = _predict(seen, held_out)
            right = {
                k: float((classes.predicted(p) == held_out.labels).mean())
                for k, p in scores.items()
            }
            found.setdefault(size, []).append((right["scratch"], right["adapted"]))
    means = {size: np.mean(values, axis=0).tolist() for size, values in found.items()}
    return [
        CurvePoint(texts=size, scratch=scratch, adapted=adapted)
        for size, (scratch, adapted) in means.items()
        if len(found[size]) == _CURVE_REPEATS
    ]


def _mixed(labels: NDArray[np.generic], random: np.random.Generator) -> NDArray[np.intp]:
    """A random order of rows in which the first ones have the classes' shares, however few."""
    places = np.empty(labels.size)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        places[members] = (np.arange(members.size) + random.random(members.size)) / members.size
    return np.argsort(places)


def _profile(data: LabelledTexts, texts: pl.Series, plan: Plan, name: str) -> TextProfile:
    """The profile of the held-out texts, each judged by a model that has not seen it."""
    judged: list[Judgement] = []
    for seen, held_out in _splits(data.rows):
        scorer = data.adapt(SEED, (plan,), seen).scorer
        judged += scorer.judge(texts[held_out].to_list())
    return profile_judged({name: judged}, scorer.classes.names)


def _doubts(data: LabelledTexts, classes: Classes, start: str) -> list[str]:
    """What is odd about the labels or the texts, seen from the start."""
    doubts = []
    names, sizes = classes.names, data.rows.sizes
    for one, other in combinations(range(len(names)), 2):
        share = disagreement(data.rows, one, other)
        if share > _SWAPPED and share - 0.5 > 1 / np.sqrt(sizes[one] + sizes[other]):
            doubts.append(
                f"The labels {names[one]} and {names[other]} contradict {start} on {share:.0%} of "
                "their texts. Are the two swapped? Say which value of the labels is which."
            )
    if data.known < _FEW_KNOWN:
        doubts.append(
            f"{start} knows only {data.known:.0%} of the words and phrases of these texts, so what "
            "is learnt comes almost only from their labels. Are they in its language?"
        )
    return doubts


def _data_facts(labelled: LabelledTable, found: _Texts, sha256: str) -> DataFacts:
    name = Path(labelled.table.name).name
    return DataFacts(
        name=name,
        source=name,
        sha256=sha256,
        rows=sum(labelled.counts.values()),
        train=len(found.texts),
        val=0,
        test=0,
        synthetic=False,
    )
