"""Files in, files with verdicts out: nothing is lost, changed or half-written."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import date
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from pipelines.base_model.opening import base_model
from pipelines.batch import scoring
from pipelines.batch.scoring import Job, Report, ScoringRun
from pipelines.batch.verdicts import ADDED
from pipelines.errors import DataError, StorageError
from pipelines.inference.loading import load_scorer
from pipelines.inference.scorer import Scorer
from pipelines.tables import parquet
from pipelines.tables.reading import open_table
from tests.disks import small_disk
from tests.unit.tables.archives import workbook

TEXTS = ["A lovely film", "Cold food, rude waiter", "", "so good\nso so good", "waste of time"]
ROWS = [{"id": f"00{n}", "price": f"{n}.50", "body": text} for n, text in enumerate(TEXTS)]
Score = Callable[..., Report]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer(base_model().path)


@pytest.fixture
def score(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Score:
    """Score files below an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(
        data: str, output: str, *, resume: bool = False, overwrite: bool = False, **job: object
    ) -> Report:
        planned = Job(data=data, output=output, **job)  # type: ignore[arg-type]
        found = ScoringRun(scorer, "base", planned, tmp_path / "cache")
        return found.run(resume=resume, overwrite=overwrite)

    return run


def as_csv(rows: list[dict[str, str]]) -> bytes:
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()


def as_jsonl(rows: list[dict[str, str]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    target = io.BytesIO()
    pl.DataFrame(rows).write_parquet(target)
    return target.getvalue()


INPUTS = {
    "in.csv": as_csv(ROWS),
    "in.csv.gz": gzip.compress(as_csv(ROWS)),
    "in.tsv": as_csv(ROWS).replace(b",", b"\t").replace(b"food\t", b"food,"),
    "in.jsonl": as_jsonl(ROWS),
    "in.json": json.dumps(ROWS, indent=2).encode(),
    "in.parquet": as_parquet(ROWS),
    "in.xlsx": workbook(tuple(ROWS[0]), *(tuple(row.values()) for row in ROWS)),
}
OUTPUTS = [
    "out.csv",
    "out.tsv",
    "out.jsonl",
    "out.json",
    "out.parquet",
    "out.csv.gz",
    "o.jsonl.zst",
]


def read(path: Path) -> list[dict[str, str | None]]:
    """The rows, every value as text."""
    table = open_table(path)
    table.look_through()
    return [row for batch in table.batches() for row in batch.frame.iter_rows(named=True)]


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_kind_becomes_every_other(
    score: Score, scorer: Scorer, tmp_path: Path, output: str
) -> None:
    written = [text for text in TEXTS if text]
    judged = dict(zip(written, scorer.judge(written), strict=True))
    for name, content in INPUTS.items():
        (tmp_path / name).write_bytes(content)
        report = score(name, output, overwrite=True)

        found = read(tmp_path / output)

        assert [row["id"] for row in found] == [row["id"] for row in ROWS], name
        for row, given in zip(found, ROWS, strict=True):
            assert {key: row[key] or "" for key in given} == given, name
            verdict = judged.get(given["body"])
            assert row["prediction"] == (verdict and verdict.prediction), name
            assert row["model"] == "base"
            if verdict is None:
                assert (row["probability"], row["evidence"]) == (None, "none")
            else:
                assert float(row["probability"] or 2) == pytest.approx(
                    verdict.probability, abs=1e-6
                )
                assert row["evidence"] == verdict.evidence
        assert report.rows == {"POSITIVE": 2, "NEGATIVE": 2, "": 1}
    assert {path.name for path in tmp_path.iterdir()} == {*INPUTS, output}


def test_parquet_keeps_its_types(score: Score, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "day": [date(2026, 1, 2), None],
            "body": ["A lovely film", "Cold food"],
            "tags": [["a", "b"], []],
            "n": [2**60, -1],
            "where": [{"city": "Köln", "row": 1}, None],
            "x": [0.1, float("nan")],
        }
    )
    frame.write_parquet(tmp_path / "in.parquet")

    score("in.parquet", "out.parquet")
    score("in.parquet", "out.csv")
    score("in.parquet", "out.jsonl")

    assert pl.read_parquet(tmp_path / "out.parquet").select(frame.columns).equals(frame)
    first, second = read(tmp_path / "out.csv")
    assert (first["tags"], first["where"]) == ('["a","b"]', '{"city":"Köln","row":1}')
    assert (first["day"], first["n"]) == ("2026-01-02", "1152921504606846976")
    assert (second["tags"], second["where"], second["x"]) == ("[]", None, None)
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert (line["n"], line["tags"], line["where"]["city"]) == (2**60, ["a", "b"], "Köln")


def test_a_column_that_has_our_name_is_kept(score: Score, tmp_path: Path) -> None:
    rows = [{"body": "A lovely film", "prediction": "mine"}] * 2_000
    rows.append({"body": "Cold food", "model": "late"})  # type: ignore[dict-item]
    (tmp_path / "in.jsonl").write_bytes(as_jsonl(rows))

    report = score("in.jsonl", "out.jsonl")
    score("in.jsonl", "out.csv")

    for name in ("out.jsonl", "out.csv"):
        found = read(tmp_path / name)
        assert (found[0]["prediction"], found[0]["prediction_2"]) == ("mine", "POSITIVE")
        assert (found[-1]["model"], found[-1]["model_2"]) == ("late", "base")
    assert "ours is called 'prediction_2'" in " ".join(report.warnings)


def test_files_of_a_folder_become_files_of_a_folder(score: Score, tmp_path: Path) -> None:
    for name in ("in/a.csv", "in/deep/a.csv", "in/b.xlsx", "in/.hidden/c.csv", "in/readme.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(INPUTS["in.csv"])
    (tmp_path / "in/a.jsonl").write_bytes(INPUTS["in.jsonl"])

    score("in", "out/")
    score("in", "in/again", kind="Parquet")

    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("out/**/*")}
    assert found == {"out/a.csv", "out/a.jsonl", "out/b.csv", "out/deep", "out/deep/a.csv"}
    again = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("in/again/**/*.parquet")}
    assert len(again) == 4
    assert len(score("in/*", "some/").files) == 4  # what a glob names is taken as it is


