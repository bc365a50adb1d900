"""The base model from the outside: a first verdict without anything, served, registered, made."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from pipelines.datasets.preparing import preprocess
from pipelines.datasets.slicing import prepare_slices
from pipelines.errors import DataError
from pipelines.inference.base import base_sha256, open_base
from pipelines.inference.fetching import fetch_model
from pipelines.inference.loading import load_scorer
from pipelines.inference.making_base import BaseReport, make_base
from pipelines.inference.packing import PACKED_FILE
from pipelines.inference.registering import TABLE_TAG, log_base, register
from pipelines.params import Vectorizer, load_params
from pipelines.registry.tracking_store import TrackingStore
from pipelines.settings import Settings, load_settings
from pipelines.training.base_model import Recipe
from tests.integration.commands import CHECKOUT, OLENS, Olens, clean_environment
from tests.serving import install_linear, serve
from tests.support import require

COLD = "The food was cold and the waiter rude"

GOOD = ("great", "good", "wonderful", "tasty", "lovely")
BAD = ("awful", "bad", "terrible", "horrible", "poor")
THINGS = ("film", "soup", "flight", "plot", "bread", "seat", "cast", "tea", "crew", "song")

MODULES = """
import sys
from opinionlens_cli.main import run
sys.argv = ["olens", "predict", *sys.argv[1:]]
try:
    run()
