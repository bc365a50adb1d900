"""`olens data` and `olens preprocess` as their users meet them: output, exit code, files."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl
import pytest

from pipelines.config.params import load_params
from pipelines.datasets.loading import load_slices, load_split, stale
from pipelines.text.normalise import normalise
from tests.integration.commands import CHECKOUT, OLENS, Olens
from tests.support import PATIENCE, real_data
from tests.unit.datasets.project import Project, csv_of, rows_of
from tests.unit.datasets.test_preparing import FAULTS


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("OLENS_ROOT", str(tmp_path))
    return Project(tmp_path)


def declare_what_is_shipped(project: Project) -> None:
    shutil.copy(CHECKOUT / "conf" / "params.yaml", project.root / "conf")


def test_preprocess_prints_what_it_did(project: Project, olens: Olens) -> None:
    project.write(csv_of([*rows_of(200), *rows_of(7), ("", "pos")]))

    done = olens("preprocess")

    assert done.code == 0
    assert "CSV, separated by commas, UTF-8" in done.message
    assert "Warning" not in done.err
    assert "7 duplicate" in done.out
    assert "1 blank text" in done.out
    assert "balanced" in done.out
    assert [path.name for path in project.prepared.iterdir()] == ["reviews"]
    assert (project.slices / "balanced.parquet").is_file()


def test_doubts_finds_wrong_labels_of_a_data_set_and_of_a_file(
    project: Project, olens: Olens
) -> None:
    pytest.importorskip("cleanlab")
    words = {"pos": ("great", "lovely", "superb"), "neg": ("awful", "broken", "terrible")}
    rows = [
        (f"Number {i} of all our things is {words[label][i % 3]}, I say so", label)
        for i in range(120)
        for label in (("pos", "neg")[i % 2],)
    ]
    wrong = {10: "neg", 61: "pos"}
    labels = [wrong.get(i, label) for i, (_, label) in enumerate(rows)]
    content = csv_of([(text, label) for (text, _), label in zip(rows, labels, strict=True)])
    path = project.write(content)
    output = project.root / "doubts.csv"

    done = olens("data", "doubts", "reviews", "--output", str(output))
    assert done.code == 0, done.err
    assert "120 texts: 2 probably labelled wrong" in done.out
    assert f"label {output}" in "".join((done.out + done.err).splitlines())
    found = pl.read_csv(output)
    assert found.columns == ["text", "label", "suggestion", "reason", "source"]
    assert set(found["source"]) == {"reviews:12", "reviews:63"}
    assert set(found["text"]) == {rows[i][0] for i in wrong}

    of_file = json.loads(olens("data", "doubts", str(path), "--json").out)
    assert {doubt["line"] for doubt in of_file["doubts"]} == {12, 63}
    assert olens("data", "doubts", "reviews", "--drop", "pos").code == 2
    assert "Declared are: reviews" in olens("data", "doubts", "nothing").message


def test_preprocess_as_json(project: Project, olens: Olens) -> None:
    project.write(csv_of(rows_of(200)))

    done = json.loads(olens("preprocess", "--json").out)

    (report,) = done["datasets"]
    assert report == json.loads((project.prepared / "reviews" / "report.json").read_text())
    assert sum(sum(counts.values()) for counts in report["splits"].values()) == 200
    assert done["slices"]["slices"]["reviews"] == report["splits"]["test"]


def test_preprocess_in_parts_is_preprocess(project: Project, olens: Olens) -> None:
    project.declare(one={"path": "one.csv"}, two={"path": "two.csv"})
    project.write(csv_of(rows_of(200)), "one.csv")
    project.write(csv_of(rows_of(300, prefix="two")), "two.csv")
    assert olens("preprocess").code == 0
    whole = project.snapshot()

    for part in (["one"], ["two"], ["--slices"]):
        for file in project.prepared.rglob("*.parquet"):
            if part[0].strip("-") in str(file.parent):
                file.unlink()
        assert olens("preprocess", *part).code == 0

    assert project.snapshot() == whole


def test_preprocess_of_the_sample_is_announced(project: Project, olens: Olens) -> None:
    project.write(csv_of(rows_of(200)), sample=True)
    without = olens("preprocess")
    assert (without.code, "no such file" in without.err) == (1, True)

    done = olens("preprocess", "--sample")

    assert done.code == 0
    assert "synthetic sample" in " ".join(done.out.split())


def test_small_data_sets_are_warned_about(project: Project, olens: Olens) -> None:
    project.write(csv_of(rows_of(4)))

    done = olens("preprocess")

    assert done.code == 0
    assert "Warning: reviews: the test split has no" in done.err


def test_slices_stand_alone(project: Project, olens: Olens) -> None:
    done = olens("preprocess", "--slices", "reviews")

    assert done.code == 2
    assert "--slices" in done.err
    assert olens("preprocess", "--slices").code == 1


@pytest.mark.parametrize("spoil", FAULTS)
@pytest.mark.parametrize("command", [["preprocess"], ["preprocess", "reviews", "--json"]])
def test_wrong_input_is_one_clear_message(
    spoil: Callable[[Project], str], command: list[str], project: Project, olens: Olens
) -> None:
    message = spoil(project)

    done = olens(*command)

    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    assert pl.Series([done.err]).str.contains(message).item()
    assert not project.snapshot()


@pytest.mark.parametrize("spoil", FAULTS)
def test_verify_shows_what_would_stop_preprocess(
    spoil: Callable[[Project], str], project: Project, olens: Olens
) -> None:
    spoil(project)

    done = olens("data", "verify")

    assert done.code == 1
    assert "stops with this error" in done.out
    assert done.err == ""


def test_verify_of_good_files(project: Project, olens: Olens) -> None:
    project.declare(one={}, two={})
    project.write(csv_of([*rows_of(50), *rows_of(3)]))

    done = olens("data", "verify", "two")
    as_json = json.loads(olens("data", "verify", "--json").out)

    assert done.code == 0
    assert "rows that repeat a text" in done.out
    assert [(found["dataset"], found["usable"]) for found in as_json] == [
        ("one", True),
        ("two", True),
    ]
    assert as_json[0]["findings"][0]["count"] == 3


def test_verify_of_an_undeclared_name(project: Project, olens: Olens) -> None:
    done = olens("data", "verify", "revews")

    assert done.code == 1
    assert "Did you mean 'reviews'?" in done.err


def test_list(project: Project, olens: Olens) -> None:
    project.declare(here={}, gone={"path": "gone.csv"})
    project.write(csv_of(rows_of(1_201)))

    done = olens("data", "list")
    here, gone = json.loads(olens("data", "list", "--json").out)

    assert done.code == 0
    assert "1,201" in done.out
    assert f"Missing: {project.raw / 'gone.csv'}" in done.err
    assert (here["present"], here["rows"], here["negative"], here["positive"]) == (
        True,
        1_201,
        601,
        600,
    )
    assert (gone["present"], gone["rows"]) == (False, None)


def test_download_of_existing_files(project: Project, olens: Olens) -> None:
    path = project.write(csv_of(rows_of(5)))

    done = olens("data", "download", "reviews")
    as_json = json.loads(olens("data", "download", "reviews", "--json").out)

    assert done.code == 0
    assert "there already" in done.err
    assert done.out.splitlines()[0] == str(path)
    assert as_json["sha256"] in done.out
    assert as_json["fetched"] is False


def test_download_without_network(project: Project) -> None:
    """The real command and the real kagglehub, with every way out closed by a dead proxy."""
    project.declare(reviews={"kaggle": "owner/name"})
    proxies = {f"{scheme}_PROXY": "http://127.0.0.1:1" for scheme in ("HTTP", "HTTPS", "ALL")}
    environment = {k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY")}

    done = subprocess.run(
        [*OLENS, "data", "download", "reviews"],
        env=environment | proxies,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("Error: Kaggle cannot be reached to download owner/name")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(project.raw.iterdir()) == []


KILLED_WHILE_WRITING = """
import os, signal, sys
import polars as pl
from opinionlens_cli import main

