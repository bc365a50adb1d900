"""Everyday texts: 240 opinions of one sentence on products, restaurants, films and life.

Written by hand for OpinionLens; no model is trained on them. Half of them may be looked at while
parameters are chosen, the other half is for the last look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

EVERYDAY: Final = Path(__file__).with_name("everyday.csv")

CHOOSING: Final = "choosing"
LAST_LOOK: Final = "last look"


def load_everyday() -> pl.DataFrame:
    """The texts with the columns `text`, `label` (0 or 1), `topic`, `kind` and `part`.

    `kind` is plain, negation, contrast or slang; `part` is `CHOOSING` or `LAST_LOOK`.
    """
    positive = (pl.col("label") == "positive").cast(pl.Int8)
    return pl.read_csv(EVERYDAY).with_columns(label=positive)
