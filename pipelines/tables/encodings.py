"""From the bytes of a text file to UTF-8, block by block.

Without a declaration a file is what its byte order mark says, UTF-16 if every second byte of its
beginning is NUL, or else UTF-8. A line that is not UTF-8 is read as Windows-1252, the superset of
Latin-1 that such files nearly always are: in a file of that encoding every line with another
character is such a line, and in a file that was put together from both, each keeps its own. A file
whose other characters are too many for a Western European language is refused.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from pipelines.errors import DataError
from pipelines.tables.containers import Unpacked
from pipelines.tables.findings import Count, numbered
from pipelines.tables.options import Options

REPLACE: Final = "utf-8-replace"
WINDOWS: Final = "windows-1252"

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UTF8: Final = "utf-8"
_ENOUGH_BYTES: Final = 10
_WESTERN_SHARE: Final = 0.3
"""At most so many of the letters of a Western European text are not ASCII."""
_LONGEST_LINE: Final = 64 << 20
"""Bytes of a line that are kept until its end is found."""
_OTHERS: Final = [
    "gb18030", "cp932", "euc_jp", "big5", "cp949", "cp1251", "koi8_r", "cp1250", "cp1253",
    "cp1255", "cp1256", "cp874",
]  # fmt: skip
"""Encodings that are suggested for what is not Western European."""
_HIGH: Final = re.compile(rb"[\x80-\xff]")
_ASCII_LETTER: Final = re.compile(rb"[A-Za-z]")
_C1: Final = re.compile(rb"[\x80-\x9f]")
_LATIN_1: Final = "iso8859-1"


class Decoder:
    """Reads a stream as UTF-8.

    Parameters
    ----------
    stream : Unpacked
        At its beginning.
    name : str
        What messages call the file.
    options : Options
        With the declared encoding, if any.

    Raises
    ------
    DataError
        If there is no such encoding.
    """

    def __init__(self, stream: Unpacked, name: str, options: Options) -> None:
        self._stream = stream
        self._name = name
        self._options = options
        self._ahead = stream.read(4096)
        self._codec, self._errors = self._chosen()
        self.mark = self._skip_mark()
        self._declared = options.encoding is not None or self._codec != _UTF8
        self._incremental = (
            codecs.getincrementaldecoder(self._codec)(self._errors) if self._declared else None
        )
        self._carry = b""
        self._line = 1
        self._windows = Count()
        self._other = False
        """Whether there are characters beyond ASCII in UTF-8."""
        self._c1 = 0

    def read(self, size: int) -> bytes:
        """About `size` more bytes as UTF-8; empty only at the end.

        Raises
        ------
        DataError
            If they do not belong to the declared encoding, or to none that can be guessed.
        """
        while True:
            chunk, self._ahead = self._ahead[:size], self._ahead[size:]
            chunk = chunk or self._stream.read(size)
            final = not chunk
            text = self._decode(chunk, final)
            if text or final:
                return text

    @property
    def encoding(self) -> str:
        """The encoding, as far as the file was read."""
        if self._errors == "replace":
            return "UTF-8, repaired"
        if not self._windows.rows:
            return _display(self._codec)
        return "UTF-8 and Windows-1252" if self._other else "Windows-1252"

    @property
    def codec(self) -> str:
        """The Python codec that writes what was read, in the same bytes where possible."""
        windows_only = self._windows.rows and not self._other
        return "cp1252" if windows_only else self._codec

    def messages(self) -> list[str]:
        """Warnings about it for the user."""
        found = []
        if self._windows.rows:
            lines = numbered("line", self._windows.lines, self._windows.rows)
            found.append(
                f"{self._windows.rows:,} lines are not UTF-8 and were read as Windows-1252 "
                f"({lines})"
                if self._windows.rows > 1
                else f"{lines} is not UTF-8 and was read as Windows-1252"
            )
        if self._c1:
            found.append(
                f"{self._c1:,} bytes between 0x80 and 0x9F mean nothing in Latin-1. If this is "
                f"Windows-1252, say: {self._options.advice('encoding', WINDOWS)}"
            )
        return found

    def _chosen(self) -> tuple[str, str]:
        encoding = self._options.encoding
        if encoding is None:
            return self._found(), "strict"
        if encoding.lower() == REPLACE:
            return _UTF8, "replace"
        try:
            "".encode(encoding)
            codec = codecs.lookup(encoding).name
        except (LookupError, ValueError, UnicodeError):
            raise DataError(
                f"encoding = {encoding[:40]!r}: there is no such encoding. Use a Python codec "
                f"name such as utf-8, {WINDOWS} or utf-16, or {REPLACE}."
            ) from None
        return {"utf-8-sig": _UTF8, "utf-16": self._found("utf-16"), "utf-32": "utf-32"}.get(
            codec, codec
        ), "strict"

    def _found(self, family: str = "") -> str:
        """By the mark, or by the NUL bytes that UTF-16 has in ASCII text."""
        head = self._ahead
        for mark, codec in _MARKS:
            if head.startswith(mark) and codec.startswith(family):
                return codec
        even, odd = head[::2].count(0), head[1::2].count(0)
        half = len(head) // 2
        if half >= 2 and odd > 0.3 * half and even < 0.05 * half:
            return "utf-16-le"
        if half >= 2 and even > 0.3 * half and odd < 0.05 * half:
            return "utf-16-be"
        return family or _UTF8

    def _skip_mark(self) -> bytes:
        """The byte order mark, which may have been written twice."""
        mark = next((mark for mark, codec in _MARKS if codec == self._codec), b"")
        if not mark or not self._ahead.startswith(mark):
            return b""
        while self._ahead.startswith(mark):
            self._ahead = self._ahead[len(mark) :]
        return mark

    def _decode(self, chunk: bytes, final: bool) -> bytes:
        if self._incremental is not None:
            return self._decode_declared(chunk, final)
        data = self._carry + chunk if self._carry else chunk
        if data.isascii():
            self._carry = b""
            self._count_lines(data)
            return data
        try:
            # Not final: the last character may go on in the next block.
            end = codecs.utf_8_decode(data, "strict", final)[1]
        except UnicodeDecodeError:
            return self._decode_lines(data, final)
        self._other = True
        self._carry = data[end:]
        self._count_lines(data[:end])
        return data[:end]

    def _decode_lines(self, data: bytes, final: bool) -> bytes:
        end = len(data) if final else 1 + max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1))
        if not end and len(data) <= _LONGEST_LINE:
            self._carry = data
            return b""
        end = end or len(data)
        self._carry = data[end:]
        parts, foreign, line = [], [], self._line
        for part in data[:end].splitlines(keepends=True):
            try:
                part.decode()
                self._other = self._other or not part.isascii()
                parts.append(part)
            except UnicodeDecodeError:
                foreign.append(part)
                self._windows.add(1, [line])
                parts.append(_windows_text(part).encode())
            line += 1
        self._check_western(b"".join(foreign))
        self._count_lines(data[:end])
        return b"".join(parts)

    def _check_western(self, lines: bytes) -> None:
        high, ascii_letters = len(_HIGH.findall(lines)), len(_ASCII_LETTER.findall(lines))
        if high < _ENOUGH_BYTES or high <= _WESTERN_SHARE * (high + ascii_letters):
            return
        import charset_normalizer

        best = charset_normalizer.from_bytes(lines[:20_000], cp_isolation=_OTHERS).best()
        suggestion = best.encoding if best else _OTHERS[0]
        raise DataError(
            f"{self._name} is not UTF-8 (line {self._windows.lines[0]:,}), and has too many "
            "characters beyond ASCII for Windows-1252. Say which encoding it has, for example: "
            f"{self._options.advice('encoding', suggestion)}"
        )

    def _decode_declared(self, chunk: bytes, final: bool) -> bytes:
        assert self._incremental is not None
        if self._codec == _LATIN_1:
            self._c1 += len(_C1.findall(chunk))
        try:
            text = self._incremental.decode(chunk, final)
        except UnicodeError as error:
            raise self._bad_bytes(error) from None
        self._line += text.count("\n")
        return text.encode("utf-8", "replace")

    def _bad_bytes(self, error: UnicodeError) -> DataError:
        place, where = "a byte", self._line
        if isinstance(error, UnicodeDecodeError):
            place = f"byte 0x{error.object[error.start]:02X}"
            before = error.object[: error.start]
            where += before.decode(self._codec, "replace").count("\n")
        encoding = self._options.encoding or _display(self._codec)
        advice = self._options.advice
        other = "utf-16" if self._found().startswith("utf-16") else WINDOWS
        return DataError(
            f"{self._name}: {place} in line {where:,} is not valid {encoding}. If the file has "
            f"another encoding, say so, for example: {advice('encoding', other)}. To replace "
            f"such bytes by U+FFFD: {advice('encoding', REPLACE)}."
        )

    def _count_lines(self, data: bytes) -> None:
        self._line += data.count(b"\n")
        if b"\r" in data:
            self._line += data.count(b"\r") - data.count(b"\r\n")


def _windows_text(line: bytes) -> str:
    """Windows-1252 as browsers read it: its five unused bytes are control characters."""
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(
            line[i : i + 1].decode("cp1252" if line[i] not in _UNUSED else "latin-1")
            for i in range(len(line))
        )


_UNUSED: Final = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))


def _display(codec: str) -> str:
    return {"cp1252": "Windows-1252", _LATIN_1: "Latin-1"}.get(codec, codec.upper())
