"""From a file of texts to the texts of a labelling project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.datasets.splitting import mix_with_seed
from pipelines.errors import DataError
from pipelines.labelling.candidates import has_candidates
from pipelines.tables.table import Table
from pipelines.text.normalise import normalise_column

if TYPE_CHECKING:
    import polars as pl

SEED: Final = 42
"""That of `conf/params.yaml`: the texts drawn at random are then in its splits val and test."""
MOST_TEXTS: Final = 200_000
_SAID: Final = ("label", "suggestion", "reason")


class Pile(msgspec.Struct, frozen=True):
    """The distinct texts of a file, each with its place in a random order."""

    texts: list[tuple[int, str]]
    messages: list[str]
    suggestions: dict[int, tuple[str, str, str]]
    """Of a file of candidates, by place: label, suggestion and reason."""

    @property
    def classes(self) -> list[str]:
        """The labels and suggestions that there are; none if they are negative and positive."""
        names = {name for said in self.suggestions.values() for name in said[:2] if name}
        folded = {name.casefold(): name for name in sorted(names)}
        return [] if folded.keys() <= {"negative", "positive"} else list(folded.values())


def read_pile(table: Table, column: str | None = None, seed: int = SEED) -> Pile:
    """Read the texts of a file, each once; of a file of candidates, what it suggests as well.

    Parameters
    ----------
    table : Table
    column : str, optional
        The column of the texts; by default, the one that looks like it.
    seed : int
        Which texts are drawn at random.

    Raises
    ------
    DataError
        If it cannot be read, or holds no text.
    """
    import polars as pl

    said = _SAID if has_candidates(table.columns) else ()
    name = table.text_column(column or ("text" if said else None))
    wanted = list(dict.fromkeys([name, *said]))
    schema = dict.fromkeys(wanted, pl.String)
    parts = [batch.frame for batch in table.batches(wanted)]
    rows = pl.concat([pl.DataFrame(schema=schema), *parts]).rename({name: "text"})
    written = rows.filter(pl.col("text").str.strip_chars().fill_null("") != "")
    if written.is_empty():
        raise DataError(f"{table.name}: column {name!r} holds no text.")
    frame = written.with_columns(place=places(written["text"], seed))
    distinct = frame.unique("place", keep="first", maintain_order=True)
    taken = distinct.sample(min(distinct.height, MOST_TEXTS), seed=seed)
    messages = [table.describe(), f"Texts from column {name!r}.", *table.messages()]
    for count, what in (
        (len(rows) - len(written), "without a text"),
        (len(written) - distinct.height, "with a text seen before"),
        (distinct.height - taken.height, f"beyond {MOST_TEXTS:,} texts, at random"),
    ):
        if count:
            messages.append(f"Left out: {count:,} row{'s' * (count != 1)} {what}.")
    suggestions = taken.select("place", *said).fill_null("").rows() if said else []
    if said:
        messages.append("Its columns label, suggestion and reason stand below each text.")
    return Pile(
        list(zip(taken["place"], taken["text"], strict=True)),
        messages,
        {place: (label, suggestion, reason) for place, label, suggestion, reason in suggestions},
    )


def places(texts: pl.Series, seed: int = SEED) -> pl.Series:
    """The place of each text in a random order, 0 to 2^63: a function of the text and the seed.

    Texts that are equal once they are prepared have the same place. The order is the one in which
    `pipelines.datasets.splitting.assign_splits` deals out texts: the first fifth of it are the
    splits test and val of a data set with the same seed.
    """
    import polars as pl

    _, digests = normalise_column(texts)
    return pl.Series("place", (mix_with_seed(digests.to_numpy(), seed) >> 1).astype("int64"))
