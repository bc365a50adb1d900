"""Settings: ``conf/settings.toml``, ``.env`` and ``OLENS_*`` variables -> one frozen object.

The defaults stand here, so an installation without any ``conf/`` folder works. A file or a
variable changes single values. ``OLENS_ENV`` chooses the environment of the file (``local`` by
default, ``stage``, ``prod``), ``OLENS_ROOT`` the project folder; ``OLENS_SERVING__PORT=9000``
sets ``port`` in ``[serving]``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, get_origin, get_type_hints

import msgspec

from pipelines.errors import SettingsError

SECRET_KEYS: Final = frozenset(
    {"registry_password", "admin_token", "admin_secret_hash", "api_keys", "session_secret"}
)

# Variables with our prefix that are not settings: where to look, and switches of the test suite.
NOT_SETTINGS: Final = frozenset({"env", "root", "real_data", "require_all"})

ENVIRONMENTS: Final = ("local", "stage", "prod")
"""The usual ones; a section of ``conf/settings.toml`` makes another."""

_PREFIX: Final = "OLENS_"

# A hash, or nothing; a long key, or the SHA-256 of one.
_ARGON2: Final = r"^(\$argon2(id|i|d)(\$v=\d+)?\$m=\d+,t=\d+,p=\d+\$[\w+/]+\$[\w+/]+)?$"
_API_KEY: Final = r"^(sha256:[0-9a-fA-F]{64}|(?!sha256:).{16,})$"

T = TypeVar("T")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the settings sections: immutable, and an unknown key is an error."""


class Paths(_Section, frozen=True):
    """Folders; relative ones count from the project folder."""

    raw: Path = Path("data/raw")
    sample: Path = Path("data/sample")
    prepared: Path = Path("data/prepared")
    slices: Path = Path("data/slices")
    features: Path = Path("data/features")
    reports: Path = Path("data/reports")
    models: Path = Path("models")


class MLflow(_Section, frozen=True):
    """Where runs are tracked and models are registered."""

    tracking_uri: str = "sqlite:///mlruns/mlflow.db"
    registry_uri: str = ""
    """Empty: the registry of the tracking store."""
    registry_username: str = ""
    registry_password: str = ""
    experiment: str = "opinionlens"
    timeout: float = 10.0
    """Seconds that a remote server has to answer."""


class Optuna(_Section, frozen=True):
    """Where studies are kept."""

    storage: str = "sqlite:///mlruns/optuna.db"


class Serving(_Section, frozen=True):
    """The web service."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    admin_token: str = ""
    """Bearer token for changing models; empty: `olens serve` makes one and prints it."""
    admin_secret_hash: Annotated[str, msgspec.Meta(pattern=_ARGON2)] = ""
    """Argon2 hash of the secret for signing in and changing models (`olens config hash-secret`)."""
    api_keys: tuple[Annotated[str, msgspec.Meta(pattern=_API_KEY)], ...] = ()
    """Who may predict; plain or `sha256:HEX` (`olens config new-api-key`). Empty: everyone."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which the service may be asked; empty: this machine's on a loopback address, else
    any. `*.example.org` stands for all below it."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-For and X-Forwarded-Proto count."""
    session_secret: Annotated[str, msgspec.Meta(pattern=r"^(.{32,})?$")] = ""
    """Signs sessions; empty: one per run, so that a restart ends them."""
    session_lifetime: Annotated[int, msgspec.Meta(ge=1)] = 8 * 60 * 60
    """Seconds until one has to sign in again."""
    cookie_secure: bool = False
    """Send cookies over HTTPS only, even if a request seems to have come without it."""
    state_folder: str = ""
    """Folder that the workers of one service share; empty: a temporary one."""
    follow: Annotated[str, msgspec.Meta(pattern=r"^([^@]+@[^@]+)?$")] = ""
    """`NAME@ALIAS`: fetch that version of the registry and let it answer, whenever it changes."""
    follow_interval: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Seconds between two looks at the registry."""
    max_text_length: int = 100_000
    """Characters of one text."""
    max_batch_size: int = 10_000
    """Texts of one batch."""
    max_body_size: int = 20_000_000
    """Bytes of one request body."""
    max_file_rows: int = 100_000
    """Rows of a file on the page."""
    rate_limit: Annotated[float, msgspec.Meta(ge=0)] = 100.0
    """Requests per second that a client may go on making; 0: any number."""
    rate_burst: Annotated[int, msgspec.Meta(ge=1)] = 500
    """Requests that a client may make at once after a pause."""
    access_log: bool = False
    """Whether every request is logged: its route, status and time."""


class Settings(_Section, frozen=True):
    """Everything that `conf/` and the environment say, validated."""

    root: Path
    env: str = "local"
    paths: Paths = Paths()
    mlflow: MLflow = MLflow()
    optuna: Optuna = Optuna()
    serving: Serving = Serving()
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Setting(msgspec.Struct, frozen=True):
    """One value and where it came from, as `olens config show` lists it."""

    key: str
    value: str
    source: str


def find_root(start: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The project folder: ``OLENS_ROOT``, else the nearest parent with ``conf/``, else `start`."""
    if named := environ.get("OLENS_ROOT"):
        root = Path(named).resolve()
        if not root.is_dir():
            raise SettingsError(f"OLENS_ROOT={named}: there is no such folder")
        return root
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "conf" / "params.yaml").is_file():
            return folder
    return start


