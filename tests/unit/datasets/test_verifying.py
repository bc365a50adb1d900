"""`verify` finds what `preprocess` will do, and `list_datasets` what there is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipelines.datasets.listing import list_datasets
from pipelines.datasets.preparing import preprocess
from pipelines.datasets.verifying import Verification, verify
from pipelines.errors import DataError
from tests.unit.datasets.project import Project, csv_of, rows_of
from tests.unit.datasets.test_preparing import FAULTS


def verified(project: Project) -> Verification:
    (found,) = verify(project.settings, project.params)
    return found


def test_a_clean_file_has_no_findings(project: Project) -> None:
    project.write(csv_of(rows_of(50)))

    found = verified(project)

    assert found.usable
    assert found.findings == []
    assert (found.columns, found.rows, found.kept) == (["text", "label"], 50, 50)
    assert found.classes == {"negative": 25, "positive": 25}


def test_all_rows_left_out_are_counted(project: Project) -> None:
    project.declare(reviews={"drop": ["skip"]})
    odd = [("", "pos"), ("a", ""), ("b", "skip"), ("c", "pos"), ("c", "neg"), ("d", "pos")]
    content = csv_of([*rows_of(20), *odd, ("d", "pos"), ("d", "neg")]).encode()
    project.write(b"\xef\xbb\xbf" + content + b'caf\xe9,pos\n"never closed,pos\n')

    found = verified(project)

    assert found.usable
    assert {finding.what: finding.count for finding in found.findings} == {
        "line 30 is not UTF-8 and was read as Windows-1252": None,
        "1 row left out: a quote is never closed (line 31)": None,
        "rows that cannot be read": 1,
        "rows with a blank label": 1,
        "rows with a label under drop": 1,
        "rows without text": 1,
        "rows that repeat a text": 2,
        "texts with both labels": 2,
        "rows of texts without a majority": 2,
    }
    assert "Windows-1252 with a byte order mark" in found.found
    done = preprocess(project.settings, project.params).datasets[0]
    assert (done.rows, done.kept) == (found.rows, found.kept)


@pytest.mark.parametrize("spoil", FAULTS)
def test_errors_of_preprocessing_are_findings_with_the_same_message(
    spoil: Callable[[Project], str], project: Project
) -> None:
    message = spoil(project)

    found = verified(project)

    assert not found.usable
    with pytest.raises(DataError, match=message) as error:
        preprocess(project.settings, project.params)
    assert str(error.value) in [finding.what for finding in found.findings if finding.stops]
    assert not project.snapshot()


def test_a_wrong_encoding_other_than_utf8_is_a_finding(project: Project) -> None:
    project.declare(reviews={"encoding": "ascii"})
    project.write(csv_of([*rows_of(20), ("café", "pos")]))

    found = verified(project)

    assert not found.usable
    assert "not valid ascii" in found.findings[0].what


def test_the_list_says_what_is_there(project: Project) -> None:
    project.declare(
        here={"drop": ["skip"]}, gone={"path": "gone.csv"}, broken={"path": "broken.csv"}
    )
    project.write(csv_of([*rows_of(5), ("a", ""), ("b", "skip"), ("c", "other")]))
    project.write("nothing,of,this\n", "broken.csv")

    here, gone, broken = list_datasets(project.settings, project.params)

    assert (here.present, here.rows, here.negative, here.positive) == (True, 8, 3, 2)
    assert (gone.present, gone.rows, gone.problem) == (False, None, None)
    assert broken.present
    assert broken.rows is None
    assert "has no column 'text'" in str(broken.problem)


def test_the_list_says_what_was_prepared_from_what(project: Project) -> None:
    project.write(csv_of(rows_of(50)), sample=True)
    assert list_datasets(project.settings, project.params)[0].prepared is None

    preprocess(project.settings, project.params, sample=True)

    assert list_datasets(project.settings, project.params)[0].prepared == "sample"
