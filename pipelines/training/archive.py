"""Limits of the archive of a skops model, checked before anything is unpacked.

skops reads every file that the archive's schema names, as often as it is named, into memory. A few
kilobytes could stand for gigabytes: compressed zeros, one file that is named a thousand times, an
archive inside the archive, or an array of elements without a size. They could stand for years, too:
skops looks at a part of the model as often as others refer to it.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

SCHEMA: Final = "schema.json"

_RATIO: Final = 10
"""Times the size of the archive that its content may have; skops does not compress."""
_SMALL: Final = 20_000_000
"""Bytes that the content of any archive may have."""
_LARGEST_SCHEMA: Final = 30_000_000
"""Bytes; a forest of 250 trees has 9 million."""
_MOST_VALUES: Final = 2_000_000
"""Objects, lists and values of a schema; a forest of 250 trees has half a million."""
_SHARED: Final = 2
_FEW: Final = 50_000
"""Parts that a schema may stand for: twice those that are in it, or a few. skops writes a part that
is used twice in full each time, so they are as many."""
_HEADER: Final = 12_000
"""Bytes that hold the header of any array that NumPy reads."""
_ARCHIVES: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins: NumPy recognises it by that, and not by its name."""


def check_archive(path: Path) -> set[str]:
    """Refuse an archive that unpacks to far more than its own size.

    Returns
    -------
    set of str
        Types and functions that the model consists of, such as ``builtins.list``.

    Raises
    ------
    ValueError
        If it does, or has no usable schema.
    zipfile.BadZipFile
        If it is not an archive.
    """
    limit = max(_SMALL, _RATIO * path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        sizes = _sizes(archive, limit)
        schema = _read_schema(archive)
    reading = _Reading(sizes, schema)
    needed, visits = reading.of(schema)
    if needed > limit:
        raise ValueError(f"its schema reads {needed:,} bytes; at most {limit:,} are expected")
    if visits > _SHARED * reading.parts + _FEW:
        raise ValueError(f"its parts refer to each other {visits:,} times")
    return reading.types


class _Reading:
    """What skops reads of a schema: bytes of files, and parts, each as often as it is met.

    A part has an ``__id__``. Met again, it stands for what it was the first time; which time that
    is, depends on its types, so the most is counted.
    """

    def __init__(self, sizes: dict[str, int], schema: object) -> None:
        self._sizes = sizes
        self._parts: dict[Any, list[dict[str, Any]]] = {}
        """All parts of a schema that have the same ``__id__``."""
        self._known: dict[Any, tuple[int, int] | None] = {}
        """What has been counted; None while it is."""
        self.parts = 0
        """Those that are in the schema."""
        self.types: set[str] = set()
        """Full names of the types and functions of all parts."""
        pending = [schema]
        while pending:
            node = pending.pop()
            if isinstance(node, dict):
                self.parts += 1
                self._parts.setdefault(_id(node), []).append(node)
                # Only names: a dictionary of a model may have keys that are called so.
                module, name = node.get("__module__"), node.get("__class__")
                if isinstance(module, str) and isinstance(name, str):
                    self.types.add(f"{module}.{name}")
                pending.extend(node.values())
            elif isinstance(node, list):
                pending.extend(node)

    def of(self, node: object) -> tuple[int, int]:
        """Bytes and parts that a value of the schema stands for."""
        if isinstance(node, list):
            return _sum(map(self.of, node))
        if not isinstance(node, dict):
            return 0, 0
        key = _id(node)
        if key is None:
            return self._inside(node)
        if key not in self._known:
            self._known[key] = None
            found = [self._inside(part) for part in self._parts[key]]
            self._known[key] = max(size for size, _ in found), max(count for _, count in found)
        if (known := self._known[key]) is None:
            raise ValueError("a part of it contains itself")
        return known

    def _inside(self, node: dict[str, Any]) -> tuple[int, int]:
        name = node.get("file")
        own = self._sizes.get(name, 0) if isinstance(name, str) else 0
        return _sum([(own, 1), *map(self.of, node.values())])


def _id(node: dict[str, Any]) -> object:
    """The ID by which skops recognises a part; None if it has none."""
    found = node.get("__id__")
    if isinstance(found, dict | list):
        raise ValueError("a part of its schema has no usable ID")
    return found or None


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    size = count = 0
    for one, other in pairs:
        size, count = size + one, count + other
    return size, count


def _sizes(archive: zipfile.ZipFile, limit: int) -> dict[str, int]:
    """Bytes that each file unpacks to."""
    infos = archive.infolist()
    if (total := sum(info.file_size for info in infos)) > limit:
        raise ValueError(f"it unpacks to {total:,} bytes; at most {limit:,} are expected")
    sizes = {}
    for info in infos:
        sizes[info.filename] = info.file_size
        with archive.open(info) as file:
            start = file.read(_HEADER)
        if start.startswith(_ARCHIVES):
            with zipfile.ZipFile(io.BytesIO(archive.read(info))) as inner:
                for each in inner.infolist():
                    sizes[info.filename] += each.file_size
                    with inner.open(each) as file:
                        _check_array(file.read(_HEADER), each.file_size)
        else:
            _check_array(start, info.file_size)
    return sizes


def _check_array(start: bytes, size: int) -> None:
    """Refuse an array of more elements than it has bytes: an empty text takes none.

    `start` is the beginning of its file.
    """
    if not start.startswith(np.lib.format.MAGIC_PREFIX):
        return
    file = io.BytesIO(start)
    if np.lib.format.read_magic(file) == (1, 0):
        shape, *_ = np.lib.format.read_array_header_1_0(file)
    else:
        shape, *_ = np.lib.format.read_array_header_2_0(file)
    if (count := math.prod(shape)) > size:
        raise ValueError(f"an array of {count:,} elements has {size:,} bytes")


def _read_schema(archive: zipfile.ZipFile) -> object:
    if archive.getinfo(SCHEMA).file_size > _LARGEST_SCHEMA:
        raise ValueError(f"its schema has more than {_LARGEST_SCHEMA:,} bytes")
    encoded = archive.read(SCHEMA)
    if sum(map(encoded.count, (b"[", b"{", b","))) > _MOST_VALUES:
        raise ValueError(f"its schema has more than {_MOST_VALUES:,} values")
    return json.loads(encoded)