def load_settings(root: Path | None = None) -> Settings:
    """Read the settings of the project in `root`.

    Raises
    ------
    SettingsError
        Naming the key, the value and the file or variable it came from.
    """
    return _load(root or find_root())[0]


def describe_settings(root: Path | None = None) -> list[Setting]:
    """Every setting with its value (secrets masked) and its source."""
    settings, sources = _load(root or find_root())
    listed = []
    for key, value in _leaves(settings):
        secret = key.rpartition(".")[2] in SECRET_KEYS and value
        listed.append(
            Setting(key, "********" if secret else str(value), sources.get(key, "default"))
        )
    return listed


def convert(value: object, target: type[T], describe: Mapping[str, str], where: str) -> T:
    """Turn plain data into the typed `target`, or say which key of which file is wrong.

    `describe` maps dotted keys to where they came from; `where` is used for the others.
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
        found = _lookup(value, key)
        shown = "" if found is None or key.rpartition(".")[2] in SECRET_KEYS else f" = {found!r}"
        place = f"{describe.get(key, where)}: {key}{shown}" if key else where
        raise SettingsError(f"{place}: {reason}") from None


def _load(root: Path) -> tuple[Settings, dict[str, str]]:
    with _environment(root) as environment:
        values, sources = _read(root, environment.exported)
    for key, text in environment.texts.items():
        _put(values, key, text)
    settings = convert(values, Settings, sources, str(root / "conf" / "settings.toml"))
    paths = msgspec.structs.replace(
        settings.paths, **{k: root / v for k, v in msgspec.structs.asdict(settings.paths).items()}
    )
    for key in ("raw", "sample"):
        if (source := sources.get(f"paths.{key}")) and not getattr(paths, key).is_dir():
            raise SettingsError(f"{source}: paths.{key} = {getattr(paths, key)}: no such folder")
    mlflow = msgspec.structs.replace(
        settings.mlflow, tracking_uri=_absolute_sqlite(settings.mlflow.tracking_uri, root)
    )
    optuna = Optuna(storage=_absolute_sqlite(settings.optuna.storage, root))
    return msgspec.structs.replace(settings, paths=paths, mlflow=mlflow, optuna=optuna), sources


class _Environment(NamedTuple):
    exported: frozenset[str]
    """Variables that are there without ``.env``."""
    texts: dict[str, str]
    """Text settings by key, verbatim: Dynaconf parses variables, which would turn the password
    ``0123`` into a number and ``@none`` into nothing."""


_TEXT: Final = "<text of a variable>"


@contextmanager
def _environment(root: Path) -> Iterator[_Environment]:
    """The environment with ``.env`` beneath it and `_TEXT` for texts, for Dynaconf to read.

    Afterwards our variables are what they were, so that one project's ``.env`` does not reach
    another's; the other ones of ``.env`` (credentials of an object store, say) stay.
    """
    from dotenv import dotenv_values

    before = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
    exported = frozenset(os.environ)
    try:
        for name, value in dotenv_values(root / ".env").items():
            os.environ.setdefault(name, value or "")
        texts = {
            key: os.environ[_variable(key)]
            for key in _text_settings(Settings)
            if _variable(key) in os.environ
        }
        os.environ.update({_variable(key): _TEXT for key in texts})
        yield _Environment(exported, texts)
    finally:
        for name in [name for name in os.environ if name.startswith(_PREFIX)]:
            del os.environ[name]
        os.environ.update(before)


def _text_settings(section: type, prefix: str = "") -> Iterator[str]:
    """The keys of settings that are texts, paths or one of some words."""
    for name, kind in get_type_hints(section).items():
        if prefix + name in NOT_SETTINGS:
            continue
        if isinstance(kind, type) and issubclass(kind, _Section):
            yield from _text_settings(kind, f"{prefix}{name}.")
        elif kind in (str, Path) or get_origin(kind) is Literal:
            yield prefix + name


def _put(values: dict[str, Any], key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            return  # another variable made the section a number; converting will say so
    values[name] = value


def _check_files(files: Sequence[Path], env: str) -> None:
    """Say which file is not TOML, and that `env` is in none of them: it may be a typo."""
    known = {*ENVIRONMENTS, "default"}
    for file in files:
        if not file.is_file():
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


def _read(root: Path, exported: frozenset[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The raw values as nested dictionaries with lower-case keys, and the source of each leaf."""
    from dynaconf import Dynaconf
    from dynaconf.utils.inspect import get_history

    env = os.environ.get("OLENS_ENV", "local")
    files = [root / "conf" / "settings.toml", root / "conf" / ".secrets.toml"]
    _check_files(files, env)
    try:
        loaded = Dynaconf(
            root_path=str(root),
            settings_files=[str(file) for file in files],
            environments=True,
            env=env,
            env_switcher="OLENS_ENV",
            envvar_prefix="OLENS",
            load_dotenv=False,
            merge_enabled=True,
        )
        raw = _lower(loaded.as_dict())
        history = get_history(loaded)
    except Exception as error:  # Dynaconf lets its parsers' exceptions through unchanged
        raise SettingsError(f"{files[0]} or a variable cannot be read: {error}") from error
    values = {k: v for k, v in raw.items() if k not in NOT_SETTINGS | {"load_dotenv"}}

    sources: dict[str, str] = {}
    seen: dict[str, object] = {}
    for entry in history:
        if entry["loader"] not in {"toml", "env_global"}:
            continue
        for key, value in _flatten(_lower(entry["value"])):
            if key in NOT_SETTINGS or seen.get(key, _MISSING) == value:
                continue
            seen[key] = value
            sources[key] = f"{entry['identifier']} [{entry['env']}]"
            if entry["loader"] == "env_global":
                name = _variable(key)
                sources[key] = f"variable {name}" if name in exported else f"{root / '.env'} {name}"
    return {"root": str(root), "env": env, **values}, sources


_MISSING: Final = object()


def _variable(key: str) -> str:
    return _PREFIX + key.replace(".", "__").upper()


def _lower(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key).lower(): _lower(item) for key, item in value.items()}
    return value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _leaves(section: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in msgspec.structs.asdict(section).items():
        if isinstance(value, msgspec.Struct):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _lookup(value: object, key: str) -> object:
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _decode_path(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _absolute_sqlite(uri: str, root: Path) -> str:
    """Let a relative SQLite path count from the project folder, not from where the user stands."""
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith(prefix + "/"):
        return f"{prefix}{root / uri.removeprefix(prefix)}"
    return uri
