"""Features on disk: used where they fit, made anew where they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from pipelines.config.params import Params, Vectorizer
from pipelines.config.settings import Settings
from pipelines.datasets.preparing import preprocess
from pipelines.errors import DataError
from pipelines.text.row_blocks import RowBlocks
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training import features
from pipelines.training.features import SPLITS, load_counts, vectorize
from pipelines.training.spreading import SpreadRows
from tests.unit.datasets.project import Project, csv_of, rows_of
from tests.unit.training.test_spreading import ProcessWorkers

SMALL = Vectorizer(ngram_max=2, bits=12)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with two data sets, prepared."""
    monkeypatch.setenv("OLENS_ROOT", str(tmp_path))
    project = Project(tmp_path)
    project.declare(one={"path": "one.csv"}, two={"path": "two.csv"})
    project.write(csv_of(rows_of(150)), "one.csv")
    project.write(csv_of(rows_of(100, prefix="another")), "two.csv")
    preprocess(project.settings, project.params)
    return project


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the vectorizer counted."""
    calls: list[int] = []
    transform = HashedNgramVectorizer.transform

    def recording(self: HashedNgramVectorizer, X: object) -> sp.csr_matrix:
        found = transform(self, X)
        calls.append(found.shape[0])
        return found

    monkeypatch.setattr(HashedNgramVectorizer, "transform", recording)
    return calls


def small(params: Params) -> Params:
    return msgspec.structs.replace(params, vectorizer=SMALL)


def load(project: Project, vectorizer: Vectorizer = SMALL) -> features.Labelled:
    return load_counts(project.settings, project.params, "train", ["one", "two"], vectorizer)


def test_writes_one_folder_for_each_data_set(prepared: Project) -> None:
    told: list[str] = []
    done = vectorize(
        prepared.settings, small(prepared.params), on_dataset=lambda name, _: told.append(name)
    )
    assert list(done) == told == ["one", "two"]
    for name, described in done.items():
        folder = prepared.settings.paths.features / name
        assert {path.stem for path in folder.glob("*.npz")} == {f"{s}-0000" for s in SPLITS}
        for split in SPLITS:
            counts = sp.load_npz(folder / f"{split}-0000.npz")
            assert counts.shape == (described.rows[split], 2**12)
            assert counts.nnz == described.entries[split]


def test_only_the_data_sets_that_were_named(prepared: Project) -> None:
    vectorize(prepared.settings, small(prepared.params), ["two"])
    assert [path.name for path in prepared.settings.paths.features.iterdir()] == ["two"]


def test_stored_features_equal_freshly_counted_ones(prepared: Project, counted: list[int]) -> None:
    fresh = load(prepared)
    vectorize(prepared.settings, small(prepared.params))
    counted.clear()
    stored = load(prepared)
    assert counted == []
    assert (stored.counts != fresh.counts).nnz == 0
    assert stored.counts.dtype == np.float32
    np.testing.assert_array_equal(stored.labels, fresh.labels)
    assert set(stored.labels) == {0, 1}


def new_texts(project: Project, settings: Settings) -> None:
    project.write(csv_of([*rows_of(150), *rows_of(30, prefix="new")]), "one.csv")
    preprocess(settings, project.params, ["one"])


def truncated(project: Project, settings: Settings) -> None:
    path = settings.paths.features / "one" / "train-0000.npz"
    path.write_bytes(path.read_bytes()[:-200])


def emptied(project: Project, settings: Settings) -> None:
    (settings.paths.features / "one" / "train-0000.npz").write_bytes(b"")


def missing(project: Project, settings: Settings) -> None:
    (settings.paths.features / "one" / "train-0000.npz").unlink()


def another_matrix(project: Project, settings: Settings) -> None:
    sp.save_npz(settings.paths.features / "one" / "train-0000.npz", sp.eye_array(3, format="csr"))


def another_archive(project: Project, settings: Settings) -> None:
    np.savez(settings.paths.features / "one" / "train-0000.npz", a=np.zeros(3))


def no_description(project: Project, settings: Settings) -> None:
    (settings.paths.features / "one" / "vectorizer.json").write_text("{")


def other_tokens(project: Project, settings: Settings) -> None:
    path = settings.paths.features / "one" / "vectorizer.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"tokens": described["tokens"] - 1}))


@pytest.mark.parametrize(
    "damage",
    [
        new_texts,
        truncated,
        emptied,
        missing,
        another_matrix,
        another_archive,
        no_description,
        other_tokens,
    ],
)
def test_features_that_do_not_fit_are_counted_anew(
    prepared: Project, counted: list[int], damage: Callable[[Project, Settings], None]
) -> None:
    vectorize(prepared.settings, small(prepared.params))
    damage(prepared, prepared.settings)
    counted.clear()
    found = load(prepared)
    assert len(counted) == 1
    assert found.counts.shape[0] == found.labels.size


def test_another_vectorizer_counts_anew(prepared: Project, counted: list[int]) -> None:
    vectorize(prepared.settings, small(prepared.params))
    counted.clear()
    found = load(prepared, Vectorizer(ngram_max=1, bits=13))
    assert len(counted) == 2
    assert found.counts.shape[1] == 2**13


def test_huge_counts_are_capped_at_what_16_bits_hold(prepared: Project) -> None:
    rows = rows_of(150)
    prepared.write(csv_of([(f"{text} {'so ' * 70_000}", label) for text, label in rows[:3]] + rows))
    prepared.declare(one={"path": "reviews.csv"})
    preprocess(prepared.settings, prepared.params)
    vectorize(prepared.settings, small(prepared.params))
    folder = prepared.settings.paths.features / "one"
    highest = max(sp.load_npz(folder / f"{split}-0000.npz").data.max() for split in SPLITS)
    assert highest == 65_535


@pytest.mark.parametrize("stored", [False, True])
def test_what_does_not_fit_into_memory_comes_in_blocks(
    prepared: Project, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    in_memory = load(prepared)
    monkeypatch.setattr(features, "_TEXTS", 16)
    monkeypatch.setattr(features, "_BLOCK", 300)
    monkeypatch.setenv("OLENS_TRAINING__MEMORY", "1MiB")
    if stored:
        vectorize(prepared.settings, small(prepared.params))

    found = load(prepared)

    assert isinstance(found.counts, RowBlocks)
    assert len(found.counts.blocks) > 3
    assert (found.counts.gathered() != in_memory.counts).nnz == 0
    np.testing.assert_array_equal(found.labels, in_memory.labels)
    both = found.followed_by(found)
    assert both.counts.shape[0] == both.labels.size == 2 * found.labels.size
    every_third = np.arange(found.labels.size) % 3 == 0
    chosen = found[every_third].counts.gathered()
    assert (chosen != in_memory.counts[every_third]).nnz == 0


def test_blocks_may_take_what_the_process_leaves_of_the_memory(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_fits", lambda *given: False)
    found = []
    for allowed in ("1MiB", "4GiB", "6GiB"):
        monkeypatch.setenv("OLENS_TRAINING__MEMORY", allowed)
        counts = load(prepared).counts
        assert isinstance(counts, RowBlocks)
        assert counts.map(abs, 2)[::2].followed_by(counts).memory == counts.memory
        found.append(counts.memory)
    assert found[0] == 0
    assert 1 << 30 < found[1] <= (4 << 30) - features._PROCESS
    assert found[2] - found[1] == pytest.approx(2 << 30, abs=100 << 20)


def test_a_damaged_block_says_what_to_do(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLENS_TRAINING__MEMORY", "1MiB")
    vectorize(prepared.settings, small(prepared.params))
    truncated(prepared, prepared.settings)
    with pytest.raises(DataError, match=r"is damaged .* Run: olens vectorize one"):
        load(prepared).counts.gathered()


def test_an_unknown_data_set(prepared: Project) -> None:
    with pytest.raises(DataError, match="no data set 'three'"):
        vectorize(prepared.settings, prepared.params, ["three"])


def test_data_that_are_not_prepared(prepared: Project) -> None:
    (prepared.prepared / "two" / "val.parquet").unlink()
    with pytest.raises(DataError, match="olens preprocess two"):
        vectorize(prepared.settings, small(prepared.params))
    assert not (prepared.settings.paths.features / "two").exists()


def test_a_failure_leaves_the_features_of_before(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectorize(prepared.settings, small(prepared.params))
    folder = prepared.settings.paths.features / "one"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scipy.sparse.save_npz", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vectorize(prepared.settings, prepared.params)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["one", "two"]


def test_workers_count_their_own_part(prepared: Project) -> None:
    in_memory = load(prepared)
    names = ["one", "two"]
    found = load_counts(
        prepared.settings, prepared.params, "train", names, SMALL, ProcessWorkers(3)
    )
    assert isinstance(found.counts, SpreadRows)
    assert len(found.counts.parts) == 3
    assert (found.counts.gathered() != in_memory.counts).nnz == 0
    np.testing.assert_array_equal(found.labels, in_memory.labels)


def test_a_worker_without_the_texts_says_where(tmp_path: Path) -> None:
    there = tmp_path / "train.parquet"
    with pytest.raises(DataError, match=r"cannot be read on .*, a machine of the cluster"):
        features._count_rows(SMALL, [(there, 10)], 0, 5)
    pl.DataFrame({"text": ["good"]}).write_parquet(there)
    with pytest.raises(DataError, match="it is another file there"):
        features._count_rows(SMALL, [(there, 10)], 0, 5)
