"""A subject that another package brings, really built and installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "centroids"
version = "1.0"

[project.entry-points."opinionlens.subjects"]
theirs = "centroids:theirs"
"""

MODULE = """\
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from pipelines.config.params import Vectorizer
from pipelines.text.vectorizer import TermWeighting
from pipelines.training.subjects import Subject


class Spread(BernoulliNB):
    pass


def build(parameters, seed):
    return make_pipeline(TermWeighting("binary", min_df=1), Spread(alpha=parameters["alpha"]))


theirs = Subject(
    name="theirs",
    summary="Bernoulli naive Bayes",
    defaults={"alpha": 1.0},
    build=build,
    suggest=lambda trial: {"alpha": 10.0 ** trial.suggest_int("exponent", -2, 1)},
    vectorizer=Vectorizer(ngram_max=1, bits=12),
    trusted_types=("centroids.Spread",),
)
clash = Subject(
    name="nbsvm", summary="", defaults={}, build=build, suggest=lambda trial: {}
)
no_subject = 3
"""

USE = """\
import sys
from pathlib import Path
from pipelines.training.fitting import fit_pipeline
from pipelines.training.persistence import load_pipeline, save_model
from pipelines.training.subjects import get_subject
from tests.unit.training.corpus import corpus, labelled

subject = get_subject("theirs")
data = labelled(200, subject.vectorizer)
pipeline = fit_pipeline(subject, subject.parameters({"alpha": 0.5}), 0, subject.vectorizer, data)
save_model(pipeline, Path(sys.argv[1]), "# Card", {}, ["a text"])
texts, labels = corpus(100, seed=1)
predicted = load_pipeline(Path(sys.argv[1])).predict(texts)
print(((predicted == "POSITIVE") == labels).mean() > 0.7)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as pip installs it."""
    source = tmp_path_factory.mktemp("package") / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "centroids.py").write_text(MODULE)
    target = source.parent / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation"]
    subprocess.run(
        [*pip, "--no-deps", "--no-index", "--target", str(target), str(source)],
        check=True,
        capture_output=True,
    )
    return target


def with_path(*folders: Path) -> dict[str, str]:
    path = os.pathsep.join([*map(str, folders), str(ROOT)])
    return os.environ | {"PYTHONPATH": path, "OLENS_ROOT": str(ROOT)}


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_it_trains_and_its_models_can_be_saved_and_loaded(installed: Path, tmp_path: Path) -> None:
    used = python(with_path(installed), "-c", USE, str(tmp_path / "model"))
    assert used.returncode == 0, used.stderr
    assert used.stdout == "True\n"

    # Where the package is not installed, its type is as unknown as any other.
    script = (
        "import sys; from pathlib import Path\n"
        "from pipelines.training.persistence import load_pipeline\n"
        "load_pipeline(Path(sys.argv[1]))"
    )
    refused = python(with_path(), "-c", script, str(tmp_path / "model"))
    assert "UnsafeModelError: model contains centroids.Spread" in refused.stderr


BROKEN = {
    "clash": "brings a subject called 'nbsvm', which there is already",
    "no_subject": "leads to int, not to a pipelines.training.subjects.Subject",
    "absent": "centroids:absent cannot be loaded",
}


def test_a_broken_package_is_an_error_only_for_who_asks_for_it(
    installed: Path, tmp_path: Path
) -> None:
    wrong = Path(shutil.copytree(installed, tmp_path / "wrong"))
    (declared,) = wrong.glob("*.dist-info/entry_points.txt")
    entries = "".join(f"{name} = centroids:{name}\n" for name in BROKEN)
    declared.write_text(f"[opinionlens.subjects]\n{entries}")
    script = (
        "from pipelines.errors import TrainingError\n"
        "from pipelines.training.subjects import all_subjects, broken_subjects, get_subject\n"
        "print(get_subject('nbsvm').name, len(all_subjects()), sorted(broken_subjects()))\n"
        "for name in broken_subjects():\n"
        "    try:\n"
        "        get_subject(name)\n"
        "    except TrainingError as error:\n"
        "        print(error)\n"
    )
    done = python(with_path(wrong), "-c", script)
    assert done.returncode == 0, done.stderr
    first, *errors = done.stdout.splitlines()
    assert first == f"nbsvm 8 {sorted(BROKEN)}"
    for name, message in BROKEN.items():
        entry = f"The entry point {name} = centroids:{name}"
        assert f"Skipped a subject. {entry}" in done.stderr
        (error,) = (line for line in errors if line.startswith(entry))
        assert message in error


def test_a_package_that_ends_the_process_is_broken_too(installed: Path, tmp_path: Path) -> None:
    wrong = Path(shutil.copytree(installed, tmp_path / "wrong"))
    (wrong / "centroids.py").write_text("import sys\nsys.exit('no licence')\n")
    script = "from pipelines.training.subjects import broken_subjects; print(broken_subjects())"
    done = python(with_path(wrong), "-c", script)
    assert done.returncode == 0
    assert "cannot be loaded: no licence" in done.stdout
