"""Limits of the archive of a skops model, checked before anything is unpacked.

skops reads every file that the archive's schema names, as often as it is named, into memory. A few
kilobytes could stand for gigabytes: compressed zeros, one file that is named a thousand times, or
an archive inside the archive (``.npz``).
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Final

SCHEMA: Final = "schema.json"

_RATIO: Final = 10
"""Times the size of the archive that its content may have; skops does not compress."""
_SMALL: Final = 20_000_000
"""Bytes that the content of any archive may have."""
_LARGEST_SCHEMA: Final = 30_000_000
"""Bytes; a forest of 250 trees has 9 million."""
_MOST_VALUES: Final = 2_000_000
"""Objects, lists and values of a schema; a forest of 250 trees has half a million."""


def check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to far more than its own size.

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
    needed, pending = 0, [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            name = node.get("file")
            needed += sizes.get(name, 0) if isinstance(name, str) else 0
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    if needed > limit:
        raise ValueError(f"its schema reads {needed:,} bytes; at most {limit:,} are expected")


def _sizes(archive: zipfile.ZipFile, limit: int) -> dict[str, int]:
    """Bytes that each file unpacks to."""
    infos = archive.infolist()
    if (total := sum(info.file_size for info in infos)) > limit:
        raise ValueError(f"it unpacks to {total:,} bytes; at most {limit:,} are expected")
    sizes = {}
    for info in infos:
        sizes[info.filename] = info.file_size
        if info.filename.endswith(".npz"):
            with zipfile.ZipFile(io.BytesIO(archive.read(info))) as inner:
                sizes[info.filename] += sum(each.file_size for each in inner.infolist())
    return sizes


def _read_schema(archive: zipfile.ZipFile) -> object:
    if archive.getinfo(SCHEMA).file_size > _LARGEST_SCHEMA:
        raise ValueError(f"its schema has more than {_LARGEST_SCHEMA:,} bytes")
    encoded = archive.read(SCHEMA)
    if sum(map(encoded.count, (b"[", b"{", b","))) > _MOST_VALUES:
        raise ValueError(f"its schema has more than {_MOST_VALUES:,} values")
    return json.loads(encoded)
