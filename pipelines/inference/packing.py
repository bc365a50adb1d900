"""A weight table in a few megabytes: which buckets are used, and eight bits for each weight.

A packed table is a safetensors file with the tensors ``used`` (uint8: one bit for each bucket, the
lowest bucket in the highest bit of the first byte) and ``codes`` (int8: for each used bucket,
ascending, one; of more than two classes, one for each class), and the facts of the scorer with the
scale of the codes in its header. A code `c` stands for the weight ``scale * c * |c|``: small
weights, which most are, are told apart better than large ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import CorruptModelError, InputError
from pipelines.files import write_file
from pipelines.inference.linear_scorer import LinearScorer, TableInfo
from pipelines.inference.tensors import METADATA_KEY, Tensors

PACKED_FILE: Final = "packed.safetensors"
"""Name of a packed table in the folder of its model."""

_LARGEST_CODE: Final = 127


class PackedInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts of a packed table: those of the table, and the scale of its codes."""

    table: TableInfo
    scale: float


def pack(scorer: LinearScorer, path: Path, kept: int) -> None:
    """Write the `kept` buckets of `scorer` with the largest weights, rounded to eight bits.

    The same scorer gives the same bytes. The file is replaced as a whole.

    Raises
    ------
    InputError
        If the scorer's terms have norms (tf-idf): leaving weights out would change them.
    """
    if scorer.norms.size:
        raise InputError("a table with norms cannot be packed; use the scheme nb, binary or count")
    codes, scale = _codes(_largest(scorer.weights.reshape(2**scorer.info.bits, -1), kept))
    used = codes.any(axis=1)
    info = PackedInfo(table=scorer.info, scale=scale)
    tensors: dict[str, NDArray[np.generic]] = {
        "codes": codes[used].ravel(),
        "used": np.packbits(used),
    }
    _write(path, tensors, msgspec.json.encode(info).decode())


def unpack(path: Path) -> LinearScorer:
    """The scorer of a packed table, its weights spread out again.

    Raises
    ------
    CorruptModelError
        If `path` is not a packed table.
    """
    try:
        tensors = Tensors(path.read_bytes())
        info = msgspec.json.decode(tensors.facts, type=PackedInfo)
        used = np.unpackbits(tensors.get("used", np.uint8))[: 2**info.table.bits]
        weights = np.zeros(info.table.shape, dtype=np.float32)
        codes = tensors.get("codes", np.int8).astype(np.float32).reshape(-1, *weights.shape[1:])
        weights[used.view(np.bool_)] = np.float32(info.scale) * codes * np.abs(codes)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CorruptModelError(f"{path} is not a packed weight table: {error}") from error
    weights.flags.writeable = False  # as when it is mapped: one compiled version serves both
    return LinearScorer(info.table, weights)


def _largest(weights: NDArray[np.float32], kept: int) -> NDArray[np.float32]:
    """`weights`, shape (n, n_classes), with all but the `kept` largest rows set to zero."""
    sizes = np.abs(weights).max(axis=1)
    if kept >= np.count_nonzero(sizes):
        return weights
    order = np.argsort(-sizes, kind="stable")
    pruned = weights.copy()
    pruned[order[kept:]] = 0
    return pruned


def _codes(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    scale = float(np.abs(weights).max(initial=0)) / _LARGEST_CODE**2 or 1.0
    roots = np.sqrt(np.abs(weights.astype(np.float64)) / scale)
    return (np.sign(weights) * np.rint(roots)).astype(np.int8), scale


def _write(path: Path, tensors: dict[str, NDArray[np.generic]], info: str) -> None:
    from safetensors.numpy import save

    write_file(path, save(tensors, {METADATA_KEY: info}))
