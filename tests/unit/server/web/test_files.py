from __future__ import annotations

import csv
import io
import json
import re

import msgspec
import pytest
from httpx import Response
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.testing import TestClient

from opinionlens_server.app import create_app
from opinionlens_server.models.predictor import ROWS_AT_ONCE
from opinionlens_server.scoring.uploads import Choice, Upload, read_upload
from pipelines.batch.verdicts import ADDED
from pipelines.config.settings import Serving, Settings
from pipelines.errors import InputError
from tests.unit.server.conftest import Install, load_counting_scorer

Client = TestClient[Litestar]
LIMITS = Serving(max_file_rows=4, max_text_length=20)
HTMX = {"HX-Request": "true"}


def read(name: str, content: str | bytes, column: str = "", limits: Serving = LIMITS) -> Upload:
    encoded = content if isinstance(content, bytes) else content.encode()
    return read_upload(name, encoded, Choice(column=column), limits, whole=False)


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
            ("a.csv", "text,stars\n\ngood,1\n", ["", "good"]),
            ("a.csv", '4,"I love it"\n0,"I hate it"\n', ["I love it", "I hate it"]),
            ("a.csv", b"text\ncaf\xe9\n", ["café"]),
            ("a.csv", "\ufefftext\ngrößer\n", ["größer"]),
            ("a.txt", "good\r\n\r\nbad", ["good", "", "bad"]),
            ("a.txt", "a\u2028b\x0bc\n", ["a\u2028b\x0bc"]),
            ("a.jsonl", '{"text": "good"}\n\n{"text": "bad", "n": 1}\n', ["good", "bad"]),
            ("a.jsonl", '{"n": 1, "x": "no", "said": "longer text"}', ["longer text"]),
            ("a.ndjson", '"good"\n"bad"\n', ["good", "bad"]),
        ],
    )
    def test_every_format(self, name: str, content: str | bytes, texts: list[str]) -> None:
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
            ("a.csv", b"PK\x03\x04broken", "not a complete zip file"),
            ("a.xlsx", b"%PDF-1.7", "is a PDF file"),
            ("a.csv", "", "is empty"),
            ("a.csv", "text\n", "no row"),
            ("a.txt", " \n\n", "no rows"),
            ("a.jsonl", "\n", "no rows"),
            ("a.csv", "id,text\n1,a,b\n", r"left out: more fields than the 2 columns \(line 2\)"),
            ("a.csv", "sku,price\nAB-1,3.5\n", "no column of words"),
            ("a.csv", ",".join(["x"] * 1_001) + "\n1\n", "1,001 columns, and 1,000 are the limit"),
        ],
    )
    def test_wrong_files_are_explained(self, name: str, content: str | bytes, said: str) -> None:
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

        assert len(read("a.csv", "text\n" + "x" * 200_000, limits=limits).texts[0]) == 200_000

    def test_rows_left_out_are_noted(self) -> None:
        found = read("a.csv", 'id,text\n1,fine\n2,"the "best" one\n3,bad\n')

        assert found.texts == ["fine", "bad"]
        assert any("(line 3)" in note for note in found.notes)


def test_a_field_beside_the_file_has_a_limit(client: TestClient[Litestar]) -> None:
    for path in ("/file", "/file/preview", "/file/download"):
        file = {"file": ("a.txt", "good")}
        sent = client.post(path, files=file, data={"search": "a" * 17_000})
        assert sent.status_code == 413, path


class TestDownload:
    def test_a_csv_file_gets_two_columns(self, client: Client) -> None:
        content = 'id,text\n1,"good, really"\n2,\n3,bad\n'
        answer = send(client, "/file/download", "my reviews.csv", content)

        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/csv")
        assert 'filename="my-reviews-verdicts.csv"' in answer.headers["content-disposition"]
        assert answer.headers["cache-control"] == "no-store"
        assert list(csv.reader(io.StringIO(answer.text))) == [
            ["id", "text", *ADDED, "row"],
            [
                "1",
                "good, really",
                "POSITIVE",
                "0.750260",
                "0.750260",
                "weak",
                "",
                "reviews-v1",
                "1",
            ],
            ["2", "", "", "", "", "none", "", "reviews-v1", "2"],
            ["3", "bad", "NEGATIVE", "0.710950", "0.289050", "weak", "", "reviews-v1", "3"],
        ]

    def test_short_rows_do_not_become_many_cells(self, client: Client) -> None:
        content = "text" + "," * 999 + "\n" + "good\n" * 3_000
        answer = send(client, "/file/download", "a.csv", content)

        assert answer.status_code == 413
        assert "more than 2,000,000 cells" in answer.text

    def test_a_file_keeps_its_dialect(self, client: Client) -> None:
        content = "id;prediction;text\r\n=1;x;größer\r\n".encode("cp1252")
        answer = send(client, "/file/download", "a.csv", content)

        assert answer.content.decode("cp1252").split("\r\n")[:2] == [
            "id;prediction;text;prediction_2;confidence;probability;evidence;known;model;row",
            "'=1;x;größer;POSITIVE;0.524979;0.524979;weak;;reviews-v1;1",
        ]

    def test_a_jsonl_file_gets_two_keys(self, client: Client) -> None:
        content = '{"text": "good", "n": {"a": 1}}\n{"text": " "}\n'
        answer = send(client, "/file/download", "a.jsonl", content)

        first, second = map(json.loads, answer.text.splitlines())
        assert first["n"] == {"a": 1}
        assert first["prediction"] == "POSITIVE"
        assert first["confidence"] == pytest.approx(0.7503, abs=1e-4)
        assert second == {
            "text": " ",
            "row": 2,
            "prediction": None,
            "confidence": None,
            "probability": None,
            "known": None,
            "evidence": "none",
            "model": "reviews-v1",
        }

    def test_a_text_file_becomes_a_csv_file(self, client: Client) -> None:
        answer = send(client, "/file/download", "größe.txt", "good\nbad\n")

        assert (
            answer.text.splitlines()[0]
            == "text,prediction,confidence,probability,evidence,known,model,row"
        )
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
            ("a.xlsx", "%PDF", 400, "PDF"),
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

    def test_other_bodies_than_forms_with_a_file_are_refused(self, client: Client) -> None:
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


