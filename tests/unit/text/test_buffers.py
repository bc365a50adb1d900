"""Texts of every container."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.text.buffers import text_buffer
from pipelines.text.vectorizer import HashedNgramVectorizer
from tests.unit.text.strategies import valid_texts

Texts = Sequence[str]
CONTAINERS: dict[str, Callable[[Texts], object]] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda t: (text for text in t),
    "numpy objects": lambda t: np.array(t, dtype=object),
    "numpy view": lambda t: np.array([text for text in t for _ in "ab"], dtype=object)[::2],
    "polars": lambda t: pl.Series(t, dtype=pl.String),
    "polars slice": lambda t: pl.Series(["x", "yy", *t, "z"])[2:-1],
    "polars chunks": lambda t: pl.concat(
        [pl.Series(t[:1], dtype=pl.String), pl.Series(t[1:], dtype=pl.String)], rechunk=False
    ),
    "polars categorical": lambda t: pl.Series(t, dtype=pl.String).cast(pl.Categorical),
    "polars frame": lambda t: pl.DataFrame({"text": pl.Series(t, dtype=pl.String)}),
    "arrow string": lambda t: pa.array(t, pa.string()),
    "arrow large": lambda t: pa.array(t, pa.large_string()),
    "arrow view": lambda t: pa.array(t, pa.string_view()),
    "arrow slice": lambda t: pa.array(["x", *t, "z"], pa.string()).slice(1, len(t)),
    "arrow large slice": lambda t: pa.array(["x", *t], pa.large_string()).slice(1),
    "arrow chunks": lambda t: pa.chunked_array([t[:1], [], t[1:]], pa.string()),
    "arrow no chunks": lambda t: pa.chunked_array([t] if t else [], pa.string()),
    "arrow dictionary": lambda t: pa.array(t, pa.string()).dictionary_encode(),
    "arrow table": lambda t: pa.table({"text": pa.array(t, pa.string())}),
    "pandas": lambda t: pd.Series(t, dtype="str"),
    "pandas objects": lambda t: pd.Series(t, dtype=object, index=range(7, 7 + len(t))),
    "pandas slice": lambda t: pd.Series(["x", *t], dtype="str")[1:],
    "pandas frame": lambda t: pd.DataFrame({"text": pd.Series(t, dtype="str")}),
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["good", "", "naïve 😀", "a\x00b"]], ids=len)
def test_every_container_holds_the_same_texts(
    container: Callable[[Texts], object], texts: list[str]
) -> None:
    data, offsets = text_buffer(container(texts))
    found = [data[a:b].tobytes().decode() for a, b in itertools.pairwise(offsets)]
    assert found == texts
    assert (data.dtype, offsets.dtype) == (np.uint8, np.int64)
    # A kernel is compiled once more for arrays that can be written to.
    assert not data.flags.writeable
    assert not offsets.flags.writeable


@given(st.lists(valid_texts(6), max_size=5), st.sampled_from(sorted(CONTAINERS)))
def test_features_do_not_depend_on_the_container(texts: list[str], name: str) -> None:
    vectorizer = HashedNgramVectorizer(2, 16)
    expected = vectorizer.transform(texts)
    found = vectorizer.transform(CONTAINERS[name](texts))
    assert found.shape == expected.shape
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


def test_surrogates_are_texts_too() -> None:
    data, offsets = text_buffer(["\ud800", np.str_("a")])
    assert data.tobytes() == b"\xed\xa0\x80a"
    assert offsets.tolist() == [0, 3, 4]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("a text", "wrap it in a list"),
        (b"bytes", "wrap it in a list"),
        (None, "got NoneType"),
        (3, "got int"),
        (["a", 1], "text 1 is int"),
        ([None], "text 0 is NoneType"),
        ([b"a"], "text 0 is bytes"),
        ([["a"]], "text 0 is list"),
        (np.array([["a"]]), "text 0 is ndarray"),
        (np.array([1.0]), "text 0 is float64"),
        (pl.Series([1]), "expected strings, got int64"),
        (pl.Series(["a", None]), "1 of 2 texts are null"),
        (pl.Series([None]), "1 of 1 texts are null"),
        (pd.Series(["a", None]), "text 1 is float"),
        (pa.array([b"a"]), "expected strings, got binary"),
        (pa.chunked_array([["a"], [None]]), "1 of 2 texts are null"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "one column of texts, got 2"),
        (pl.DataFrame(), "one column of texts, got 0"),
        (pa.table({"a": ["x"], "b": ["y"]}), "one column of texts, got 2"),
    ],
)
def test_wrong_input_says_what_is_wrong(wrong: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        text_buffer(wrong)
