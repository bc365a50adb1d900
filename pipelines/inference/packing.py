"""A weight table in a few megabytes: which buckets are used, and eight bits for each weight.

A packed table is a safetensors file with the tensors ``used`` (uint8: one bit for each bucket, the
lowest bucket in the highest bit of the first byte) and ``codes`` (int8: one for each used bucket,
ascending), and the facts of the scorer with the scale of the codes in its header. A code `c`
stands for the weight ``scale * c * |c|``: small weights, which most are, are told apart better
than large ones.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import CorruptModelError, InputError
from pipelines.inference.linear import LinearScorer, TableInfo

PACKED_FILE: Final = "packed.safetensors"
"""What a packed table is called in the folder of its model."""

_METADATA_KEY: Final = "opinionlens"
_LARGEST_CODE: Final = 127


class PackedInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts of a packed table: those of the table, and the scale of its codes."""

    table: TableInfo
    scale: float


def pack(scorer: LinearScorer, path: Path, kept: int) -> None:
    """Write the `kept` largest weights of `scorer`, rounded to eight bits.

    The same scorer gives the same bytes. The file is replaced as a whole.

    Raises
    ------
    InputError
        If the scorer's terms have norms (tf-idf): leaving weights out would change them.
    """
    if scorer.norms.size:
        raise InputError("a table with norms cannot be packed; use the scheme nb, binary or count")
    codes, scale = _codes(_largest(scorer.weights, kept))
    used = codes != 0
    info = PackedInfo(table=scorer.info, scale=scale)
    tensors = {"codes": codes[used], "used": np.packbits(used)}
    _write(path, tensors, msgspec.json.encode(info).decode())


def unpack(path: Path) -> LinearScorer:
    """The scorer of a packed table, its weights spread out again.

    Raises
    ------
    CorruptModelError
        If `path` is not a packed table.
    """
    try:
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        info = msgspec.json.decode(header["__metadata__"][_METADATA_KEY], type=PackedInfo)
        used = np.unpackbits(_tensor(data, start, header["used"], "U8"))
        codes = _tensor(data, start, header["codes"], "I8").view(np.int8).astype(np.float32)
        weights = np.zeros(2**info.table.bits, dtype=np.float32)
        weights[used.view(np.bool_)] = np.float32(info.scale) * codes * np.abs(codes)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CorruptModelError(f"{path} is not a packed weight table: {error}") from error
    weights.flags.writeable = False  # as when it is mapped: one compiled version serves both
    return LinearScorer(info.table, weights)


def _largest(weights: NDArray[np.float32], kept: int) -> NDArray[np.float32]:
    """`weights` with all but the `kept` largest ones set to zero."""
    if kept >= np.count_nonzero(weights):
        return weights
    order = np.argsort(-np.abs(weights), kind="stable")
    pruned = weights.copy()
    pruned[order[kept:]] = 0
    return pruned


def _codes(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    scale = float(np.abs(weights).max(initial=0)) / _LARGEST_CODE**2 or 1.0
    roots = np.sqrt(np.abs(weights.astype(np.float64)) / scale)
    return (np.sign(weights) * np.rint(roots)).astype(np.int8), scale


def _write(path: Path, tensors: dict[str, NDArray[np.generic]], info: str) -> None:
    from safetensors.numpy import save

    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(save(tensors, {_METADATA_KEY: info}))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _tensor(data: bytes, start: int, entry: dict[str, Any], dtype: str) -> NDArray[np.uint8]:
    """The bytes of one tensor; all of ours have one byte to an element."""
    begin, end = entry["data_offsets"]
    if entry["dtype"] != dtype or entry["shape"] != [end - begin]:
        raise ValueError(f"unexpected tensor {entry}")
    return np.frombuffer(data, dtype=np.uint8, count=end - begin, offset=start + begin)
