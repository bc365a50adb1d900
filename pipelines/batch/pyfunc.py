"""Logged models as `mlflow.pyfunc` loads them, in Python and in Spark: texts -> labels or verdicts.

The name of this module stands in the ``MLmodel`` files of models, so it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.batch.verdicts import judge_column
from pipelines.inference.loading import load_logged
from pipelines.training.persistence import VERDICTS

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.inference.scorer import Scorer

_NOT_HERE: Final = "model"
"""The column of verdicts that names the model, which whoever loaded it knows."""


class VerdictModel:
    """What `mlflow.pyfunc.load_model` wraps.

    Parameters
    ----------
    scorer : Scorer
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def predict(
        self, data: object, params: Mapping[str, Any] | None = None
    ) -> NDArray[np.object_] | pd.DataFrame:
        """Judge texts.

        Parameters
        ----------
        data : table with one column of texts, or n texts in another container
            None is a row without a text. Its prediction is ``""``: of null, Spark would make the
            word "nan".
        params : mapping, optional
            ``verdicts``: whether to answer with a table.

        Returns
        -------
        object array, shape (n,)
            The labels.
        pandas DataFrame
            With ``verdicts``, the columns that `olens predict` adds to rows: ``prediction``,
            ``confidence``, ``probability`` (of more than two classes ``probability NAME`` of each),
            ``evidence`` and ``known``.

        Raises
        ------
        InputError
            If something is not a text.
        """
        texts = _texts(data)
        if not (params or {}).get(VERDICTS):
            return self._labels(texts)
        import polars as pl

        judged = judge_column(self._scorer, pl.Series(texts, dtype=pl.String), "")
        return judged.drop(_NOT_HERE).with_columns(pl.col("prediction").fill_null("")).to_pandas()

    def _labels(self, texts: list[str | None]) -> NDArray[np.object_]:
        labels = np.full(len(texts), "", dtype=object)
        given = [at for at, text in enumerate(texts) if text is not None]
        labels[given] = self._scorer.predict([texts[at] for at in given])[0]  # type: ignore[misc]
        return labels


def _load_pyfunc(path: str) -> VerdictModel:
    """MLflow's way in: the model in the folder `path`."""
    return VerdictModel(load_logged(Path(path)))


def _texts(data: object) -> list[str | None]:
    """The texts of what MLflow hands over; what pandas has for nothing becomes None."""
    columns = getattr(data, "columns", None)
    if columns is not None:
        data = data[columns[0]]  # type: ignore[index]
    assert isinstance(data, Iterable)
    if not hasattr(data, "isna"):
        return list(data)
    return [None if gone else text for text, gone in zip(data, data.isna(), strict=True)]
