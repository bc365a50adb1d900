"""The kernels against the oracle on texts that people wrote."""

from __future__ import annotations

import polars as pl
import pytest

from pipelines.text.normalise import normalise
from tests.support import real_data
from tests.unit.text import oracle
from tests.unit.text.test_tokens import counted

FILES = {
    "IMDB Dataset/IMDB Dataset.csv": "review",
    "Amazon Food Reviews/Reviews.csv": "Text",
    "Airline Tweets/Tweets.csv": "text",
}


@pytest.mark.real_data
@pytest.mark.parametrize(("file", "column"), FILES.items(), ids=FILES.values())
def test_real_texts_equal_the_oracle(file: str, column: str) -> None:
    texts = pl.read_csv(real_data() / "raw" / file, columns=[column])[column].drop_nulls()
    several = texts.sample(200, seed=0).to_list()
    for text, found in zip(several, counted(several), strict=True):
        assert normalise(text) == oracle.normalise(text)
        assert list(found.values()) == list(oracle.ngrams(text, 3).values())
