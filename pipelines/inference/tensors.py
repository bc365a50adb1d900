"""Reading a safetensors file without copying it: the header, and views of its tensors.

The package's own reader copies every tensor; a served table stays where it is mapped.
"""

from __future__ import annotations

import json
import mmap
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

METADATA_KEY: Final = "opinionlens"
"""Key of the header for the facts about a model."""

_LARGEST_HEADER: Final = 1_000_000
_NAMES: Final = {"float32": "F32", "uint8": "U8", "int8": "I8"}


class Tensors:
    """The tensors of the safetensors file whose bytes are `data`.

    Raises
    ------
    ValueError, LookupError, TypeError, RecursionError
        If it is no such file, or does not have the tensor that is asked for.
    """

    def __init__(self, data: bytes | mmap.mmap) -> None:
        size = int.from_bytes(data[:8], "little")
        if size > min(_LARGEST_HEADER, len(data) - 8):
            raise ValueError(f"its header has {size:,} bytes")
        self._data = data
        self._start = 8 + size
        self._header: dict[str, Any] = json.loads(bytes(data[8 : self._start]))
        self.facts: str = self._header["__metadata__"][METADATA_KEY]

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def get(self, name: str, dtype: DTypeLike, size: int | None = None) -> NDArray[Any]:
        """The tensor called `name` as a read-only array, shape (size,); None: of any size."""
        entry = self._header[name]
        begin, end = msgspec.convert(entry["data_offsets"], tuple[int, int])
        kind = np.dtype(dtype)
        count, rest = divmod(end - begin, kind.itemsize)
        if (
            entry["dtype"] != _NAMES[kind.name]
            or entry["shape"] != [count]
            or size not in (None, count)
        ):
            raise ValueError(f"unexpected tensor {str(entry)[:200]}")
        offset = self._start + begin
        after = self._start + end
        if rest or not 0 <= begin <= end or offset % kind.itemsize or after > len(self._data):
            raise ValueError(f"a tensor of {count:,} numbers at {offset:,}")
        return np.frombuffer(self._data, dtype=kind, count=count, offset=offset)
