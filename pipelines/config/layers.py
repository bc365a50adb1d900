"""The layers of settings: ``conf/settings.toml`` and ``.secrets.toml``, ``.env``, variables.

Dynaconf reads and merges the files. Variables are taken as text, word for word: what kind of value
they stand for is decided by the setting, so a password of digits stays one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipelines.errors import SettingsError

PREFIX: Final = "OLENS_"

NOT_SETTINGS: Final = frozenset({
    "env", "root",  # where to look
    "engine", "real_data", "require_all",  # switches of the test suite
    # What deploy/compose.yaml is filled in with.
    "acme_email", "alertmanager_config", "domain", "feedback", "follow", "gid", "http_port", "ipv6",
    "metrics_retention", "subnet", "subnet6", "uid", "version", "workers",
})  # fmt: skip
"""Variables with our prefix that are not settings."""


class Layers(NamedTuple):
    """Values as nested dictionaries with lower-case keys, and the source of each dotted key."""

    values: dict[str, Any]
    sources: dict[str, str]


def read_layers(root: Path) -> Layers:
    """Read all layers of the project in `root`, the later ones over the earlier ones.

    Other variables in ``.env`` (credentials of an object store, say) are set for the process.
    """
    dotenv = _read_dotenv(root / ".env")
    for name, value in dotenv.items():
        if not name.startswith(PREFIX):
            os.environ.setdefault(name, value)
    env = os.environ.get("OLENS_ENV") or dotenv.get("OLENS_ENV") or "local"
    values, sources = _read_files(root / "conf", env)
    for layer, source in ((dotenv, str(root / ".env")), (os.environ, "variable")):
        for name, value in layer.items():
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            if name.startswith(PREFIX) and key not in NOT_SETTINGS:
                _put(values, key, value)
                sources[key] = f"{source} {name}"
    return Layers({**values, "root": str(root), "env": env}, sources)


def _read_dotenv(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        return {name: value or "" for name, value in dotenv_values(path).items()}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None


def _read_files(folder: Path, env: str) -> Layers:
    from dynaconf import Dynaconf
    from dynaconf.utils.inspect import get_history

    files = [folder / "settings.toml", folder / ".secrets.toml"]
    _check_files(files, env)
    loaded = Dynaconf(
        settings_files=[str(file) for file in files],
        environments=True,
        env=env,
        merge_enabled=True,
        auto_cast=False,  # a value such as "@none" is the text that it looks like
        loaders=[],  # no variables
    )
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for entry in get_history(loaded):
        if entry["loader"] != "toml":
            continue
        before = dict(leaves(values))
        values |= {key.lower(): value for key, value in entry["value"].items()}
        for key, value in leaves(values):
            if key not in before or before[key] != value:
                sources[key] = f"{entry['identifier']} [{entry['env']}]"
    return Layers(values, sources)


def _check_files(files: Sequence[Path], env: str) -> None:
    """Say which file is not TOML, and that `env` is in none of them: it may be a typo."""
    known = {"default", "local", "stage", "prod"}
    for file in files:
        if not file.exists():
            continue
        try:
            known |= tomllib.loads(file.read_text(encoding="utf-8")).keys()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{file}: cannot be read: {error}") from None
    if env not in known:
        raise SettingsError(
            f"OLENS_ENV={env}: there is no such environment in {files[0]}; "
            f"there are: {', '.join(sorted(known - {'default'}))}"
        )


def _put(values: dict[str, Any], key: str, value: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            return  # another variable made the section a text; converting will say so
    values[name] = value


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries by dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
