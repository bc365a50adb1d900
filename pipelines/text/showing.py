"""Text of others, made safe to show on a terminal or a page."""

from __future__ import annotations

import re
from typing import Final

# Control characters could command the terminal, lone surrogates cannot be encoded, and
# bidirectional overrides would turn round what follows the text. Tab and line feed stay.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LINE_END: Final = re.compile("\r\n?")


def showable(text: str) -> str:
    """`text` with plain line ends, and U+FFFD in place of every character that is not safe."""
    return _UNSAFE.sub("\ufffd", _LINE_END.sub("\n", text))


def in_one_line(text: str, longest: int = 80) -> str:
    """`text`, safe to show, with its white space folded and cut to `longest` characters."""
    folded = " ".join(showable(text[: 4 * longest]).split())
    cut = len(folded) > longest or len(text) > 4 * longest
    return folded[: longest - 1] + "…" if cut else folded
