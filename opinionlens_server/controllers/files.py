"""``/file/download``: a file with the verdicts on its rows.

Nothing of a file is kept between requests: the page sends it once for the summary and once more
for the download. Judging a row takes microseconds, a worker need not know what another one was
sent, and there is nothing to expire or to be found by others.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import PurePath
from urllib.parse import quote

from litestar import Controller, post
from litestar.response import Stream

from opinionlens_server.dependencies import JudgeDependency, SettingsDependency
from opinionlens_server.files import TextFile, VerdictWriter, read_file
from opinionlens_server.inference import Prediction
from opinionlens_server.limits import limit_rate
from opinionlens_server.requests import TextRequest
from pipelines.settings import Serving


class FilesController(Controller):
    """Files in, files out."""

    path = "/file"
    include_in_schema = False

    @post("/download", status_code=200, before_request=limit_rate)
    async def download(
        self, request: TextRequest, settings: SettingsDependency, judge: JudgeDependency
    ) -> Stream:
        """The rows of the file with their verdicts, as they are judged."""
        file = await receive_file(request, settings.serving)
        writer = VerdictWriter(file)
        judged = judge.predict_rows(file.texts)
        # The first rows are judged before the answer begins: without a model, there is none.
        first = await anext(judged)
        return Stream(
            _write(writer, first, judged),
            media_type=writer.media_type,
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": _attachment(file.name, writer.suffix),
            },
        )


async def receive_file(request: TextRequest, limits: Serving) -> TextFile:
    """The file of the form's field ``file``; the field ``column`` may say where its texts are.

    Raises
    ------
    ClientException, InputError, HTTPException
        If the form or the file cannot be used, see :func:`opinionlens_server.files.read_file`.
    """
    form = await request.parts()
    file, column = form.get("file"), form.get("column")
    return await asyncio.to_thread(
        read_file,
        PurePath(file.filename.replace("\\", "/")).name if file else "",
        file.content if file else b"",
        column.text.strip() if column else "",
        limits,
    )


async def _write(
    writer: VerdictWriter,
    first: list[Prediction | None],
    judged: AsyncIterator[list[Prediction | None]],
) -> AsyncIterator[bytes]:
    yield writer.head() + writer.write(first)
    async for predictions in judged:
        yield writer.write(predictions)


def _attachment(name: str, suffix: str) -> str:
    """A header that names the download after the file, whatever its name is made of."""
    stem = PurePath(name).stem
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "file"
    encoded = quote(f"{stem}-verdicts{suffix}", safe="")
    return f"attachment; filename=\"{plain}-verdicts{suffix}\"; filename*=UTF-8''{encoded}"
