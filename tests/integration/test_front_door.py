"""`import opinionlens`: load, predict, explain, in Python and in a notebook."""

from __future__ import annotations

import copy
import doctest
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import pandas
import polars as pl
import pyarrow as pa
import pytest
from nbclient import NotebookClient

import opinionlens
from pipelines.errors import InputError, ModelNotFoundError
from pipelines.workflows.open_model import OpenedModel
from tests.fitted import fit_tiny
from tests.integration.commands import CHECKOUT, clean_environment
from tests.support import PATIENCE

TEXTS = ["I love it", "Cold food, rude waiter"]
HEAVY = (
    "dvc litestar mlflow msgspec numba numpy optuna pandas polars pyarrow rich scipy sklearn skops "
    "spacy typer uvicorn yaml"
)


@pytest.fixture(scope="module")
def model() -> opinionlens.Model:
    return opinionlens.load("base")


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, opinionlens\n"
        f"loaded = {set(HEAVY.split())!r} & {{name.partition('.')[0] for name in sys.modules}}\n"
        "assert not loaded, loaded\n"
        "ours = [name for name in sys.modules if name.startswith('pipelines')]\n"
        "assert not ours, ours\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_base_model_needs_no_project_and_neither_mlflow_nor_scikit_learn(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, opinionlens\n"
        "model = opinionlens.load()\n"
        "assert model.id == 'base'\n"
        "assert model.predict('I love it') == 'POSITIVE'\n"
        "assert not {'mlflow', 'sklearn', 'typer', 'litestar'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=clean_environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(opinionlens, verbose=False).failed == 0


def test_one_text_gives_one_verdict(model: opinionlens.Model) -> None:
    verdict = model.predict("Cold food, rude waiter")
    assert verdict == verdict.prediction == "NEGATIVE"
    assert type(verdict.prediction) is str
    assert 0.5 <= verdict.confidence <= 1


@pytest.mark.parametrize("kind", ["list", "tuple", "generator", "dict keys", "numpy", "polars"])
def test_many_texts_give_many_verdicts(model: opinionlens.Model, kind: str) -> None:
    many = {
        "list": TEXTS,
        "tuple": tuple(TEXTS),
        "generator": (text for text in TEXTS),
        "dict keys": dict.fromkeys(TEXTS).keys(),
        "numpy": np.array(TEXTS),
        "polars": pl.Series(TEXTS),
    }[kind]
    assert model.predict(many) == ["POSITIVE", "NEGATIVE"]


@pytest.mark.parametrize("kind", ["series", "object series", "categorical"])
def test_a_pandas_column(model: opinionlens.Model, kind: str) -> None:
    column = pandas.DataFrame({"text": TEXTS}, index=[7, 3])["text"]
    if kind != "series":
        column = column.astype(kind.partition(" ")[0].replace("categorical", "category"))
    assert model.predict(column) == ["POSITIVE", "NEGATIVE"]


@pytest.mark.parametrize("kind", ["string", "large_string", "chunked", "dictionary"])
def test_an_arrow_array(model: opinionlens.Model, kind: str) -> None:
    array = {
        "string": pa.array(TEXTS),
        "large_string": pa.array(TEXTS, pa.large_string()),
        "chunked": pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
        "dictionary": pa.array(TEXTS).dictionary_encode(),
    }[kind]
    assert model.predict(array) == ["POSITIVE", "NEGATIVE"]