def test_several_files_go_into_one(score: Score, tmp_path: Path) -> None:
    for number, row in enumerate(ROWS):
        (tmp_path / f"{number}.csv").write_bytes(as_csv([row]))

    score("?.csv", "out.parquet")

    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["id"].to_list() == [row["id"] for row in ROWS]
    assert found["file"].to_list() == [f"{number}.csv" for number in range(len(ROWS))]
    (tmp_path / "5.csv").write_text("text\nother\n")
    with pytest.raises(DataError, match=r"5.csv has other columns \(text\)"):
        score("?.csv", "other.csv")
    assert not list(tmp_path.glob("*other*"))


@pytest.mark.parametrize("output", ["out.csv", "out.json", "out.parquet", "out.jsonl.gz"])
def test_a_run_goes_on_from_wherever_it_was_stopped(
    score: Score, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setattr(scoring, "_KEPT_ROWS", 1)
    content = as_csv(ROWS) + b'009,1,"broken "quote\r\n'
    for number in range(4):
        (tmp_path / f"{number}.csv").write_bytes(content)
    score("?.csv", f"whole-{output}", rejects="whole.csv")

    job = Job(data="?.csv", output=output, rejects="rejects.csv")
    for stop in (1, 2, 2):
        run = ScoringRun(scorer, "base", job, tmp_path / "cache")
        with pytest.raises(KeyboardInterrupt):
            run.run(resume=True, overwrite=False, on_progress=interrupt_at(stop))
        assert not (tmp_path / output).exists()
        assert run.can_go_on
    with pytest.raises(DataError, match="Go on with it by --resume"):
        score("?.csv", output)
    with pytest.raises(DataError, match=r"--explain \(was 0, is 2\)"):
        score("?.csv", output, resume=True, words=2)
    report = score("?.csv", output, resume=True, rejects="rejects.csv")

    assert read(tmp_path / output) == read(tmp_path / f"whole-{output}")
    assert (tmp_path / "rejects.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert report.rows == {"POSITIVE": 8, "NEGATIVE": 8, "": 4}
    assert report.left_out == 4
    assert not list(tmp_path.glob(".*"))


def interrupt_at(call: int) -> Callable[[int, float], None]:
    """Ctrl-C at that call; what was done since the last one is not kept."""
    calls = count(1)

    def on_progress(rows: int, share: float) -> None:
        if next(calls) == call:
            raise KeyboardInterrupt

    return on_progress


def test_batches_need_not_be_the_same_when_a_run_goes_on(
    score: Score, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_KEPT_ROWS", 1)
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 3)
    frame = pl.DataFrame({"id": range(10), "text": [f"lovely film {n}" for n in range(10)]})
    frame.write_parquet(tmp_path / "in.parquet")
    job = Job(data="in.parquet", output="out.parquet")
    with pytest.raises(KeyboardInterrupt):
        ScoringRun(scorer, "base", job, tmp_path / "cache").run(
            resume=True, overwrite=False, on_progress=interrupt_at(3)
        )

    monkeypatch.setattr(parquet, "_BATCH_ROWS", 4)
    score("in.parquet", "out.parquet", resume=True)

    assert pl.read_parquet(tmp_path / "out.parquet").select("id", "text").equals(frame)


def test_rows_that_cannot_be_read_are_listed(score: Score, tmp_path: Path) -> None:
    content = as_csv(ROWS) + b'009,1,"broken "quote\r\n010,1,fine\r\n011,1,2,3,4\r\n'
    (tmp_path / "in.csv").write_bytes(content)

    report = score("in.csv", "out.csv", rejects="lists/rejects.jsonl")

    assert report.left_out == 2
    assert [json.loads(line) for line in (tmp_path / "lists/rejects.jsonl").open()] == [
        {
            "file": "in.csv",
            "row": 6,
            "line": 8,
            "reason": "a quote is not closed before a separator or the end of the line",
        },
        {"file": "in.csv", "row": 8, "line": 10, "reason": "more fields than the 3 columns"},
    ]
    assert [row["row"] for row in read(tmp_path / "out.csv")] == ["1", "2", "3", "4", "5", "7"]


def test_output_is_replaced_only_if_that_is_said(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(INPUTS["in.csv"])
    (tmp_path / "out.csv").write_text("mine")

    with pytest.raises(DataError, match=r"out\.csv is there already"):
        score("in.csv", "out.csv")
    # So that a loop of `--resume` ends when the last kill came after the last step.
    assert "is complete" in score("in.csv", "out.csv", resume=True).warnings[0]
    assert (tmp_path / "out.csv").read_text() == "mine"
    for data in ("in.csv", "*.csv", "*.csv"):  # what is written is not read
        score(data, "out.csv", overwrite=True)
        assert len(read(tmp_path / "out.csv")) == len(ROWS)


@pytest.mark.parametrize(
    ("data", "output", "message"),
    [
        ("nothing.csv", "out.csv", "no such file"),
        ("empty", "out.csv", "no file of rows"),
        ("*.nothing", "out.csv", "no file of rows"),
        ("in.csv", "out.xlsx", "files that can be written end in"),
        ("in.csv", "out.parquet.gz", "files that can be written end in"),
        ("broken.csv.gz", "out.csv", "not a complete gzip file"),
        ("numbers.csv", "out.csv", "no column of words"),
    ],
)
def test_what_cannot_be_scored_leaves_nothing(
    score: Score, tmp_path: Path, data: str, output: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "in.csv").write_bytes(INPUTS["in.csv"])
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(as_csv(ROWS * 50_000))[:-100])
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    before = sorted(tmp_path.iterdir())

    with pytest.raises(DataError, match=message):
        score(data, output)

    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_a_full_disk_leaves_nothing_half_written(score: Score, tmp_path: Path, output: str) -> None:
    rows = [{"id": str(n), "body": f"lovely {n:x} " * 9} for n in range(40_000)]
    (tmp_path / "in.csv").write_bytes(as_csv(rows))
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(StorageError, match="the disk is full"):
            score("in.csv", f"disk/{output}")
        assert [path.name for path in disk.iterdir()] == [f".{output}.unfinished"]


def test_the_strongest_words_are_added(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(INPUTS["in.csv"])

    score("in.csv", "out.csv", words=2)

    words = [row["words"] for row in read(tmp_path / "out.csv")]
    assert (words[0] or "").startswith("lovely +")
    assert "rude -" in (words[1] or "")
    assert words[2] is None
    assert all((found or "").count(", ") <= 1 for found in words)


def test_the_encoding_and_the_separator_stay(score: Score, tmp_path: Path) -> None:
    late = "x;sehr schön und gut\n".encode("cp1252")
    (tmp_path / "in.csv").write_bytes(b"id;body\n" + b"1;lovely indeed\n" * 9_000 + late)

    score("in.csv", "out.csv")

    content = (tmp_path / "out.csv").read_bytes()
    assert content.startswith(b"id;body;" + ";".join(ADDED).encode() + b";row\n1;lovely indeed;POS")
    assert "x;sehr schön und gut;".encode("cp1252") in content


def test_cells_stay_as_they_are_unless_they_are_to_be_harmless(
    score: Score, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("body\n@airline thank you\n")
    score("in.csv", "out.csv")
    score("in.csv", "safe.csv", harmless=True)
    assert read(tmp_path / "out.csv")[0]["body"] == "@airline thank you"
    assert read(tmp_path / "safe.csv")[0]["body"] == "'@airline thank you"
