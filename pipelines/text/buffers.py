"""Texts of any container -> one UTF-8 buffer with offsets, as Arrow keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputError

TextBuffer = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Bytes of all texts, and n + 1 offsets: text i is ``data[offsets[i]:offsets[i + 1]]``."""

_NO_TEXT: Final = np.frombuffer(b"", dtype=np.uint8)


def text_buffer(texts: object) -> TextBuffer:
    """Lay `texts` out as UTF-8.

    Parameters
    ----------
    texts : sequence of str, NumPy array, Polars or pandas Series, PyArrow array
        Or a pandas or Polars data frame with a single column, as MLflow hands them over.
        Polars and PyArrow buffers are read without copying each string.

    Raises
    ------
    InputError
        If `texts` is a single string, or holds something that is not a string.
    """
    if isinstance(texts, str | bytes):
        raise InputError("expected a list of texts, got one text; wrap it in a list")
    columns = getattr(texts, "columns", None)
    if columns is not None:
        if len(columns) != 1:
            raise InputError(f"expected one column of texts, got {len(columns)}")
        texts = texts[columns[0]]  # type: ignore[index]
    if hasattr(texts, "to_arrow"):
        texts = texts.to_arrow()
    if type(texts).__module__.partition(".")[0] == "pyarrow":
        return _from_arrow(texts)
    return _from_strings(texts)  # type: ignore[arg-type]


def _from_strings(texts: Iterable[object]) -> TextBuffer:
    encoded = []
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {position} is {type(text).__name__}, not a string")
        encoded.append(text.encode("utf-8", "surrogatepass"))
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    # Read-only like Arrow's own buffers: Numba compiles a kernel anew for writable ones.
    offsets.flags.writeable = False
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


def _from_arrow(array: object) -> TextBuffer:
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    try:
        array = array.cast(pa.large_string())  # type: ignore[attr-defined]
    except pa.ArrowInvalid as error:
        raise InputError(f"expected strings, got {array.type}") from error  # type: ignore[attr-defined]
    if array.null_count:
        raise InputError(f"{array.null_count} texts are null")
    _, offset_buffer, data_buffer = array.buffers()
    if len(array) == 0:
        return _from_strings([])
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)
    offsets = offsets[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer else _NO_TEXT
    return data, offsets