def test_probabilities_are_columns_in_the_order_of_the_classes(model: opinionlens.Model) -> None:
    probabilities = model.predict_proba(TEXTS)
    assert probabilities.shape == (2, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert model.classes == ("NEGATIVE", "POSITIVE")
    best = [model.classes[column] for column in probabilities.argmax(axis=1)]
    verdicts = model.predict(TEXTS)
    assert best == verdicts
    assert [verdict.confidence for verdict in verdicts] == probabilities.max(axis=1).tolist()
    assert model.predict_proba("I love it").shape == (1, 2)


def test_no_texts_give_no_verdicts(model: opinionlens.Model) -> None:
    assert model.predict([]) == []
    assert model.predict_proba(iter([])).shape == (0, 2)


@pytest.mark.parametrize(
    "wrong", [None, 3, b"bytes", {"text": "a"}, ["a", None], ["a", float("nan")], [b"a"]], ids=repr
)
def test_values_that_are_not_texts_are_an_error(model: opinionlens.Model, wrong: object) -> None:
    for ask in (model.predict, model.predict_proba):
        with pytest.raises(InputError):
            ask(wrong)  # type: ignore[operator]
    with pytest.raises(InputError):
        model.explain(wrong)  # type: ignore[arg-type]


def test_a_model_that_is_not_linear_takes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.inference.pipeline_scorer import PipelineScorer

    forest = opinionlens.Model(OpenedModel("forest", PipelineScorer(fit_tiny("random_forest"))))
    texts = ["a great, lovely film", "awful and rude"]
    expected = ["POSITIVE", "NEGATIVE"]
    for many in (texts, tuple(texts), pl.Series(texts), np.array(texts), pa.array(texts)):
        assert forest.predict(many) == expected
    assert forest.predict(iter([])) == []
    assert "approximate" in repr(forest.explain(texts[0]))


def test_verdicts_count_and_travel_like_labels(model: opinionlens.Model) -> None:
    verdicts = model.predict(TEXTS)
    assert Counter(verdicts) == {"POSITIVE": 1, "NEGATIVE": 1}
    for copied in (copy.deepcopy(verdicts), pickle.loads(pickle.dumps(verdicts))):
        assert copied == verdicts
        assert copied[0].confidence == verdicts[0].confidence
    assert repr(verdicts[0]).startswith("Verdict('POSITIVE', confidence=")


def test_an_explanation_shows_itself(model: opinionlens.Model) -> None:
    text = "Cold food, rude waiter. <script>"
    explained = model.explain(text)
    assert explained.prediction == model.predict(text)
    assert explained.text[explained.words[0].start : explained.words[0].end] == "Cold"
    assert re.search(r"\[-+rude\]", repr(explained))
    html = explained._repr_html_()
    assert re.search(r'<mark class="minus-\d" title="-\d\.\d+">rude<', html)
    assert "<script>" not in html


@pytest.mark.parametrize("name", ["no-such-model", "no/3", "no@champion", "./no", "no-v3"])
def test_a_model_that_is_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in [name for name in os.environ if name.startswith("OLENS_")]:
        monkeypatch.delenv(variable)
    with pytest.raises(ModelNotFoundError):
        opinionlens.load(name)


def test_the_whole_path_of_a_model_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.serving import install_linear

    entry = install_linear(tmp_path, 3, -5.0).path
    assert opinionlens.load(entry).predict("I love it") == "NEGATIVE"
    monkeypatch.chdir(tmp_path)
    assert opinionlens.load(Path(entry.name)).predict("I love it") == "NEGATIVE"


def test_a_notebook_shows_the_explanation(tmp_path: Path) -> None:
    notebook = nbformat.read(CHECKOUT / "docs" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    environment = clean_environment(
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        JUPYTER_RUNTIME_DIR=str(tmp_path / "runtime"),
        IPYTHONDIR=str(tmp_path / "ipython"),
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(environment):
            patch.delenv(name)
        NotebookClient(
            notebook, timeout=int(PATIENCE), resources={"metadata": {"path": str(tmp_path)}}
        ).execute(env=environment)

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [cell["outputs"][0]["data"] for cell in cells]
    assert shown[0]["text/plain"] == "<opinionlens.Model base>"
    assert shown[1]["text/plain"].startswith("(Verdict('NEGATIVE'")
    assert shown[3]["text/plain"].startswith("(('NEGATIVE', 'POSITIVE'),")
    html = shown[4]["text/html"]
    assert '<div class="olens">' in html
    assert re.search(r'<mark class="minus-\d" title="-\d\.\d+">rude<', html)
    assert re.search(r'<mark class="plus-\d" title="\+\d\.\d+">lovely<', html)
    assert re.search(r"\[\++lovely\]", shown[4]["text/plain"])
    assert abs(float(shown[5]["text/plain"].removeprefix("np.float64(").rstrip(")"))) < 1e-9
