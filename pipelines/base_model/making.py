"""`olens base-model`: fit the base models, evaluate them, write them into the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.base_model.card import BaseFacts, LeftOut, SourceFacts, base_card
from pipelines.base_model.everyday_texts import CHOOSING, LAST_LOOK, load_everyday
from pipelines.base_model.lexicons import Vader, load_words
from pipelines.base_model.material import folds_of, read_opinions
from pipelines.base_model.opening import CARD_FILE, CHECK_FILE, LEFT_OUT_FILE, METRICS_FILE
from pipelines.base_model.recipe import (
    Recipe,
    fit_sigmoid,
)
from pipelines.base_model.sources import Opinions, load_opinions
from pipelines.base_model.three import NeutralRecipe, ThreeReport, make_three
from pipelines.base_model.three_card import NeutralSource, three_card
from pipelines.cache.entries import quick_check
from pipelines.config.params import Params
from pipelines.config.settings import Settings
from pipelines.errors import TrainingError
from pipelines.files import fingerprint, replaced_folder
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.inference.packing import PACKED_FILE, pack, unpack
from pipelines.inference.profiling import profile_texts
from pipelines.training.evaluation import Metrics, evaluate, evaluate_slices
from pipelines.training.text_profile import TextProfile, write_profile

MAX_BYTES: Final = 8_000_000
"""Of the packed table."""
MAX_LOSS: Final = 0.001
"""Of accuracy on the test splits, by packing."""

OnStage = Callable[[str], None]


class BaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was made.

    Attributes
    ----------
    sha256, size
        Of the packed table.
    metrics
        On the test splits of the declared data sets, by slice (`test` is all of them), and on the
        everyday texts.
    left_out
        By domain: a model that was fitted without it, and VADER, on its texts.
    lexicon
        VADER's metrics on the everyday texts.
    """

    folder: Path
    sha256: str
    size: int
    metrics: dict[str, Metrics]
    left_out: list[LeftOut]
    lexicon: dict[str, Metrics]


class _Unseen(msgspec.Struct, frozen=True):
    """Texts of a domain, and their margins by a model that was fitted without it."""

    texts: list[str]
    positive: NDArray[np.bool_]
    margins: NDArray[np.float64]


def make_base(
    settings: Settings,
    params: Params,
    real_data: Path,
    folder: Path,
    *,
    without: Sequence[str] = (),
    recipe: Recipe | None = None,
    on_stage: OnStage = lambda stage: None,
) -> BaseReport:
    """Make the base model from the corpus and the declared data sets; write its files to `folder`.

    The same data, recipe and versions of the libraries give the same files. The folder is
    replaced as a whole.

    Parameters
    ----------
    settings, params
        Declare the data sets.
    real_data : Path
        Holds the data sets, the corpus and the lexicons; see `pipelines.base_model.sources`.
    folder : Path
        For the packed table, the model card and the metrics.
    without : sequence of str
        Sources and domains of which no text is used.
    recipe : Recipe, optional
        How the base model is fitted.
    on_stage : callable, optional
        Told what is being done now.

    Raises
    ------
    DataError
        If data are missing, or `without` names something that is not there.
    MissingExtraError
        Without the package `vaderSentiment`.
    TrainingError
        If the table is too large, or packing it cost accuracy.
    """
    recipe = recipe or Recipe()
    vader = Vader()
    on_stage("reading the texts")
    opinions = load_opinions(real_data, settings, params, recipe.noisy, without)
    words = load_words(vader, real_data)
    material = read_opinions(opinions.texts, vader, words, recipe, params.seed, on_stage)
    folds = folds_of(dict(opinions.texts["domain"].value_counts().iter_rows()), recipe.folds)
    on_stage(f"fitting, and without each of {len(folds)} groups of domains")
    # Two fit at a time: each needs memory for its features.
    with ThreadPoolExecutor(2) as pool:
        *fitted, whole = pool.map(material.fit, [*folds, []])
    unseen = _leave_out(dict(zip(map(tuple, folds), fitted, strict=True)), opinions.unseen)
    slope, offset = fit_sigmoid(
        [some.margins for some in unseen.values()], [some.positive for some in unseen.values()]
    )
    info = msgspec.structs.replace(whole.info, slope=slope, offset=offset)
    scorer = LinearScorer(info, whole.weights)
    with replaced_folder(folder) as temporary:
        on_stage("packing")
        packed = _packed(scorer, temporary / PACKED_FILE, recipe, opinions.slices["test"])
        size, sha256 = fingerprint(temporary / PACKED_FILE)
        on_stage("comparing with VADER")
        report = BaseReport(
            folder=folder,
            sha256=sha256,
            size=size,
            metrics=_metrics(packed, opinions.slices),
            left_out=[
                LeftOut.of(
                    name,
                    some.positive,
                    scorer.probabilities(some.margins),
                    vader.scores(some.texts),
                )
                for name, some in sorted(unseen.items())
            ],
            lexicon=_lexicon_metrics(vader),
        )
        _write(temporary, report, recipe, opinions, int(np.count_nonzero(packed.weights)))
        write_profile(profile_base(packed, opinions), temporary)
    return report


def profile_base(scorer: LinearScorer, opinions: Opinions) -> TextProfile:
    """The profile of the texts of each domain.

    Without the verdicts: how many texts of a source are positive was decided by who collected it.
    """
    domains = opinions.texts.rename({"domain": "dataset"})
    whole = profile_texts(scorer, domains)
    kept = [name for name in whole.edges if name not in ("probability", "prediction")]
    return whole.only(kept)