write = pl.DataFrame.write_parquet

def write_half(frame, file, **options):
    write(frame, file, **options)
    if "val" in str(file):
        os.truncate(file, os.path.getsize(file) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

pl.DataFrame.write_parquet = write_half
sys.argv = ["olens", "preprocess"]
main.run()
"""


def test_kill_9_while_writing_keeps_the_old_data(project: Project, olens: Olens) -> None:
    project.write(csv_of(rows_of(200)))
    assert olens("preprocess").code == 0
    before = project.snapshot()
    project.write(csv_of(rows_of(300)))

    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING], capture_output=True, cwd=CHECKOUT
    )

    assert done.returncode == -signal.SIGKILL
    after = project.snapshot()
    assert {name: content for name, content in after.items() if "/." not in name} == before
    again = olens("preprocess", "--json")
    assert json.loads(again.out)["datasets"][0]["kept"] == 300


def test_commands_have_help_with_an_example(olens: Olens) -> None:
    for command in (["preprocess"], ["data", "list"], ["data", "download"], ["data", "verify"]):
        done = olens(*command, "--help")
        assert done.code == 0
        assert f"Example: olens {' '.join(command)}" in " ".join(done.out.split())


REAL = {
    # rows, kept, and what is left out
    "imdb": (50_000, 49_578, {"duplicate": 422}),
    "amazon": (8_003, 7_584, {"blank_label": 2, "duplicate": 417}),
    "airline": (14_640, 11_376, {"dropped_label": 3_099, "duplicate": 157, "tie": 8}),
}


@pytest.mark.real_data
def test_the_real_data_sets(
    project: Project, olens: Olens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLENS_PATHS__RAW", str(real_data() / "raw"))
    declare_what_is_shipped(project)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    done = olens("preprocess", "--json")

    assert done.code == 0, done.err
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < 1_500_000, "kilobytes"
    for report in json.loads(done.out)["datasets"]:
        left_out = {reason: count for reason, count in report["dropped"].items() if count}
        assert (report["rows"], report["kept"], left_out) == REAL[report["dataset"]]
        sizes = [sum(report["splits"][split].values()) for split in ("train", "val", "test")]
        assert sum(sizes) == report["kept"]
        for size in sizes[1:]:
            assert size / report["kept"] == pytest.approx(0.1, abs=0.01)
    settings, params = project.settings, load_params(project.root)
    splits = {name: load_split(settings, params, name) for name in ("train", "val", "test")}
    seen: set[str] = set()
    for texts in splits.values():
        distinct = set(texts["text"])
        assert not distinct & seen
        seen |= distinct
        assert all(normalise(text) == text for text in texts["text"].head(500))
    slices = load_slices(settings, params)
    assert {name for name, texts in slices.items() if texts.height > 500} == {
        *REAL, "balanced", "short", "long", "common_words", "rare_words",
    }  # fmt: skip
    assert stale(settings, params) == []
    assert stale(settings, msgspec.structs.replace(params, seed=7)) != []


@pytest.mark.real_data
def test_the_real_files_verify(
    project: Project, olens: Olens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLENS_PATHS__RAW", str(real_data() / "raw"))
    declare_what_is_shipped(project)

    done = olens("data", "verify", "--json")

    assert done.code == 0
    for found in json.loads(done.out):
        assert found["usable"]
        assert (found["rows"], found["kept"]) == REAL[found["dataset"]][:2]


def test_the_shipped_sample_is_as_declared(
    project: Project, olens: Olens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLENS_PATHS__SAMPLE", str(CHECKOUT / "data" / "sample"))
    declare_what_is_shipped(project)

    assert olens("data", "verify", "--sample").code == 0
    done = olens("preprocess", "--sample")
    assert (done.code, "Warning" in done.err) == (0, False)
