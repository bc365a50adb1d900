"""Files over the API: the same rows as the page's download, by body or by form."""

from __future__ import annotations

import io
import json
from typing import Any

import polars as pl
import pytest
from litestar import Litestar
from litestar.testing import TestClient

PREDICT_FILE = "/api/v1/inference/file_predict"
CSV = b"id,said,text\n1,good good,no\n2,,no\n3,bad,no\n"
Client = TestClient[Litestar]


@pytest.mark.parametrize("form", [False, True])
def test_the_rows_come_back_with_predictions(client: Client, form: bool) -> None:
    sent: dict[str, Any] = {"files": {"file": ("a.csv", CSV)}} if form else {"content": CSV}
    params = {"text_column": "said", "filename": "a.csv"}

    answer = client.post(PREDICT_FILE, params=params, **sent)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert "a-verdicts.csv" in answer.headers["content-disposition"]
    rows = pl.read_csv(answer.content)
    assert rows["said"].to_list() == ["good good", None, "bad"]
    assert rows["prediction"].to_list() == ["POSITIVE", None, "NEGATIVE"]
    page = client.post("/file/download", files={"file": ("a.csv", CSV)}, data={"column": "said"})
    assert answer.content == page.content


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (CSV.replace(b",", b";"), "a.csv", "jsonl"),
        (b'{"id": 1, "text": "good"}\n{"text": "bad", "more": [1]}\n', "a.jsonl", "csv"),
        (b'[{"text": "good"}, {"text": "bad"}]', "a.json", "jsonl"),
        (b"good\nbad\n", "a.txt", "jsonl"),
    ],
)
def test_the_format_of_the_answer_can_be_chosen(
    client: Client, content: bytes, name: str, kind: str
) -> None:
    params = {"format": kind, "filename": name}

    answer = client.post(PREDICT_FILE, params=params, content=content)

    assert answer.status_code == 200, answer.text
    read = pl.read_csv if kind == "csv" else pl.read_ndjson
    rows = read(io.BytesIO(answer.content))
    assert rows["row"].to_list() == list(range(1, rows.height + 1))
    assert set(rows["model"]) == {"reviews-v1"}
    assert rows["prediction"].to_list()[-1] in ("NEGATIVE", "POSITIVE")


def test_parquet_stays_parquet(client: Client) -> None:
    file = io.BytesIO()
    pl.DataFrame({"text": ["good", "bad"], "n": [1, 2]}).write_parquet(file)

    answer = client.post(PREDICT_FILE, content=file.getvalue())

    rows = pl.read_parquet(io.BytesIO(answer.content))
    assert rows.select("n", "prediction").rows() == [(1, "POSITIVE"), (2, "NEGATIVE")]


@pytest.mark.parametrize(
    ("content", "params", "status", "said"),
    [
        (b"", {}, 400, "is empty"),
        (CSV, {"text_column": "body"}, 400, "'body'"),
        (CSV, {"format": "xml"}, 400, "format"),
        (b"text\n" + b"a\n" * 4_001, {}, 413, "more than 4,000 rows"),
        (b"text\n" + b"x" * 1_001, {}, 413, "1,001 characters"),
        (b"x" * 20_001, {}, 413, "20,000 bytes"),
    ],
)
def test_what_is_wrong_is_said(
    client: Client, content: bytes, params: dict[str, str], status: int, said: str
) -> None:
    answer = client.post(PREDICT_FILE, params=params, content=content)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in json.dumps(answer.json())


def test_the_document_says_what_goes_in_and_out(client: Client) -> None:
    described = client.get("/schema").json()["paths"][PREDICT_FILE]["post"]

    assert set(described["requestBody"]["content"]) == {
        "application/octet-stream",
        "multipart/form-data",
    }
    assert {"text/csv", "application/jsonl"} <= set(described["responses"]["200"]["content"])
    assert {each["name"] for each in described["parameters"]} == {
        "filename",
        "text_column",
        "sheet",
        "header",
        "format",
    }
