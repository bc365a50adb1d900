"""Uploaded files sent back with verdicts in their rows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import PurePath
from typing import Final
from urllib.parse import quote

from litestar.response import Stream

from opinionlens_server.http.requests import AppRequest
from opinionlens_server.models.predictor import Prediction
from opinionlens_server.scoring.uploads import Upload
from pipelines.batch.verdicts import added_columns, verdict_columns
from pipelines.config.settings import Serving
from pipelines.inference.evidence import Judgement
from pipelines.labels import POSITIVE, Classes
from pipelines.tables.results import ResultWriter
from pipelines.tables.table import Batch

_PACKED: Final = (".gz", ".zst", ".zip")


async def scored_file(request: AppRequest, file: Upload, kind: str | None = None) -> Stream:
    """The rows of a file with their predictions, in chunks.

    Parameters
    ----------
    request : AppRequest
    file : Upload
        With all its columns.
    kind : str, optional
        As for `ResultWriter`.

    Raises
    ------
    NoActiveModelError
        If no model is loaded.
    """
    services = request.services
    model = services.active_model.require()
    writer = await asyncio.to_thread(
        VerdictWriter, file, services.settings.serving, model.scorer.classes, kind
    )
    return Stream(
        _write(writer, services.predictor.predict_rows(model, file.texts)),
        media_type=writer.media_type,
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": _attachment(file.name, writer.suffix),
        },
    )


class VerdictWriter:
    """Writes the rows of a file with their predictions, in the format of the file or as `kind`."""

    def __init__(
        self, upload: Upload, limits: Serving, classes: Classes, kind: str | None = None
    ) -> None:
        table, columns = upload.table, added_columns(classes)
        self._classes = classes
        self._writer = ResultWriter(
            table,
            columns,
            harmless=limits.harmless_cells,
            kind=None if kind == table.kind else kind,
        )
        self._rows = _joined(upload.batches)
        self._written = 0
        self.suffix = self._writer.suffix
        self.media_type = self._writer.media_type

    def head(self) -> bytes:
        """The bytes before the rows."""
        return self._writer.head()

    def write(self, predictions: Sequence[Prediction | None]) -> bytes:
        """The next rows, one for each prediction; a blank text has none."""
        rows = _part(self._rows, self._written, len(predictions))
        self._written += len(predictions)
        model = next((found.model for found in predictions if found), "")
        judged = verdict_columns(list(map(judgement_of, predictions)), model, self._classes)
        return self._writer.write(rows, judged)

    def tail(self) -> bytes:
        """The bytes after the rows."""
        return self._writer.tail()


def judgement_of(found: Prediction | None) -> Judgement | None:
    """The verdict of a prediction, as `pipelines` has it."""
    if found is None:
        return None
    confidence = found.confidence
    if found.probabilities:
        each = tuple(found.probabilities.values())
        return Judgement(found.prediction, confidence, found.known, found.evidence, each)
    positive = confidence if found.prediction == POSITIVE else 1 - confidence
    return Judgement(found.prediction, positive, found.known, found.evidence)


async def _write(
    writer: VerdictWriter, chunks: AsyncIterator[list[Prediction | None]]
) -> AsyncIterator[bytes]:
    yield writer.head()
    async for predictions in chunks:
        yield await asyncio.to_thread(writer.write, predictions)
    yield await asyncio.to_thread(writer.tail)


def _attachment(name: str, suffix: str) -> str:
    """A Content-Disposition header that names the download after the uploaded file."""
    path = PurePath(name)
    stem = PurePath(path.stem).stem if path.suffix.lower() in _PACKED else path.stem
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "file"
    encoded = quote(f"{stem}-verdicts{suffix}", safe="")
    return f"attachment; filename=\"{plain}-verdicts{suffix}\"; filename*=UTF-8''{encoded}"


def _joined(batches: Sequence[Batch]) -> Batch:
    import polars as pl

    records = [record for batch in batches for record in batch.records or ()]
    return Batch(
        pl.concat([batch.frame for batch in batches]),
        pl.concat([batch.rows for batch in batches]),
        pl.concat([batch.lines for batch in batches]),
        records=records or None,
        typed=pl.concat([b.typed for b in batches if b.typed is not None])
        if batches[0].typed is not None
        else None,
    )


def _part(rows: Batch, start: int, length: int) -> Batch:
    return Batch(
        rows.frame.slice(start, length),
        rows.rows.slice(start, length),
        rows.lines.slice(start, length),
        records=rows.records and rows.records[start : start + length],
        typed=None if rows.typed is None else rows.typed.slice(start, length),
    )
