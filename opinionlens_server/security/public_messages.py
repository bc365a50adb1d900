"""Error messages without the server's paths."""

from __future__ import annotations

import re
from typing import Final

_ABSOLUTE: Final = re.compile(
    r"""
    (?: (?:file|sqlite)://+ (?=\S) | (?<![\w.~/-]) / (?=[^\s/]) )
    (?: [^\s'"] | [ ](?=[^\s'"/]+/) )*     # a space, if more of a path comes after it
    (?<! [.,:;)] )                         # punctuation after the path belongs to the sentence
    """,
    re.VERBOSE,
)


def public_message(error: Exception | str) -> str:
    """The message of an error of `pipelines`, for anybody who may ask this server.

    `pipelines` names files and folders, which helps a person at a terminal. Over HTTP, they would
    tell strangers how the server is laid out.
    """
    return _ABSOLUTE.sub("(a path of the server)", str(error))
