"""What label values mean, in the file that they are in."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.errors import DataError
from pipelines.tables.label_maps import LabelMap, canonical_labels, map_labels, parse_label_map
from pipelines.tables.labelled import LabelledTable
from pipelines.tables.options import Options
from pipelines.tables.reading import open_table


def guessed(values: str) -> LabelMap:
    return map_labels(dict.fromkeys(values.split(","), 3))


@pytest.mark.parametrize(
    ("values", "negative", "positive", "neutral"),
    [
        ("positive,negative", "negative", "positive", ""),
        ("pos,neg,neutral", "neg", "pos", "neutral"),
        ("very negative,negative,neutral,positive,very positive", "negative,very negative",
         "positive,very positive", "neutral"),
        ("0,1", "0", "1", ""),
        ("1,2", "1", "2", ""),
        ("-1,1", "-1", "1", ""),
        ("-1,0,1", "-1", "1", "0"),
        ("0,4", "0", "4", ""),
        ("0,2,4", "0", "4", "2"),
        ("0,1,2,3,4", "0,1", "3,4", "2"),
        ("1,5", "1", "5", ""),
        ("1,2,3,4,5", "1,2", "4,5", "3"),
        ("1,2,4,5", "1,2", "4,5", ""),
        ("1,1.5,3,4.5,5", "1,1.5", "4.5,5", "3"),
        ("1,2,3,4,5,6,7,8,9,10", "1,2,3,4", "10,7,8,9", "5,6"),
        ("__label__1,__label__2", "__label__1", "__label__2", ""),
        ("1 star,3 stars,5 stars", "1 star", "5 stars", "3 stars"),
        ("★☆☆☆☆,★★★★★", "★☆☆☆☆", "★★★★★", ""),
        ("1 - very bad,5 - very good", "1 - very bad", "5 - very good", ""),
        ("1.0 out of 5 stars,4.0 out of 5 stars,5.0 out of 5 stars", "1.0 out of 5 stars",
         "4.0 out of 5 stars,5.0 out of 5 stars", ""),
        ("true,false", "false", "true", ""),
        ("yes,no", "no", "yes", ""),
        ("n,y", "n", "y", ""),
        ("recommended,not_recommended", "not_recommended", "recommended", ""),
        ("thumbs-up,thumbs-down", "thumbs-down", "thumbs-up", ""),
    ],
)  # fmt: skip
def test_usual_labels_are_guessed(values: str, negative: str, positive: str, neutral: str) -> None:
    found = guessed(values)

    assert found.guess
    assert ",".join(found.negative) == negative
    assert ",".join(found.positive) == positive
    assert ",".join(found.neutral) == neutral


@pytest.mark.parametrize(
    "values",
    ["0,1,2", "1,2,3", "1,2,3,4", "2,3,4,5", "0,1,2,3,4,5", "1", "5", "0", "true", "yes,no,maybe",
     "true,no", "happy,sad", "0.1,0.7,0.9", "0,100", "a,b", "1,2,x", "positive,negative,sarcasm"],
)  # fmt: skip
def test_ambiguous_labels_are_refused_with_the_option(values: str) -> None:
    with pytest.raises(DataError, match="not clear") as error:
        guessed(values)

    assert "--labels 'negative=" in str(error.value)
    assert "--drop" in str(error.value)


def test_the_map_of_the_user_overrules_the_guess() -> None:
    counts = {"1": 3, "2": 4, "3": 9, "4": 2}

    found = map_labels(counts, "negative=1,2 positive=4", drop=["3.0"])

    assert found.codes == {"1": 0, "2": 0, "4": 1}
    assert found.describe(counts) == [
        "Labels: negative = 2 (4), 1 (3), positive = 4 (2).",
        "Left out as dropped: 9 rows (3 (9)).",
    ]


def test_values_may_have_spaces_and_any_case() -> None:
    found = parse_label_map("Negative=not good, BAD; positive = Good one ,5.0")

    assert found.negative == ("not good", "bad")
    assert found.positive == ("good one", "5")


@pytest.mark.parametrize(
    "text", ["", "1,2", "negative=1", "negative= positive=2", "bad=1 good=2", "x negative=1"]
)
def test_a_map_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="negative=1,2 positive=4,5"):
        parse_label_map(text)


def test_a_value_has_one_meaning() -> None:
    with pytest.raises(DataError, match="'1' has two meanings"):
        parse_label_map("negative=1 positive=1.0")


def test_values_that_the_user_does_not_mention_are_refused() -> None:
    with pytest.raises(DataError, match=r"nothing about 3 \(7\).*--drop '3'"):
        map_labels({"1": 1, "2": 1, "3": 7}, "negative=1 positive=2")


def test_messages_are_bounded() -> None:
    with pytest.raises(DataError) as error:
        map_labels({f"{'long' * 500} {number}": 1 for number in range(5_000)})

    assert "and 4,990 more values" in str(error.value)
    assert len(str(error.value)) < 1_500


def test_columns_are_compared_as_single_values_are() -> None:
    values = pl.Series([" Positive ", "5.0", "+1.00", "0.5", "", "  ", None])

    found = values.to_frame("x").select(canonical_labels(pl.col("x"))).to_series()

    assert found.to_list() == ["positive", "5", "+1", "0.5", None, None, None]


def test_the_option_in_messages_is_not_turned_round() -> None:
    with pytest.raises(DataError, match=r"for example --labels 'negative=\.\.\. positive=\.\.\.'"):
        guessed("happy,angry,sad")
    with pytest.raises(DataError, match="'negative=1 positive=3'"):
        guessed("3,1,2")


class TestFiles:
    def labelled(self, content: str, **given: str) -> LabelledTable:
        return LabelledTable(open_table(content.encode(), "a.csv"), **given)  # type: ignore[arg-type]

    def test_two_is_positive_beside_one(self) -> None:
        found = self.labelled("text,label\nit was great,2\nit was bad,1\n")

        (rows,) = found.batches()

        assert rows.rows() == [("it was great", 1, 2), ("it was bad", 0, 3)]
        assert any("1 and 2" in message for message in found.messages())
        assert found.warnings() == []

    def test_rows_left_out_are_counted(self) -> None:
        found = self.labelled(
            "stars,text\n5,it was great\n1,it was bad\n3,so so\n,nothing said\n4,\n"
            '2,"broken "quotes" here\n'
        )

        rows = pl.concat(found.batches())

        assert rows.height == 2
        said = " ".join(found.messages())
        assert "Left out as neutral: 1 row (3 (1))." in said
        assert "Left out: 1 row without a label." in said
        assert "Left out: 1 row without a text." in said
        assert any("(line 7)" in warning for warning in found.warnings())

    def test_one_class_is_a_warning(self) -> None:
        found = self.labelled("text,label\nit was great,positive\nit was good,positive\n")

        assert sum(rows.height for rows in found.batches()) == 2
        assert "All 2 labels are positive" in found.warnings()[0]

    def test_columns_without_names_have_numbers(self) -> None:
        content = b"4;it was great\n0;it was bad\n"
        table = open_table(content, "a.csv", Options(header=False))

        (rows,) = LabelledTable(table, "2", "1").batches()

        assert rows.rows() == [("it was great", 1, 1), ("it was bad", 0, 2)]

    @pytest.mark.parametrize(
        ("content", "given", "said"),
        [
            ("text,label\nit was great,\n", {}, "No row has a label"),
            ("text,label\n,positive\n,negative\n", {}, "no row with a text and a label"),
            ("text,mood\nit was great,positive\n", {}, "Choose one: text, mood"),
            ("text,label\nit was great,1\n", {"text": "label"}, "Choose two columns"),
            ("text,label\nit was great,1\n", {"label": "stars"}, "has no column 'stars'"),
            ("text,label\n" + "".join(f"it,{n}\n" for n in range(10_001)), {}, "holds no labels"),
        ],
    )
    def test_files_without_usable_labels_are_refused(
        self, content: str, given: dict[str, str], said: str
    ) -> None:
        with pytest.raises(DataError, match=said):
            list(self.labelled(content, **given).batches())

    def test_a_file_is_larger_than_a_batch(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,label\n" + "it was great,2\nit was bad,1\n" * 300_000)

        found = LabelledTable(open_table(path))

        assert found.counts == {"1": 300_000, "2": 300_000}
        assert len(list(found.batches())) > 1
