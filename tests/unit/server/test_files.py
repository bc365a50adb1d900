from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest
from httpx import Response
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.files import TextFile, read_file
from opinionlens_server.inference import ROWS_AT_ONCE, Prediction
from opinionlens_server.summary import BINS, Summary
from pipelines.errors import InputError
from pipelines.settings import Serving, Settings
from tests.unit.server.conftest import Install, load_counting_scorer

Client = TestClient[Litestar]
LIMITS = Serving(max_file_rows=4, max_text_length=20)
HTMX = {"HX-Request": "true"}


def read(name: str, content: str | bytes, column: str = "") -> TextFile:
    return read_file(
        name, content if isinstance(content, bytes) else content.encode(), column, LIMITS
    )


def send(client: Client, path: str, name: str, content: str | bytes, column: str = "") -> Response:
    return client.post(path, files={"file": (name, content)}, data={"column": column})


class TestReading:
    @pytest.mark.parametrize(
        ("name", "content", "texts"),
        [
            ("a.csv", "id,text\n1,good\n2,bad\n", ["good", "bad"]),
            ("a.csv", "id,Review \n1,good\n", ["good"]),
            ("a.csv", "id;text\r\n1;good, bad\r\n", ["good, bad"]),
            ("a.tsv", "id\ttext\n1\tgood\n", ["good"]),
            ("A.CSV", 'text\n"two\nlines ""quoted"""\n', ['two\nlines "quoted"']),
            ("a.csv", "stars,what they said\n5,a long one\n1,no\n", ["a long one", "no"]),
            ("a.csv", "text,stars\n\ngood\n", ["good"]),
            ("a.csv", "\ufefftext\ngrößer\n", ["größer"]),
            ("a.txt", "good\r\n\r\nbad", ["good", "bad"]),
            ("a.txt", "a\u2028b\x0bc\n", ["a\u2028b\x0bc"]),
            ("a.jsonl", '{"text": "good"}\n\n{"text": "bad", "n": 1}\n', ["good", "bad"]),
            ("a.jsonl", '{"n": 1, "x": "no", "said": "longer"}', ["longer"]),
            ("a.ndjson", '"good"\n"bad"\n', ["good", "bad"]),
        ],
    )
    def test_every_format(self, name: str, content: str, texts: list[str]) -> None:
        assert read(name, content).texts == texts

    @pytest.mark.parametrize(
        ("name", "content"),
        [("a.csv", "text,said\na,b\n"), ("a.jsonl", '{"text": "a", "said": "b"}')],
    )
    def test_the_column_can_be_chosen(self, name: str, content: str) -> None:
        found = read(name, content, "said")

        assert (found.texts, found.column) == (["b"], "said")

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("", "", "No file was chosen"),
            ("a.xlsx", "x", "no CSV, JSONL or TXT"),
            ("noending", "x", "no CSV, JSONL or TXT"),
            ("a.csv", b"text\n\xff\n", "not UTF-8"),
            ("a.csv", "", "no row"),
            ("a.csv", "text\n", "no row"),
            ("a.txt", " \n\n", "no row"),
            ("a.jsonl", "\n", "no row"),
            ("a.csv", "id,text\n1,a,b\n", "Row 1 of a.csv has 3 fields"),
            ("a.jsonl", '{"text": "a"}\n{"text": ', "Row 2 of a.jsonl is not valid JSON"),
            ("a.jsonl", '{"text": "a"}\n{"n": 1}', "Row 2 of a.jsonl has no text"),
            ("a.jsonl", '{"text": "a"}\n"b"', "Row 2 of a.jsonl has no text"),
            ("a.jsonl", "[1]", "Row 1 of a.jsonl is no text"),
            ("a.jsonl", rb'"\ud800"', "not valid JSON"),
        ],
    )
    def test_what_is_wrong_is_said(self, name: str, content: str | bytes, said: str) -> None:
        with pytest.raises(InputError, match=said):
            read(name, content)

    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
    def test_an_unknown_column_is_named(self, name: str) -> None:
        content = "id,text\n1,a\n" if name == "a.csv" else '{"text": "a"}'
        with pytest.raises(InputError, match="'said'"):
            read(name, content, "said")

    @pytest.mark.parametrize(("rows", "fits"), [(4, True), (5, False)])
    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
    def test_the_rows_are_limited(self, name: str, rows: int, fits: bool) -> None:
        head = "text\n" if name == "a.csv" else ""
        content = head + '"good"\n' * rows
        if fits:
            assert len(read(name, content).texts) == rows
        else:
            with pytest.raises(HTTPException, match="more than 4 rows") as refused:
                read(name, content)
            assert refused.value.status_code == 413

    @pytest.mark.parametrize(("length", "fits"), [(20, True), (21, False)])
    def test_the_texts_are_limited(self, length: int, fits: bool) -> None:
        content = "good\n" + "x" * length
        if fits:
            assert len(read("a.txt", content).texts) == 2
        else:
            with pytest.raises(HTTPException, match=r"row 2 of a\.txt has 21 characters"):
                read("a.txt", content)

    def test_a_long_field_is_no_error_of_the_format(self) -> None:
        limits = Serving(max_text_length=300_000)
        content = b"text\n" + b"x" * 200_000

        assert len(read_file("a.csv", content, "", limits).texts[0]) == 200_000


