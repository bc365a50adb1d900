"""The model card states the facts it was given, and warns where it has to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import numpy as np
import pytest
from markdown_it import MarkdownIt

from pipelines.config.params import Dataset, Split
from pipelines.datasets.reports import DatasetReport
from pipelines.training.evaluation import Metrics, evaluate
from pipelines.training.model_card import CardFacts, DataFacts, library_versions, model_card


def metrics(right: int, n: int, *, sure: float = 0.9) -> Metrics:
    """Of a model that is right about `right` of `n` texts, half of them positive."""
    y = (np.arange(n) % 2).astype(np.int8)
    believed = np.where(np.arange(n) < right, y, 1 - y)
    return evaluate(y, np.where(believed == 1, sure, 1 - sure))


IMDB = DataFacts(
    name="imdb",
    source="IMDB Dataset/IMDB Dataset.csv",
    sha256="ab" * 32,
    rows=50_000,
    train=39_000,
    val=5_001,
    test=4_900,
    synthetic=False,
)
FACTS = CardFacts(
    subject="nbsvm",
    parameters={"C": 0.5, "dual": True, "penalty": "l2", "class_weight": None},
    vectorizer={"ngram_max": 3, "bits": 22},
    data=[IMDB],
    metrics={"test": metrics(900, 1000), "short": metrics(160, 200), "tiny": metrics(1, 2)},
    baselines={"zero_rule": metrics(500, 1000), "vader": metrics(790, 1000)},
    created=datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=2))),
    run_id="0123abcd",
    model_id="m-77aa",
    commit="deadbeef",
    versions={"scikit-learn": "1.9.1"},
)


def changed(**fields: object) -> str:
    return model_card(msgspec.structs.replace(FACTS, **fields))


def cells(card: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`."""
    row = next(line for line in card.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_identity() -> None:
    card = model_card(FACTS)
    assert card.startswith("# Sentiment model: nbsvm\n")
    assert cells(card, "Parameters")[1] == (
        '`C=0.5`, `dual=true`, `penalty="l2"`, `class_weight=null`'
    )
    assert cells(card, "Vectorizer")[1] == "`ngram_max=3`, `bits=22`"
    assert cells(card, "Created")[1] == "2026-03-01 10:30 UTC"
    assert cells(card, "Git commit")[1] == "`deadbeef`"
    assert cells(card, "Made with")[1] == "scikit-learn 1.9.1"


def test_data_with_hashes_and_sizes() -> None:
    assert cells(model_card(FACTS), "imdb") == [
        *("imdb", "`IMDB Dataset/IMDB Dataset.csv`", "50,000", "39,000", "5,001", "4,900"),
        f"`{'ab' * 32}`",
    ]


def test_metrics_per_slice_and_of_the_baselines() -> None:
    card = model_card(FACTS)
    assert cells(card, "test")[:4] == ["test", "1,000", "50%", "90.0%"]
    assert cells(card, "short")[3] == "80.0%"
    assert cells(card, "vader")[3] == "79.0%"
    assert "right about **90.0%** of 1,000 texts" in card
    assert "11.0 percentage points above that of the best baseline, `vader`" in card


def test_weakest_slice_is_not_one_of_two_texts() -> None:
    assert "weakest on **short** (80.0%)" in model_card(FACTS)
    assert "weakest" not in changed(metrics={"test": metrics(900, 1000), "tiny": metrics(1, 2)})


def test_without_baselines() -> None:
    card = changed(baselines={})
    assert "baseline" not in card


def test_model_that_does_not_beat_a_baseline_says_so() -> None:
    card = changed(metrics={"test": metrics(700, 1000)})
    assert "**It does not beat the baseline `vader`: do not use it.**" in card


def test_synthetic_data_are_announced_before_anything_else() -> None:
    sample = msgspec.structs.replace(IMDB, synthetic=True)
    amazon = msgspec.structs.replace(IMDB, name="amazon", synthetic=True)
    real = msgspec.structs.replace(IMDB, name="airline")
    card = changed(data=[sample, amazon, real])
    assert card.index("WARNING: trained on synthetic data") < card.index("## What it is")
    assert "The texts of imdb and amazon are the made-up sample" in card
    assert "| imdb (synthetic) |" in card
    assert "| airline |" in card
    assert "synthetic" not in model_card(FACTS)


@pytest.mark.parametrize(
    ("sure", "verdict"),
    [
        (0.9, "can be read as frequencies"),
        (0.87, "roughly the frequencies"),
        (0.6, "are not frequencies: use them to rank texts only"),
    ],
)
def test_calibration(sure: float, verdict: str) -> None:
    assert verdict in changed(metrics={"test": metrics(900, 1000, sure=sure)})


def test_slice_of_one_class() -> None:
    one_class = evaluate(np.ones(3, np.int8), np.full(3, 0.9))
    card = changed(metrics={"test": metrics(900, 1000), "praise": one_class})
    assert cells(card, "praise")[5] == "not defined"


def test_limits_and_use_are_stated() -> None:
    card = model_card(FACTS)
    for words in ("English only", "neutral", "sarcasm", "short texts", "Not audited for fairness"):
        assert words in card, words
    assert 'mlflow.pyfunc.load_model("models:/m-77aa")' in card
    assert "olens register m-77aa sentiment --alias champion" in card
    assert "Apache License 2.0" in card


def test_without_the_optional_facts() -> None:
    card = changed(model_id=None, commit=None, versions={}, parameters={})
    assert 'load_model("models:/sentiment@champion")' in card
    assert "olens register latest sentiment" in card
    assert cells(card, "Parameters")[1] == "defaults"
    assert "Git commit" not in card
    assert "None" not in card


def test_markdown_renders_as_tables() -> None:
    card = changed(parameters={"pattern": "a|b"})
    html = MarkdownIt("commonmark").enable("table").render(card)
    assert html.count("<table>") == 4
    assert html.count("<h2>") == 8
    assert "a|b" in html


def test_facts_from_the_report_of_preprocessing() -> None:
    report = DatasetReport(
        dataset="imdb",
        origin="sample",
        path="IMDB Dataset/IMDB Dataset.csv",
        size=1000,
        sha256="cd" * 32,
        declaration=Dataset(
            path="a.csv", text="t", label="l", labels={"negative": ["n"], "positive": ["p"]}
        ),
        seed=42,
        shares=Split(),
        rows=100,
        dropped={"duplicate": 4},
        conflicting=0,
        kept=96,
        splits={
            "train": {"negative": 40, "positive": 36},
            "val": {"negative": 5, "positive": 5},
            "test": {"negative": 4, "positive": 6},
        },
    )
    facts = DataFacts.from_report(report)
    assert facts.synthetic
    assert (facts.rows, facts.train, facts.val, facts.test) == (100, 76, 10, 10)
    assert (facts.name, facts.sha256) == ("imdb", "cd" * 32)


def test_library_versions() -> None:
    versions = library_versions()
    assert versions["numpy"] == np.__version__
    assert "opinionlens" in versions


def test_facts_are_json() -> None:
    assert msgspec.json.decode(
        msgspec.json.encode(FACTS), type=CardFacts
    ) == msgspec.structs.replace(FACTS, created=FACTS.created.astimezone(UTC))