except SystemExit as end:
    assert not end.code
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=root,
        env=clean_environment(COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


class TestFirstVerdict:
    def test_in_an_empty_folder_predict_answers_and_says_which_model_it_is(
        self, tmp_path: Path
    ) -> None:
        done = run(tmp_path, *OLENS, "predict", COLD)
        assert done.stdout.startswith("NEGATIVE")
        assert "%" in done.stdout
        assert done.stderr == "model: base (comes with OpinionLens)\n"

    def test_as_json(self, tmp_path: Path) -> None:
        (verdict,) = json.loads(run(tmp_path, *OLENS, "predict", COLD, "--json").stdout)
        assert verdict["prediction"] == "NEGATIVE"
        assert verdict["model"] == "base"
        assert 0.5 < verdict["confidence"] < 1

    def test_neither_mlflow_nor_scikit_learn_is_imported(self, tmp_path: Path) -> None:
        done = run(tmp_path, sys.executable, "-c", MODULES, COLD)
        assert done.stdout.startswith("NEGATIVE")
        modules = set(done.stderr.splitlines()[-1].split())
        assert "numba" in modules
        assert not modules & {"mlflow", "sklearn", "skops", "pandas", "spacy"}

    def test_the_service_answers_with_it(self, tmp_path: Path) -> None:
        with serve(tmp_path) as service:
            answer = httpx.post(
                f"{service.url}/api/v1/inference/predict", json={"text": COLD}
            ).json()
            page = httpx.get(service.url).text
        assert answer["prediction"] == "NEGATIVE"
        assert answer["model"] == "base"
        assert "base" in page


def test_it_answers_again_when_it_is_activated(tmp_path: Path, olens: Olens) -> None:
    models = ("--root", str(tmp_path), "models")
    install_linear(tmp_path / "models", 1, 5.0)
    assert olens(*models, "activate", "reviews-v1").code == 0
    assert run(tmp_path, *OLENS, "--root", ".", "predict", COLD).stdout.startswith("POSITIVE")

    assert olens(*models, "activate", "base").code == 0

    assert run(tmp_path, *OLENS, "--root", ".", "predict", COLD).stdout.startswith("NEGATIVE")
    shown = json.loads(olens(*models, "show", "--json").out)
    assert (shown["id"], shown["active"]) == ("base", True)
    kept = olens(*models, "remove", "base")
    assert kept.code == 1
    assert "comes with OpinionLens" in kept.message


class TestRegistering:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return load_settings(tmp_path)

    def test_it_is_registered_and_fetched_like_any_other_model(self, settings: Settings) -> None:
        version = register(settings, "opinions", "base", alias="champion")
        assert version.metrics["accuracy"] > 0.85

        fetched = fetch_model(settings, "opinions", activate=True)
        texts = [COLD, "I love it", "", "not bad at all 😀"]
        expected, probabilities = open_base().predict(texts)
        labels, found = load_scorer(fetched.path).predict(texts)
        assert labels == expected
        assert found == pytest.approx(probabilities, abs=1e-6)

    def test_it_is_logged_once_and_latest_goes_on_meaning_what_was_trained(
        self, settings: Settings
    ) -> None:
        logged = log_base(settings)
        assert log_base(settings) == logged
        store = TrackingStore(settings.mlflow)
        assert store.find(logged).tags[TABLE_TAG] == base_sha256()
        assert store.recent() == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two small data sets of made-up reviews that are declared and prepared like real ones."""
    root = tmp_path / "project"
    (root / "conf").mkdir(parents=True)
    (root / "data" / "raw").mkdir(parents=True)
    declared = {}
    for name, end in {"films": "We saw it today.", "meals": "We ate it there."}.items():
        rows = [
            f"{number}. The {thing} was {word} and {other}. {end},{label}"
            for label, words in (("pos", GOOD), ("neg", BAD))
            for number, thing in enumerate(THINGS)
            for word in words
            for other in words
        ]
        (root / "data" / "raw" / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
        labels = {"negative": ["neg"], "positive": ["pos"]}
        declared[name] = {"path": f"{name}.csv", "text": "text", "label": "label", "labels": labels}
    (root / "conf" / "params.yaml").write_text(yaml.safe_dump({"datasets": declared}))
    settings, params = load_settings(root), load_params(root)
    preprocess(settings, params, list(params.datasets))
    prepare_slices(settings, params)
    return root


class TestMaking:
    @pytest.fixture(autouse=True)
    def lexicon(self) -> None:
        require(importlib.util.find_spec("vaderSentiment"), "vaderSentiment is not installed")

    def make(self, root: Path, folder: Path, **changes: object) -> BaseReport:
        recipe = Recipe(vectorizer=Vectorizer(ngram_max=2, bits=16), kept=20_000)
        return make_base(load_settings(root), load_params(root), folder, recipe)

    def test_the_same_data_give_the_same_files(self, project: Path, tmp_path: Path) -> None:
        one = self.make(project, tmp_path / "one")
        two = self.make(project, tmp_path / "two")
        names = {path.name for path in one.folder.iterdir()}
        assert names == {PACKED_FILE, "model_card.md", "metrics.json"}
        for name in names:
            assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes(), name
        assert one.sha256 == two.sha256

    def test_it_is_looked_at_from_all_sides(self, project: Path, tmp_path: Path) -> None:
        report = self.make(project, tmp_path / "out")
        assert set(report.left_out) == {"films", "meals"}
        assert {"films", "meals", "everyday", "everyday: last look"} == set(report.lexicon)
        assert {"test", "films", "meals", "everyday"} <= set(report.metrics)
        assert report.metrics["test"].accuracy > 0.9
        assert report.left_out["films"].accuracy > 0.9
        labels, _ = load_scorer(report.folder).predict(
            ["A great and lovely hotel", "A bad, poor hotel"]
        )
        assert labels == ["POSITIVE", "NEGATIVE"]

    def test_no_text_stands_in_its_files(self, project: Path, tmp_path: Path) -> None:
        report = self.make(project, tmp_path / "out")
        for path in report.folder.iterdir():
            content = path.read_bytes()
            assert b"horrible" not in content
            assert b"We ate it" not in content

    def test_the_synthetic_sample_is_refused(self, tmp_path: Path, olens: Olens) -> None:
        root = tmp_path / "sample"
        (root / "data").mkdir(parents=True)
        (root / "conf").symlink_to(CHECKOUT / "conf")
        (root / "data" / "sample").symlink_to(CHECKOUT / "data" / "sample")
        settings, params = load_settings(root), load_params(root)
        preprocess(settings, params, list(params.datasets), sample=True)
        out = tmp_path / "out"
        with pytest.raises(DataError, match="synthetic sample"):
            make_base(settings, params, out)
        result = olens("--root", str(root), "base-model", "--out", str(out))
        assert result.code == 1
        assert "synthetic sample" in result.message
        assert not out.exists()