def make_base3(
    settings: Settings,
    params: Params,
    real_data: Path,
    base: Path,
    folder: Path,
    *,
    without: Sequence[str] = (),
    recipe: Recipe | None = None,
    neutral: NeutralRecipe | None = None,
    on_stage: OnStage = lambda stage: None,
) -> ThreeReport:
    """Make base3 from the same data and from the base model in the folder `base`.

    The parameters and errors are those of `make_base`; `neutral` says how its second machine is
    fitted.
    """
    recipe, neutral = recipe or Recipe(), neutral or NeutralRecipe()
    vader = Vader()
    on_stage("reading the texts")
    opinions = load_opinions(real_data, settings, params, recipe.noisy, without)
    words = load_words(vader, real_data)
    leaning = unpack(base / PACKED_FILE)
    with replaced_folder(folder) as temporary:
        report = make_three(
            opinions, leaning, vader, words, recipe, neutral, params.seed, temporary, on_stage
        )
        _check_size(report.size, neutral.kept)
        sha256 = fingerprint(temporary / PACKED_FILE)[1]
        card = three_card(report, neutral, sha256, NeutralSource.of(opinions.three))
        (temporary / CARD_FILE).write_text(card, encoding="utf-8")
        _write_json(temporary / METRICS_FILE, report.metrics)
        _write_json(temporary / LEFT_OUT_FILE, report.left_out)
        _write_json(temporary / CHECK_FILE, quick_check(temporary / PACKED_FILE))
        write_profile(profile_base(unpack(temporary / PACKED_FILE), opinions), temporary)
    return report


def _leave_out(
    fitted: Mapping[tuple[str, ...], LinearScorer], tests: Mapping[str, pl.DataFrame]
) -> dict[str, _Unseen]:
    """The texts to test on and what models say of them that have not seen their domains.

    `fitted` has the models by the domains that they have not seen.
    """
    unseen = {}
    for fold, scorer in fitted.items():
        for name, frame in tests.items():
            if frame["domain"][0] in fold:
                positive = frame["label"].to_numpy() == 1
                margins = scorer.margins(frame["text"])
                unseen[name] = _Unseen(frame["text"].to_list(), positive, margins)
    return unseen


def _packed(scorer: LinearScorer, path: Path, recipe: Recipe, test: pl.DataFrame) -> LinearScorer:
    """The scorer as it is after packing, once it is small enough and no worse."""
    pack(scorer, path, recipe.kept)
    _check_size(path.stat().st_size, recipe.kept)
    packed = unpack(path)
    loss = _evaluate(scorer, test).accuracy - _evaluate(packed, test).accuracy
    if loss > MAX_LOSS:
        raise TrainingError(
            f"Packing costs {loss:.2%} of accuracy, more than {MAX_LOSS:.1%}: keep more weights "
            f"than {recipe.kept:,}"
        )
    return packed


def _check_size(size: int, kept: int) -> None:
    if size > MAX_BYTES:
        raise TrainingError(
            f"The packed table has {size:,} bytes and may have {MAX_BYTES:,}: keep fewer weights "
            f"than {kept:,}"
        )


def _metrics(scorer: LinearScorer, slices: dict[str, pl.DataFrame]) -> dict[str, Metrics]:
    everyday = load_everyday()
    parts = {
        f"everyday: {part}": everyday.filter(pl.col("part") == part)
        for part in (LAST_LOOK, CHOOSING)
    }
    last_look = parts[f"everyday: {LAST_LOOK}"]
    frames = {
        **slices,
        "everyday": everyday,
        **parts,
        **{
            f"everyday: {LAST_LOOK}: {value}": last_look.filter(pl.col(column) == value)
            for column in ("topic", "kind")
            for value in last_look[column].unique(maintain_order=True)
        },
    }
    return evaluate_slices(frames, lambda texts: scorer.predict(texts)[1])


def _lexicon_metrics(vader: Vader) -> dict[str, Metrics]:
    everyday = load_everyday()
    frames = {
        "everyday": everyday,
        f"everyday: {LAST_LOOK}": everyday.filter(pl.col("part") == LAST_LOOK),
    }
    return evaluate_slices(frames, lambda texts: (vader.scores(texts) + 1) / 2)


def _evaluate(scorer: LinearScorer, frame: pl.DataFrame) -> Metrics:
    return evaluate(frame["label"].to_numpy(), scorer.predict(frame["text"].to_list())[1])


def _write(folder: Path, report: BaseReport, recipe: Recipe, opinions: Opinions, kept: int) -> None:
    facts = BaseFacts(
        sha256=report.sha256,
        size=report.size,
        kept=kept,
        recipe=recipe,
        sources=SourceFacts.of(opinions.texts),
        metrics=report.metrics,
        left_out=report.left_out,
        lexicon=report.lexicon,
    )
    (folder / CARD_FILE).write_text(base_card(facts), encoding="utf-8")
    _write_json(folder / METRICS_FILE, report.metrics)
    _write_json(folder / LEFT_OUT_FILE, report.left_out)
    _write_json(folder / CHECK_FILE, quick_check(folder / PACKED_FILE))


def _write_json(path: Path, content: object) -> None:
    formatted = msgspec.json.format(msgspec.json.encode(content), indent=2)
    path.write_bytes(formatted + b"\n")
