"""Models on disk: what is written can be read, and what is not ours is refused."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
import yaml
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    PolynomialFeatures,
)
from sklearn.svm import LinearSVC

from pipelines.errors import CorruptModelError, UnsafeModelError
from pipelines.text import vectorizer
from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting
from pipelines.training.evaluation import evaluate
from pipelines.training.persistence import load_pipeline, save_model, trusted_types
from tests.unit.training.corpus import corpus
from tests.unit.training.fitted import SUBJECTS, fitted_pipeline

TEXTS, LABELS = corpus(60, seed=5)
VERDICTS = ["POSITIVE" if label else "NEGATIVE" for label in LABELS]
METRICS = {"test": evaluate(LABELS, np.linspace(0.1, 0.9, 60))}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(fitted_pipeline("nbsvm"), folder, "# A card\n", METRICS, TEXTS[:2])
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_comes_back_as_it_was(subject: str, tmp_path: Path) -> None:
    pipeline = fitted_pipeline(subject)
    save_model(pipeline, tmp_path / "model", "# A card\n", METRICS, TEXTS[:2])
    loaded = load_pipeline(tmp_path / "model")
    np.testing.assert_allclose(
        loaded.predict_proba(TEXTS), pipeline.predict_proba(TEXTS), rtol=1e-12
    )
    assert loaded.predict(TEXTS).tolist() == pipeline.predict(TEXTS).tolist()


def test_the_files_beside_a_model(saved: Path) -> None:
    assert (saved / "model_card.md").read_text() == "# A card\n"
    metrics = json.loads((saved / "metrics.json").read_text())
    assert metrics["test"]["n"] == 60
    described = yaml.safe_load((saved / "MLmodel").read_text())
    assert described["flavors"]["sklearn"]["serialization_format"] == "skops"
    assert json.loads(described["signature"]["inputs"])[0]["type"] == "string"
    assert (saved / "input_example.json").is_file()
    assert not list(saved.rglob("*.pkl"))
    assert any(line.startswith("opinionlens==") for line in requirements(saved))


def requirements(folder: Path) -> list[str]:
    return (folder / "requirements.txt").read_text().splitlines()


class TestRefusesToRunCode:
    def test_a_type_that_is_not_on_the_list(self, copy: Path) -> None:
        skops.io.dump(shell_pipeline(), copy / "model.skops")
        with pytest.raises(UnsafeModelError, match=r"posix\.system.*Subject\.trusted_types"):
            load_pipeline(copy)

    def test_a_model_cannot_declare_itself_trusted(self, copy: Path) -> None:
        skops.io.dump(shell_pipeline(), copy / "model.skops")
        described = yaml.safe_load((copy / "MLmodel").read_text())
        described["flavors"]["sklearn"]["skops_trusted_types"].append("posix.system")
        (copy / "MLmodel").write_text(yaml.safe_dump(described))
        with pytest.raises(UnsafeModelError, match=r"posix\.system"):
            load_pipeline(copy)

    def test_types_are_checked_before_any_object_is_built(self, copy: Path) -> None:
        skops.io.dump({"first": Trap(), "then": fitted_pipeline("nbsvm")}, copy / "model.skops")
        Trap.built = 0
        with pytest.raises(UnsafeModelError, match="Trap"):
            load_pipeline(copy)
        assert Trap.built == 0

    @pytest.mark.parametrize("name", ["model.pkl", "model.pickle"])
    def test_a_pickle(self, copy: Path, name: str) -> None:
        (copy / "model.skops").unlink()
        (copy / name).write_bytes(pickle.dumps(fitted_pipeline("nbsvm")))
        with pytest.raises(UnsafeModelError, match=r"pickle can run any code.*log it again"):
            load_pipeline(copy)

    def test_a_pickle_that_is_called_skops(self, copy: Path) -> None:
        (copy / "model.skops").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(CorruptModelError):
            load_pipeline(copy)
        assert not Bomb.exploded

    def test_the_list_is_ours(self) -> None:
        assert all(name.startswith(("pipelines.", "sklearn.")) for name in trusted_types())


class TestRefusesWhatIsDearToRun:
    """skops trusts every estimator of scikit-learn."""

    @pytest.mark.parametrize(
        ("step", "name"),
        [
            (PolynomialFeatures(2), "PolynomialFeatures"),
            (FunctionTransformer(np.exp), "FunctionTransformer"),
            (Nystroem(n_components=2), "Nystroem"),
            (KBinsDiscretizer(2, encode="onehot"), "KBinsDiscretizer"),
        ],
        ids=["polynomials", "a function", "a kernel", "bins"],
    )
    def test_estimators_that_make_much_of_little(
        self, tmp_path: Path, step: BaseEstimator, name: str
    ) -> None:
        topics = TruncatedSVD(2)
        pipeline = make_pipeline(TfidfVectorizer(), topics, step, LogisticRegression())
        skops.io.dump(pipeline.fit(TEXTS, VERDICTS), tmp_path / "model.skops")
        with pytest.raises(UnsafeModelError, match=rf"{name}.*Subject\.trusted_types"):
            load_pipeline(tmp_path)

    def test_a_model_that_could_not_be_loaded_is_not_saved(self, tmp_path: Path) -> None:
        steps = TruncatedSVD(2), PolynomialFeatures(2), LogisticRegression()
        pipeline = make_pipeline(TfidfVectorizer(), *steps).fit(TEXTS, VERDICTS)
        with pytest.raises(UnsafeModelError, match=r"The model contains sklearn\..*Polynomial"):
            save_model(pipeline, tmp_path / "model", "# A card\n", METRICS, TEXTS[:2])

    @pytest.mark.parametrize("vectorizer", [CountVectorizer, HashingVectorizer, TfidfVectorizer])
    def test_usual_pipelines_of_scikit_learn_are_loaded(
        self, tmp_path: Path, vectorizer: type
    ) -> None:
        pipeline = make_pipeline(
            make_union(vectorizer(), vectorizer(analyzer="char_wb", ngram_range=(1, 4))),
            CalibratedClassifierCV(LinearSVC(tol=0.1), method="isotonic", cv=2),
        )
        skops.io.dump(pipeline.fit(TEXTS, VERDICTS), tmp_path / "model.skops")
        loaded = load_pipeline(tmp_path)
        assert loaded.predict_proba(TEXTS).tolist() == pipeline.predict_proba(TEXTS).tolist()


class Trap:
    built = 0

    def __setstate__(self, state: object) -> None:
        Trap.built += 1


def explode() -> None:
    Bomb.exploded = True


class Bomb:
    exploded = False

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return explode, ()


def shell_pipeline() -> Pipeline:
    return make_pipeline(FunctionTransformer(os.system), LogisticRegression())


class TestFormat:
    """What saved models are made of may not move; see `pipelines.training.persistence`."""

    def test_a_model_of_an_earlier_version_is_loaded_or_refused_with_advice(self) -> None:
        """Saved by commit 25110ec: `nbsvm` with unigrams in 256 buckets."""
        answers, message = ["POSITIVE", "NEGATIVE"], ""
        try:
            loaded = load_pipeline(Path(__file__).with_name("saved_by_25110ec"))
            answers = loaded.predict(["great lovely good film", "bad rude cold food"]).tolist()
        except CorruptModelError as error:
            message = str(error)
        assert answers == ["POSITIVE", "NEGATIVE"]
        assert message == "" or "train the model again" in message

    def test_the_types_are_where_saved_models_look_for_them(self) -> None:
        for name in trusted_types():
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name


class TestDamagedFiles:
    def test_a_model_that_was_trained_with_another_definition_of_words(
        self, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as before:
            before.setattr(vectorizer, "TOKENS_VERSION", 1)
            skops.io.dump(fitted_pipeline("nbsvm"), copy / "model.skops")
        with pytest.raises(CorruptModelError, match=r"version 1 of .* words.*train .* again"):
            load_pipeline(copy)

    def test_no_model_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(CorruptModelError, match=r"holds no model\.skops"):
            load_pipeline(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x00" * 1000, b"not a zip" * 99])
    def test_something_else(self, copy: Path, content: bytes) -> None:
        (copy / "model.skops").write_bytes(content)
        with pytest.raises(CorruptModelError, match=r"model\.skops cannot be read"):
            load_pipeline(copy)

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 0.9999])
    def test_a_truncated_file(self, copy: Path, share: float) -> None:
        path = copy / "model.skops"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CorruptModelError, match=r"model\.skops cannot be read"):
            load_pipeline(copy)

    def test_flipped_bytes_are_an_error_of_ours_or_harmless(self, copy: Path) -> None:
        path = copy / "model.skops"
        whole = path.read_bytes()
        draw = random.Random(0)
        refused = 0
        for _ in range(40):
            damaged = bytearray(whole)
            for _ in range(20):
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            try:
                load_pipeline(copy)
            except (CorruptModelError, UnsafeModelError):
                refused += 1
        assert refused >= 35

    @pytest.mark.parametrize("schema", ["", "{", "[]", "{}", '{"__class__": "int"}', "null"])
    def test_a_broken_schema(self, copy: Path, schema: str) -> None:
        with zipfile.ZipFile(copy / "model.skops", "w") as archive:
            archive.writestr("schema.json", schema)
        with pytest.raises(CorruptModelError):
            load_pipeline(copy)

    @pytest.mark.parametrize(
        "model",
        [
            {"a": 1},
            LogisticRegression(),
            make_pipeline(HashedNgramVectorizer(), LogisticRegression()),
            make_pipeline(HashedNgramVectorizer(1, 10), RidgeClassifier()).fit(TEXTS, LABELS),
            make_pipeline(HashedNgramVectorizer(1, 10), LogisticRegression()).fit(TEXTS, LABELS),
            make_pipeline(HashedNgramVectorizer(1, 10), TermWeighting("tfidf")).fit(TEXTS),
        ],
        ids=["dict", "no pipeline", "not fitted", "no probability", "other labels", "no classes"],
    )
    def test_a_model_that_cannot_serve(self, copy: Path, model: object) -> None:
        skops.io.dump(model, copy / "model.skops")
        with pytest.raises(CorruptModelError, match="not a fitted pipeline from texts"):
            load_pipeline(copy)
