"""Encodings of text files: which bytes do not belong to them, and the way to UTF-8."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec

from pipelines.datasets.sources import Source, file_format, is_gzip, open_bytes
from pipelines.datasets.writing import explained
from pipelines.errors import DataError

if TYPE_CHECKING:
    from pipelines.params import Dataset

_UTF8: Final = "utf-8-sig"
_REPLACE: Final = "utf-8-replace"
_CHUNK_BYTES: Final = 1 << 20


class BadByte(msgspec.Struct, frozen=True):
    """A byte outside the declared encoding, its offset (from 0) and its line (from 1)."""

    value: int
    offset: int
    line: int


def starts_with_bom(path: Path) -> bool:
    """Whether a text file begins with the byte order mark of UTF-8, which is skipped."""
    if file_format(path) == "parquet":
        return False
    with open_bytes(path) as stream:
        return stream.read(3) == codecs.BOM_UTF8


def repairs_encoding(dataset: Dataset) -> bool:
    """Whether bytes that are not UTF-8 are to be replaced instead of being an error."""
    return dataset.encoding.lower() == _REPLACE


def bad_bytes(source: Source) -> Iterator[BadByte]:
    """Find the bytes that the declared encoding does not allow; Parquet has none.

    In encodings other than UTF-8 only the first is found, since what follows it has no certain
    meaning.
    """
    if file_format(source.path) == "parquet":
        return
    codec, _ = codec_of(source)
    with open_bytes(source.path) as stream:
        yield from _undecodable(stream, codec)


def encoding_error(source: Source, bad: BadByte) -> DataError:
    """The error for the first byte that does not belong to the declared encoding."""
    encoding = source.declaration.encoding
    with open_bytes(source.path) as stream:
        utf16 = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    likely = "utf-16" if utf16 else "latin-1"
    return DataError(
        f"{source.path}: byte 0x{bad.value:02X} at offset {bad.offset:,} (line {bad.line:,}) is "
        f"not valid {encoding}. If the file has another encoding, say so in {source.where}, for "
        f"example encoding: {likely}. To replace such bytes by U+FFFD, use encoding: {_REPLACE}."
    )


def codec_of(source: Source) -> tuple[str, str]:
    """The Python codec that reads the declared encoding, and what it does with errors."""
    encoding = source.declaration.encoding
    if repairs_encoding(source.declaration):
        return _UTF8, "replace"
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
    except LookupError:
        raise DataError(
            f"encoding = {encoding!r} in {source.where}: there is no such encoding. Use a Python "
            f"codec name such as utf-8, latin-1, cp1252 or utf-16, or {_REPLACE}."
        ) from None
    return (_UTF8 if name in {"utf-8", _UTF8} else name), "strict"


@contextmanager
def utf8_file(source: Source) -> Iterator[Path]:
    """The file as UTF-8 that is not compressed: itself where possible, else a temporary copy.

    Raises
    ------
    DataError
        If it has another encoding than the declared one.
    """
    if file_format(source.path) == "parquet":
        yield source.path
        return
    codec, errors = codec_of(source)
    if codec == _UTF8 and not _needs_copy(source.path):
        bad = next(bad_bytes(source), None)
        if bad is None:
            yield source.path
            return
        if errors == "strict":
            raise encoding_error(source, bad)
    with tempfile.NamedTemporaryFile() as copy:
        with open_bytes(source.path) as stream:
            _recode(stream, copy, codec, errors, source)
        yield Path(copy.name)


def _needs_copy(path: Path) -> bool:
    if is_gzip(path):
        return True
    # In JSON, Polars knows no byte order mark; in the name of a JSON file, it takes * ? [ as a
    # pattern and cannot be told not to.
    patterned = bool(set("*?[") & set(str(path)))
    return file_format(path) == "jsonl" and (patterned or starts_with_bom(path))


def _recode(stream: IO[bytes], target: IO[bytes], codec: str, errors: str, source: Source) -> None:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    folder = Path(tempfile.gettempdir())
    final = False
    while not final:
        chunk = stream.read(_CHUNK_BYTES)
        final = not chunk
        try:
            text = decoder.decode(chunk, final)
        except UnicodeError:
            raise encoding_error(source, next(bad_bytes(source))) from None
        with explained(folder):
            target.write(text.encode("utf-8", "replace"))
    with explained(folder):
        target.flush()


def _undecodable(stream: IO[bytes], codec: str) -> Iterator[BadByte]:
    decoder = codecs.getincrementaldecoder(codec)("strict")
    offset, line, final = 0, 1, False
    while not final:
        chunk = stream.read(_CHUNK_BYTES)
        begin, offset, final = offset, offset + len(chunk), not chunk
        rest: bytes | None = chunk
        while rest is not None:
            try:
                decoder.decode(rest, final)
                rest = None
            except UnicodeDecodeError as error:
                # The decoder may have put bytes of earlier chunks in front, never any behind.
                at = offset - len(error.object) + error.start
                before = chunk.count(b"\n", 0, max(0, at - begin))
                yield BadByte(error.object[error.start], at, line + before)
                if codec != _UTF8:
                    return
                rest = error.object[error.end :]
                decoder = codecs.getincrementaldecoder("utf-8")("strict")
            except UnicodeError:  # UTF-16 and UTF-32 without their mark
                yield BadByte(chunk[0], 0, 1)
                return
        line += chunk.count(b"\n")