class TestResult:
    def test_a_part_of_the_page_for_htmx(self, client: Client) -> None:
        content = "id,text\n1,good\n2,bad\n3,\n4,bad bad\n"
        part = client.post("/file", files={"file": ("a.csv", content)}, headers=HTMX)

        assert part.status_code == 200
        assert "<html" not in part.text
        assert "4 rows, texts from <strong>text</strong>" in part.text
        assert re.findall(r"<dt[^>]*>(\w+)</dt><dd>(\d+)</dd>", part.text) == [
            ("Negative", "2"),
            ("Positive", "1"),
            ("Blank", "1"),
        ]
        assert listed(part) == ["bad bad", "bad", "good", ""]
        assert "Against the labels" not in part.text

    def test_the_whole_page_without_javascript(self, client: Client) -> None:
        page = send(client, "/file", "a.txt", "good\n<script>bad\n")

        assert page.text.startswith("<!doctype html>")
        assert "2 rows" in page.text
        assert "<script>bad" not in page.text

    @pytest.mark.parametrize("headers", [{}, HTMX])
    @pytest.mark.parametrize("path", ["/file", "/file/preview"])
    def test_an_error_is_explained(
        self, client: Client, path: str, headers: dict[str, str]
    ) -> None:
        content = "id,text\n1,a,b\n"
        page = client.post(path, files={"file": ("a.csv", content)}, headers=headers)

        assert page.status_code == 400
        assert "more fields than the 2 columns (line 2)" in page.text

    def test_blank_rows_alone_are_no_error(self, client: Client) -> None:
        part = client.post("/file", files={"file": ("a.csv", "id,text\n1,\n2,\n")}, headers=HTMX)

        assert part.status_code == 200
        assert "<dt>Blank</dt><dd>2</dd>" in part.text

    def test_labels_are_compared_and_rows_chosen(self, client: Client) -> None:
        content = "text,stars,shop\n" + "good,5,a\nbad,1,a\ngood bad bad,4,b\n"

        def ask(**form: str) -> Response:
            return client.post("/file", files={"file": ("a.csv", content)}, data=form)

        found = ask(by="shop")
        assert "66.7 %</strong> of 3 labelled rows agree" in found.text
        assert re.findall(r'<th scope="row" dir="auto">(\w)</th><td>(\d)</td>', found.text) == [
            ("a", "2"),
            ("b", "1"),
        ]
        assert listed(ask(only="wrong")) == ["good bad bad"]
        assert listed(ask(search="BAD", order="file")) == ["bad", "good bad bad"]
        assert listed(ask(order="positive", page="9")) == ["good", "bad", "good bad bad"]
        assert "Against the labels" not in ask(label="0").text
        assert "No row is like that" in ask(search="nothing").text

    def test_the_preview_shows_what_there_is_to_choose(self, client: Client) -> None:
        content = "id,said,text\n1,a,good\n2,b,bad\n"
        form = {"column": "said", "header": ""}
        part = client.post("/file/preview", files={"file": ("a.csv", content)}, data=form)

        assert '<option selected value="said">' in part.text
        assert part.text.count("<tr>") == 3
        gone = client.post(
            "/file/preview", files={"file": ("a.csv", content)}, data={"column": "x"}
        )
        assert '<option selected value="text">' in gone.text


def listed(part: Response) -> list[str]:
    """The texts of the rows in their order."""
    return re.findall(r'<td class="text" dir="auto">([^<]*)</td>', part.text)