class TestDownload:
    def test_a_csv_file_gets_two_columns(self, client: Client) -> None:
        content = 'id,text\n1,"good, really"\n2,\n3,bad\n'
        answer = send(client, "/file/download", "my reviews.csv", content)

        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/csv")
        assert 'filename="my-reviews-verdicts.csv"' in answer.headers["content-disposition"]
        assert answer.headers["cache-control"] == "no-store"
        assert list(csv.reader(io.StringIO(answer.text))) == [
            ["id", "text", "prediction", "confidence"],
            ["1", "good, really", "POSITIVE", "0.7503"],
            ["2", "", "", ""],
            ["3", "bad", "NEGATIVE", "0.7109"],
        ]

    def test_a_jsonl_file_gets_two_keys(self, client: Client) -> None:
        content = '{"text": "good", "n": {"a": 1}}\n{"text": " "}\n'
        answer = send(client, "/file/download", "a.jsonl", content)

        first, second = map(json.loads, answer.text.splitlines())
        assert first["n"] == {"a": 1}
        assert first["prediction"] == "POSITIVE"
        assert first["confidence"] == pytest.approx(0.7503, abs=1e-4)
        assert second == {"text": " ", "prediction": None, "confidence": None}

    def test_a_text_file_becomes_a_csv_file(self, client: Client) -> None:
        answer = send(client, "/file/download", "größe.txt", "good\nbad\n")

        assert answer.text.splitlines()[0] == "text,prediction,confidence"
        assert len(answer.text.splitlines()) == 3
        assert (
            "filename*=UTF-8''gr%C3%B6%C3%9Fe-verdicts.csv" in answer.headers["content-disposition"]
        )

    @pytest.mark.parametrize(
        "name", ['a"; x="b.csv', "../../etc/passwd.csv", "a\r\nX: y.csv", ".csv"]
    )
    def test_a_name_cannot_break_the_header(self, client: Client, name: str) -> None:
        answer = send(client, "/file/download", name, "text\ngood\n")

        if answer.status_code == 200:
            disposition = answer.headers["content-disposition"]
            assert disposition.count('"') == 2
            assert "/" not in disposition
            assert "x" not in answer.headers

    def test_many_rows_are_judged_in_order(self, settings: Settings, install: Install) -> None:
        install(1, activate=True)
        serving = msgspec.structs.replace(settings.serving, max_body_size=1_000_000)
        app = create_app(msgspec.structs.replace(settings, serving=serving), load_counting_scorer)
        rows = ["good", "bad", " x "] * ROWS_AT_ONCE
        with TestClient(app) as client:
            answer = send(client, "/file/download", "a.txt", "\n".join(rows))

        found = [row["prediction"] for row in csv.DictReader(io.StringIO(answer.text))]
        assert found == ["POSITIVE", "NEGATIVE", "POSITIVE"] * ROWS_AT_ONCE

    @pytest.mark.parametrize(
        ("name", "content", "status", "said"),
        [
            ("a.xlsx", "x", 400, "no CSV"),
            ("a.txt", "x" * 1001, 413, "1,001 characters"),
            ("a.txt", "x\n" * 15_000, 413, "20,000 bytes"),
        ],
    )
    def test_an_error_is_a_page(
        self, client: Client, name: str, content: str, status: int, said: str
    ) -> None:
        answer = client.post(
            "/file/download", files={"file": (name, content)}, headers={"Accept": "text/html"}
        )

        assert answer.status_code == status
        assert "content-disposition" not in answer.headers
        assert said in answer.text

    def test_without_a_model_there_is_no_download(self, empty_client: Client) -> None:
        assert send(empty_client, "/file/download", "a.txt", "good").status_code == 503

    def test_nothing_but_a_form_with_a_file_is_read(self, client: Client) -> None:
        for answer in (
            client.post("/file/download", data={"file": "x"}),
            client.post("/file/download", json={"file": "x"}),
            client.post(
                "/file/download",
                content=b"--x\r\nbroken",
                headers={"Content-Type": "multipart/form-data; boundary=x"},
            ),
            client.post("/file/download", files={"other": ("a.csv", "text\ngood")}),
        ):
            assert answer.status_code == 400

    def test_a_file_is_never_put_on_the_disk(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a temporary file")

        for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile"):
            monkeypatch.setattr(f"tempfile.{name}", refuse)
        content = "text\n" + "good\n" * 3_900
        assert send(client, "/file/download", "a.csv", content).status_code == 200


class TestSummary:
    def test_a_part_of_the_page_for_htmx(self, client: Client) -> None:
        content = "id,text\n1,good\n2,bad\n3,\n4,bad bad\n"
        part = client.post("/file", files={"file": ("a.csv", content)}, headers=HTMX)

        assert part.status_code == 200
        assert "<html" not in part.text
        assert "4 rows" in part.text
        assert "<dd>2</dd>" in part.text
        assert "reviews-v1" in part.text
        assert part.text.count("<svg") == 2
        assert 'form="file-form"' in part.text

    def test_the_whole_page_without_javascript(self, client: Client) -> None:
        page = send(client, "/file", "a.txt", "good\n<script>bad\n")

        assert page.text.startswith("<!doctype html>")
        assert "2 rows" in page.text
        assert "<script>bad" not in page.text
        assert 'form="file-form"' not in page.text

    @pytest.mark.parametrize("headers", [{}, HTMX])
    def test_an_error_is_explained(self, client: Client, headers: dict[str, str]) -> None:
        page = client.post("/file", files={"file": ("a.csv", "id,text\n1,a,b\n")}, headers=headers)

        assert page.status_code == 400
        assert "Row 1 of a.csv has 3 fields" in page.text

    def test_it_counts(self) -> None:
        summary = Summary()
        sure = Prediction("POSITIVE", 1.0, "m-v1")
        unsure = Prediction("NEGATIVE", 0.5, "m-v1")
        summary.add(["a", " ", "b"], [sure, None, unsure])
        summary.add(["a", "c"], [sure, sure])

        assert (summary.rows, summary.positive, summary.negative, summary.blank) == (5, 3, 1, 1)
        assert summary.bins[BINS - 1] == 3
        assert summary.bins[BINS // 2] == 1
        assert [row.text for row in summary.most_positive] == ["a", "c"]
        assert [row.text for row in summary.most_negative] == ["b"]

    def test_blank_rows_alone_are_no_error(self, client: Client) -> None:
        part = client.post("/file", files={"file": ("a.csv", "id,text\n1,\n2,\n")}, headers=HTMX)

        assert part.status_code == 200
        assert "<dt>Blank</dt><dd>2</dd>" in part.text
