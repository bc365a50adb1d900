"""The base model from the outside: a first verdict without anything, served, registered, made."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipelines.base_model.making import BaseReport, make_base, make_base3
from pipelines.base_model.opening import base_sha256, open_base
from pipelines.base_model.recipe import Recipe
from pipelines.base_model.sources import AFINN, BING_LIU, CORPUS
from pipelines.base_model.three import NeutralRecipe
from pipelines.config.params import Params, Vectorizer, load_params
from pipelines.config.settings import Settings, load_settings
from pipelines.errors import DataError
from pipelines.inference.loading import load_scorer
from pipelines.inference.packing import PACKED_FILE
from pipelines.registry.logged_models import TrackingStore
from pipelines.training.text_profile import PROFILE_FILE
from pipelines.workflows.fetch import fetch_model
from pipelines.workflows.register import TABLE_TAG, log_base, register
from tests.integration.commands import Olens, clean_environment
from tests.serving import install_linear
from tests.support import require

COLD = "The food was cold and the waiter rude"

RECIPE = Recipe(vectorizer=Vectorizer(ngram_max=2, bits=16), kept=20_000, folds=2)
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


class TestFirstVerdict:
    def test_in_an_empty_folder_predict_answers_without_mlflow_and_scikit_learn(
        self, tmp_path: Path
    ) -> None:
        done = subprocess.run(
            [sys.executable, "-c", MODULES, COLD],
            cwd=tmp_path,
            env=clean_environment(COLUMNS="200"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("NEGATIVE")
        assert "%" in done.stdout
        said, modules = done.stderr.splitlines()
        assert said == "model: base (comes with OpinionLens)"
        assert "numba" in modules.split()
        assert not set(modules.split()) & {"mlflow", "sklearn", "skops", "pandas"}

    def test_as_json(self, tmp_path: Path, olens: Olens) -> None:
        done = olens("--root", str(tmp_path), "predict", COLD, "--json")
        (verdict,) = json.loads(done.out)
        assert verdict["prediction"] == "NEGATIVE"
        assert verdict["model"] == "base"
        assert 0.5 < verdict["confidence"] < 1


def test_it_answers_again_when_it_is_activated(tmp_path: Path, olens: Olens) -> None:
    models = ("--root", str(tmp_path), "models")
    install_linear(tmp_path / "models", 1, 5.0)
    assert olens(*models, "activate", "reviews-v1").code == 0
    assert olens("--root", str(tmp_path), "predict", COLD).out.startswith("POSITIVE")

    assert olens(*models, "activate", "base").code == 0

    assert olens("--root", str(tmp_path), "predict", COLD).out.startswith("NEGATIVE")
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


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that declares two small data sets of made-up reviews, and a small corpus."""
    root = tmp_path_factory.mktemp("base") / "project"
    real = root.parent / "real"
    (root / "conf").mkdir(parents=True)
    (real / "raw").mkdir(parents=True)
    declared = {}
    for name, end in {"films": "We saw it today.", "meals": "We ate it there."}.items():
        rows = [f"{text},{label}" for text, label in reviews(end)]
        (real / "raw" / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
        labels = {"negative": ["negative"], "positive": ["positive"]}
        declared[name] = {"path": f"{name}.csv", "text": "text", "label": "label", "labels": labels}
    (root / "conf" / "params.yaml").write_text(yaml.safe_dump({"datasets": declared}))
    write_corpus(real)
    return root


def reviews(end: str) -> list[tuple[str, str]]:
    return [
        (f"{number}. The {thing} was {word} and {other}. {end}", label)
        for label, words in (("positive", GOOD), ("negative", BAD))
        for number, thing in enumerate(THINGS)
        for word in words
        for other in words
    ]


def facts(source: str) -> list[tuple[str, str]]:
    hours = ("noon", "nine", "ten", "one", "two", "three", "four", "five", "six", "seven")
    return [
        (f"{number}. The {thing} of the {source} came at {hour}. We saw it there.", "neutral")
        for number, thing in enumerate(THINGS)
        for hour in hours
    ]


def write_corpus(real: Path) -> None:
    rows = [
        (text, label, domain, source, "CC BY 4.0")
        for source, domain in {"trips": "travel", "beds": "travel", "apps": "software"}.items()
        for text, label in [*reviews(f"So much for {source}."), *facts(source)]
    ]
    columns = ["text", "label", "domain", "source", "licence"]
    for path, content in {
        AFINN: "good\t3\nbad\t-3\n",
        BING_LIU[1.0]: "; a comment\n\ntasty\n",
        BING_LIU[-1.0]: "poor\n",
    }.items():
        (real / path).parent.mkdir(parents=True, exist_ok=True)
        (real / path).write_text(content)
    corpus = pl.DataFrame(rows, schema=columns, orient="row")
    corpus.with_columns(rating=None).write_parquet(real / CORPUS)


def make(project: Path, folder: Path, *without: str) -> BaseReport:
    require(importlib.util.find_spec("vaderSentiment"), "vaderSentiment is not installed")
    return make_base(*read(project), folder, without=without, recipe=RECIPE)


def read(project: Path) -> tuple[Settings, Params, Path]:
    return load_settings(project), load_params(project), project.parent / "real"


@pytest.fixture(scope="module")
def made(project: Path) -> BaseReport:
    return make(project, project.parent / "made")


class TestMaking:
    def test_the_same_data_give_the_same_files(
        self, project: Path, made: BaseReport, tmp_path: Path
    ) -> None:
        again = make(project, tmp_path / "again")
        names = {path.name for path in made.folder.iterdir()}
        described = {"model_card.md", "metrics.json", "left_out.json", "check.json"}
        described |= {PROFILE_FILE}
        assert names == {PACKED_FILE, *described}
        for name in names:
            assert (made.folder / name).read_bytes() == (again.folder / name).read_bytes(), name
        assert made.sha256 == again.sha256

    def test_its_report_has_all_comparisons(self, made: BaseReport) -> None:
        assert [some.domain for some in made.left_out] == ["films", "meals", "software", "travel"]
        assert {"everyday", "everyday: last look"} == set(made.lexicon)
        assert {"test", "films", "meals", "everyday"} <= set(made.metrics)
        assert made.metrics["test"].accuracy > 0.9
        assert all(some.accuracy > 0.9 for some in made.left_out)
        labels, _ = load_scorer(made.folder).predict(
            ["A great and lovely hotel", "A bad, poor hotel"]
        )
        assert labels == ["POSITIVE", "NEGATIVE"]

    def test_base3_tells_facts_from_opinions(
        self, project: Path, made: BaseReport, tmp_path: Path
    ) -> None:
        neutral = NeutralRecipe(kept=20_000, stride=1)
        one, two = (
            make_base3(*read(project), made.folder, tmp_path / name, recipe=RECIPE, neutral=neutral)
            for name in ("one", "two")
        )
        assert one == two
        left_out = {some.domain: some for some in one.left_out}
        assert left_out.keys() == {"software", "travel"}
        assert all(some.f1_macro > 0.9 for some in left_out.values())
        labels, _ = load_scorer(tmp_path / "one").predict(
            ["A great and lovely hotel", "A bad, poor hotel", "The bread came at noon."]
        )
        assert labels == ["POSITIVE", "NEGATIVE", "NEUTRAL"]
        card = (tmp_path / "one" / "model_card.md").read_text()
        assert f"| travel | people | {left_out['travel'].n:,} |" in card
        assert "| trips | travel | people | 100 | CC BY 4.0 |" in card
        for path in (tmp_path / "one").iterdir():
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name

    def test_the_card_names_every_source_with_its_rows_and_terms(self, made: BaseReport) -> None:
        card = (made.folder / "model_card.md").read_text()
        for source, domain in {"trips": "travel", "beds": "travel", "apps": "software"}.items():
            assert f"| {source} | {domain} | 250 | 250 | CC BY 4.0 |" in card
        assert "| films | films |" in card

    def test_a_source_or_a_domain_can_be_left_out(self, project: Path, tmp_path: Path) -> None:
        report = make(project, tmp_path / "out", "trips", "films")
        assert [some.domain for some in report.left_out] == ["meals", "software", "travel"]
        card = (report.folder / "model_card.md").read_text()
        assert "| beds |" in card
        assert "| trips |" not in card
        assert "| films | films |" not in card

    def test_leaving_out_an_unknown_source_is_an_error(self, project: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no source or domain 'trip'; there are: apps, beds"):
            make(project, tmp_path / "out", "trip")
        assert not (tmp_path / "out").exists()

    def test_the_packaged_model_is_not_replaced_by_one_without_a_source(self, olens: Olens) -> None:
        result = olens("base-model", "--without", "tweets")
        assert result.code == 2
        assert "--out" in result.message

    def test_no_text_stands_in_its_files(self, made: BaseReport) -> None:
        for path in made.folder.iterdir():
            content = path.read_bytes()
            assert b"horrible" not in content
            assert b"We ate it" not in content


class TestRealData:
    def test_without_a_folder_it_says_which_variable_to_set(
        self, tmp_path: Path, olens: Olens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OLENS_REAL_DATA", raising=False)
        result = olens("base-model", "--out", str(tmp_path / "out"))
        assert result.code == 1
        assert "set OLENS_REAL_DATA" in result.message
        assert not (tmp_path / "out").exists()

    def test_a_missing_file_is_named(
        self, tmp_path: Path, olens: Olens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OLENS_REAL_DATA", str(tmp_path))
        result = olens("base-model", "--out", str(tmp_path / "out"))
        assert result.code == 1
        assert "corpus.parquet" in result.message
