"""Entries of the cache -> scorers."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import CorruptModelError, InputError, ModelError
from pipelines.inference.compiling import compile_model
from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.inference.loading import load_scorer
from pipelines.labels import BINARY
from pipelines.training.evaluation import evaluate
from pipelines.training.persistence import save_model
from tests.unit.training.corpus import corpus
from tests.unit.training.fitted import fitted_pipeline

TEXTS = corpus(50, seed=9)[0]
ODD = ["", "\x00", "\ud800", "😀", "good " * 100_000]
# Numba looks whether SciPy is there; what weighs is what sparse matrices bring.
HEAVY = [
    "mlflow", "sklearn", "scipy.sparse", "pandas", "pyarrow", "polars", "skops", "optuna"
]  # fmt: skip


@pytest.fixture(scope="module", params=["nbsvm", "decision_tree"])
def entry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    save_model(fitted_pipeline(request.param), folder / "model", "# Card", {}, TEXTS[:1])
    compile_model(folder)
    return folder


def test_a_compiled_entry_answers_as_its_pipeline(entry: Path) -> None:
    scorer = load_scorer(entry)
    subject = "nbsvm" if scorer.kind == "linear" else "decision_tree"
    assert entry.name.startswith(subject)
    labels, probabilities = scorer.predict(TEXTS)
    pipeline = fitted_pipeline(subject)
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(TEXTS)[:, 1], atol=1e-6)
    assert labels == pipeline.predict(TEXTS).tolist()


def test_only_linear_models_get_a_table(entry: Path) -> None:
    linear = load_scorer(entry).kind == "linear"
    assert (entry / "scorer.safetensors").is_file() == linear


def test_every_text_has_an_answer(entry: Path) -> None:
    labels, probabilities = load_scorer(entry).predict(ODD)
    assert len(labels) == len(ODD)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert load_scorer(entry).predict([])[0] == []


@pytest.mark.parametrize("wrong", ["a text", [1], [None]])
def test_values_that_are_not_texts_are_refused(entry: Path, wrong: object) -> None:
    with pytest.raises(InputError):
        load_scorer(entry).predict(wrong)  # type: ignore[arg-type]


def test_an_entry_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CorruptModelError):
        compile_model(tmp_path)
    with pytest.raises(ModelError):
        load_scorer(tmp_path)


def test_one_half_is_positive_wherever_it_is_judged() -> None:
    assert BINARY.answers(np.array([0.5, np.nextafter(0.5, 0)])) == ["POSITIVE", "NEGATIVE"]
    assert evaluate(np.array([1], np.int8), np.array([0.5])).accuracy == 1

    info = TableInfo(ngram_max=1, bits=4, terms="count", bias=0.0, slope=1.0, offset=0.0)
    scorer = LinearScorer(info, np.zeros(2**4, dtype=np.float32))
    assert scorer.predict(["even"])[0] == scorer.predict(["even", "odds"])[0][:1] == ["POSITIVE"]
    assert scorer.judge(["even"])[0].prediction == scorer.explain("even").prediction == "POSITIVE"

    calibrated = deepcopy(fitted_pipeline("nbsvm"))
    calibrated[-1].slope_ = calibrated[-1].offset_ = 0.0
    assert calibrated.predict(["even"]).tolist() == ["POSITIVE"]


def test_a_linear_model_answers_without_scikit_learn_and_mlflow(tmp_path: Path) -> None:
    save_model(fitted_pipeline("nbsvm"), tmp_path / "model", "# Card", {}, TEXTS[:1])
    compile_model(tmp_path)
    script = (
        "import sys; from pathlib import Path\n"
        "from pipelines.inference.loading import load_scorer\n"
        "print(load_scorer(Path(sys.argv[1])).predict(['superb', 'dull'])[0])\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    answer, modules = done.stdout.splitlines()
    assert answer == "['POSITIVE', 'NEGATIVE']"
    assert "numba" in modules.split()
    assert not set(modules.split()) & set(HEAVY)
