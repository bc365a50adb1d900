from __future__ import annotations

import numpy as np
import polars as pl

from pipelines.inference.compiling import fuse
from pipelines.inference.profiling import columns_of, profile_pipeline
from pipelines.labels import BINARY
from pipelines.training.text_profile import FEATURES, MOST_TEXTS
from tests.fitted import BAD, FILLER, GOOD, fit_tiny


def sentences(seed: int, n: int, words: list[str]) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(words, random.integers(4, 12))) for _ in range(n)]


def test_the_texts_of_a_model_beside_its_profile() -> None:
    pipeline = fit_tiny("nbsvm")
    scorer = fuse(pipeline)
    assert scorer
    mine = [*GOOD, *BAD, *FILLER]
    frame = pl.DataFrame({"text": sentences(0, 400, mine), "dataset": "mine"})
    profile = profile_pipeline(pipeline, frame)
    assert profile.edges.keys() == FEATURES.keys()
    assert profile.edges["evidence"] == [1.0, 2.0]

    def drifted(texts: list[str]) -> list[str]:
        columns = columns_of(scorer.judge(texts), BINARY.names)
        return profile.compare(profile.count(columns)).features

    assert drifted(sentences(1, 1_000, mine)) == []
    assert "known" in drifted(sentences(2, 1_000, [*FILLER, "zorbly", "quimpish", "wrtk", "plmb"]))
    assert {"probability", "prediction"} <= set(drifted(sentences(3, 1_000, [*GOOD, *FILLER])))
    assert "words" in drifted([f"{text} {text} {text}" for text in sentences(4, 1_000, mine)])


def test_models_that_are_not_linear_have_profiles_and_large_data_sets_are_thinned() -> None:
    texts = sentences(0, MOST_TEXTS + 1, [*GOOD, *FILLER])
    frame = pl.DataFrame({"text": texts, "dataset": "mine"})
    profile = profile_pipeline(fit_tiny("decision_tree"), frame)

    assert sum(profile.counts["mine"]["words"]) == MOST_TEXTS // 2 + 1
