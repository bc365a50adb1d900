from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.training.text_profile import (
    DRIFT,
    PROFILE_FILE,
    Columns,
    TextProfile,
    chance_limit,
    population_stability_index,
    read_profile,
    write_profile,
)

STREAM = 100_000
WINDOW = 1_000


def texts(seed: int, n: int, words: float = 40.0, known: float = 0.9) -> Columns:
    """Numbers about n made-up texts of a kind: their mean length, and share of known words."""
    random = np.random.default_rng(seed)
    lengths = 1 + random.poisson(random.gamma(4.0, words / 4, n))
    return {"words": lengths.astype(float), "known": random.binomial(lengths, known) / lengths}


@pytest.mark.parametrize("n", [60, 500, 5_000])
def test_a_stream_of_the_same_kind_is_no_drift(n: int) -> None:
    profile = TextProfile.of({"mine": texts(0, n)}, {})
    stream = texts(1, STREAM)
    for start in range(0, STREAM, WINDOW):
        window = {name: values[start : start + WINDOW] for name, values in stream.items()}
        assert profile.compare(profile.count(window)).features == []


@pytest.mark.parametrize("other", [{"words": 15.0}, {"words": 120.0}, {"known": 0.7}])
def test_another_kind_of_texts_is_drift_within_1000(other: dict[str, float]) -> None:
    profile = TextProfile.of({"mine": texts(0, 500)}, {})
    drift = profile.compare(profile.count(texts(2, WINDOW, **other)))

    assert set(other) <= set(drift.features)
    assert drift.texts == WINDOW


def test_texts_of_one_of_the_data_sets_are_no_drift() -> None:
    both = {"reviews": texts(0, 1_000, 200.0), "tweets": texts(1, 1_000, 15.0)}
    profile = TextProfile.of(both, {})

    def compare(words: float) -> tuple[str, list[str]]:
        drift = profile.compare(profile.count(texts(2, WINDOW, words)))
        return drift.nearest, drift.features

    assert compare(15.0) == ("tweets", [])
    assert compare(200.0) == ("reviews", [])
    assert "words" in compare(2_000.0)[1]
    mixed = {
        name: np.concatenate([part[name] for part in both.values()]) for name in both["tweets"]
    }
    assert profile.compare(profile.count(mixed)).nearest == ""


def test_the_index_by_hand() -> None:
    expected, found = np.array([99, 99]), np.array([49, 149])
    by_hand = -0.25 * np.log(0.5 / 1.0) + 0.25 * np.log(1.5 / 1.0)

    # Half a text more in every bin changes little.
    assert population_stability_index(expected, found) == pytest.approx(by_hand, abs=0.01)
    assert population_stability_index(expected, 5 * expected) == pytest.approx(0, abs=1e-9)


def test_the_limit_is_what_chance_exceeds_once_in_10000() -> None:
    """33.72 is that quantile of chi-squared with nine degrees of freedom."""
    assert chance_limit(10, 1_000, 500) == pytest.approx(33.72 * 0.003, rel=0.02)
    profile = TextProfile.of({"few": texts(0, 40)}, {})

    limits = profile.compare(profile.count(texts(1, WINDOW))).limits
    assert limits["words"] > DRIFT


def test_a_profile_is_kept_in_a_file(tmp_path: Path) -> None:
    profile = TextProfile.of({"a": texts(0, 300), "b": texts(1, 30)}, {"words": [10.0, 20.0]})
    write_profile(profile, tmp_path)

    assert read_profile(tmp_path) == profile
    assert profile.edges["words"] == [10.0, 20.0]
    assert sum(profile.counts["a"]["words"]) == 300
    assert (tmp_path / PROFILE_FILE).stat().st_size < 2_000


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"edges": {}, "counts": {}}',
        '{"edges": {"words": [1.0]}, "counts": {}}',
        '{"edges": {"words": [1.0]}, "counts": {"a": {"words": [1]}}}',
        '{"edges": {"words": [1.0]}, "counts": {"a": {"words": [1, -1]}}}',
        '{"edges": {"words": [2.0, 1.0]}, "counts": {"a": {"words": [1, 1, 1]}}}',
        '{"edges": {"other": [1.0]}, "counts": {"a": {"other": [1, 1]}}}',
        "[" * 100_000,
    ],
)
def test_a_profile_that_cannot_be_used_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / PROFILE_FILE).write_text(content)

    assert read_profile(tmp_path) is None
