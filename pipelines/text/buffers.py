"""Texts of any container -> one UTF-8 buffer with offsets, as Arrow keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

TextBuffer = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Bytes of all texts, and n + 1 offsets: text i is ``data[offsets[i]:offsets[i + 1]]``."""

_NO_TEXT: Final = np.frombuffer(b"", dtype=np.uint8)


def text_buffer(texts: object) -> TextBuffer:
    """Lay `texts` out as UTF-8.

    Parameters
    ----------
    texts : sequence of str, NumPy array, Polars or pandas Series, PyArrow array
        Or a pandas, Polars or PyArrow table with a single column, as MLflow hands them over.
        Polars and PyArrow buffers are read without copying each string.

    Raises
    ------
    InputError
        If `texts` is a single string, or holds something that is not a string.
    """
    if isinstance(texts, str | bytes):
        raise InputError("expected a list of texts, got one text; wrap it in a list")
    columns = getattr(texts, "column_names", getattr(texts, "columns", None))
    if columns is not None:
        if len(columns) != 1:
            raise InputError(f"expected one column of texts, got {len(columns)}")
        texts = texts[columns[0]]  # type: ignore[index]
    if hasattr(texts, "to_arrow"):
        texts = texts.to_arrow()
    if type(texts).__module__.partition(".")[0] == "pyarrow":
        return _from_arrow(texts)
    if not isinstance(texts, Iterable):
        raise InputError(f"expected a list of texts, got {type(texts).__name__}")
    return _from_strings(texts)


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


def _from_arrow(array: pa.Array | pa.ChunkedArray) -> TextBuffer:
    import pyarrow as pa

    if array.null_count:
        raise InputError(f"{array.null_count} of {len(array)} texts are null")
    value_type = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if len(array) and not _is_text(value_type):
        raise InputError(f"expected strings, got {array.type}")
    # Before chunks are joined: together they may exceed 32-bit offsets.
    array = array.cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    _, offset_buffer, data_buffer = array.buffers()
    if len(array) == 0:
        return _from_strings([])
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)
    offsets = offsets[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer else _NO_TEXT
    for part in (data, offsets):
        part.flags.writeable = False
    return data, offsets


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
