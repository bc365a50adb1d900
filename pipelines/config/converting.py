"""Plain data from a file or variable -> a typed object, or an error that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from pipelines.errors import SettingsError

SECRET_KEYS: Final = frozenset(
    {"registry_password", "admin_token", "admin_secret_hash", "api_keys", "session_secret"}
)

_PASSWORD: Final = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*@")

T = TypeVar("T")


def convert(value: object, target: type[T], describe: Mapping[str, str], where: str) -> T:
    """Turn plain data into the typed `target`.

    `describe` says where the values of dotted keys come from, `where` where the others do. A
    `SettingsError` names the key, the value (unless it is a secret) and its source.
    """
    try:
        return msgspec.convert(value, target, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        key = path.rstrip("`").lstrip(".")
        if "unknown field" in reason:
            unknown = reason.partition("unknown field ")[2].strip("`")
            key = f"{key}.{unknown}".lstrip(".")
            reason = "there is no such key"
        if not key:
            raise SettingsError(f"{where}: {reason}") from None
        source = describe.get(key.partition("[")[0], where)
        raise SettingsError(f"{source}: {key}{_shown(value, key)}: {reason}") from None


def shown(value: object, key: str) -> str:
    """The value of a dotted key for people: secrets, and passwords in addresses, are masked."""
    if key.rpartition(".")[2] in SECRET_KEYS:
        return "********" if value else str(value)
    return _PASSWORD.sub(r"\1:********@", str(value))


def _shown(value: object, key: str) -> str:
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ""
        value = value[part]
    secret = key.rpartition(".")[2] in SECRET_KEYS
    return "" if secret else f" = {shown(repr(value), key)[:100]}"


def _decode_path(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
