"""Everyday texts: 640 opinions of one sentence, and 150 sentences that hold none.

Written by hand for OpinionLens; no model is trained on them. Half of them may be looked at while
parameters are chosen, the other half is for the last look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

EVERYDAY: Final = Path(__file__).with_name("everyday_texts.csv")
NEUTRAL_TEXTS: Final = Path(__file__).with_name("neutral_texts.csv")

CHOOSING: Final = "choosing"
LAST_LOOK: Final = "last look"


def load_everyday() -> pl.DataFrame:
    """The texts with the columns `text`, `label` (0 or 1), `topic`, `kind` and `part`.

    `kind` is one of ten (plain, negation, double negation, idiom, comparison, wish, contrast,
    slang, question, intensity); `part` is `CHOOSING` or `LAST_LOOK`.
    """
    positive = (pl.col("label") == "positive").cast(pl.Int8)
    return pl.read_csv(EVERYDAY).with_columns(label=positive)


def load_everyday_of_three() -> pl.DataFrame:
    """The same with neutral ones: `text`, `label` (0, 1, or 2 for neutral), `kind` and `part`.

    The kinds of neutral texts are fact, question, request, news and talk.
    """
    neutral = pl.read_csv(NEUTRAL_TEXTS).with_columns(label=pl.lit(2, pl.Int8))
    columns = ["text", "label", "kind", "part"]
    return pl.concat([load_everyday().select(columns), neutral.select(columns)])
