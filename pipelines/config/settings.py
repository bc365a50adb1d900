"""Settings: ``conf/settings.toml``, ``.env`` and ``OLENS_*`` variables -> one frozen object.

The defaults stand here, so an installation without any ``conf/`` folder works. A file or a
variable changes single values. ``OLENS_ENV`` chooses the environment of the file (``local`` by
default, ``stage``, ``prod``), ``OLENS_ROOT`` the project folder; ``OLENS_SERVING__PORT=9000``
sets ``port`` in ``[serving]``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_origin, get_type_hints

import msgspec

from pipelines.config.converting import convert, shown
from pipelines.config.layers import leaves, read_layers
from pipelines.errors import SettingsError

# A hash, or nothing; a long key, or the SHA-256 of one.
_ARGON2: Final = r"^(\$argon2(id|i|d)(\$v=\d+)?\$m=\d+,t=\d+,p=\d+\$[\w+/]+\$[\w+/]+)?$"
_STORAGE: Final = r"^(sqlite:///.|postgresql(\+psycopg2)?://)"
_API_KEY: Final = r"^(sha256:[0-9a-fA-F]{64}|(?!sha256:).{16,})$"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections: immutable, and an unknown key is an error."""


class Paths(_Section, frozen=True):
    """Folders; relative ones count from the project folder."""

    raw: Path = Path("data/raw")
    sample: Path = Path("data/sample")
    prepared: Path = Path("data/prepared")
    slices: Path = Path("data/slices")
    features: Path = Path("data/features")
    reports: Path = Path("data/reports")
    models: Path = Path("models")
    """The model cache; outside of a project, by default, `user_cache`."""


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


class Labels(_Section, frozen=True):
    """Where people's labels are kept."""

    storage: Annotated[str, msgspec.Meta(pattern=_STORAGE)] = "sqlite:///labels/labels.db"
    """`sqlite:///FILE`, or `postgresql://USER@HOST/DATABASE`."""


class Serving(_Section, frozen=True):
    """The web service."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    metrics_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """A port of its own for metrics, which then are nowhere else; 0: they are beside the API."""
    admin_token: str = ""
    """Bearer token for changing models; empty: `olens serve` makes one and prints it."""
    admin_secret_hash: Annotated[str, msgspec.Meta(pattern=_ARGON2)] = ""
    """Argon2 hash of the secret for signing in and changing models (`olens config hash-secret`)."""
    api_keys: tuple[Annotated[str, msgspec.Meta(pattern=_API_KEY)], ...] = ()
    """API keys, plain or `sha256:HEX` (`olens config new-api-key`). Empty: everyone."""
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
    """Seconds between two checks of the registry."""
    max_text_length: int = 100_000
    """Characters of one text."""
    max_batch_size: int = 10_000
    """Texts of one batch."""
    max_body_size: int = 20_000_000
    """Bytes of one request body."""
    max_file_rows: int = 100_000
    """Rows of a file on the page."""
    harmless_cells: bool = True
    """Whether cells of a download that a spreadsheet would run as a formula get an apostrophe."""
    rate_limit: Annotated[float, msgspec.Meta(ge=0)] = 100.0
    """Requests per second that a client may go on making; 0: any number. 10,000 bytes more, 200
    characters to explain, or 50 texts of a batch or file, count as one more request."""
    rate_burst: Annotated[int, msgspec.Meta(ge=1)] = 500
    """Requests that a client may make at once after a pause."""
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Connections that all workers keep open; fewer where one may not open so many files."""
    max_client_connections: Annotated[int, msgspec.Meta(ge=1)] = 256
    """Connections of one address to all workers; those of `trusted_proxies` are not counted."""
    max_head_size: Annotated[int, msgspec.Meta(ge=1_000)] = 100_000
    """Bytes of the first line and the headers of a request."""
    head_timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Seconds in which the head of a request has to arrive."""
    body_timeout: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    """Seconds in which a body has to arrive, and one more for each 1,000 bytes of it; also how long
    a client may take nothing of its answer."""
    drift_hours: Annotated[float, msgspec.Meta(gt=0)] = 24.0
    """How far back the newest 1,000 texts, which are compared with those of the model, may lie."""
    access_log: bool = False
    """Whether every request is logged: its route, status and time."""
    feedback: bool = False
    """Whether users may say what a text should have been; only then is their text stored."""
    feedback_access: Literal["everyone", "admin"] = "everyone"
    """Who may: everyone who may predict (with API keys, their holders), or the admin alone."""
    feedback_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 90
    """Days after which such a text is deleted."""
    feedback_max_bytes: Annotated[int, msgspec.Meta(ge=0)] = 100_000_000
    """Bytes of all such texts; more are refused."""
    feedback_storage: Annotated[str, msgspec.Meta(pattern=_STORAGE)] = (
        "sqlite:///feedback/feedback.db"
    )
    """Where they are: `sqlite:///FILE`, or `postgresql://USER@HOST/DATABASE`."""


class Training(_Section, frozen=True):
    """Preparing data and fitting models."""

    memory: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?\s*[KMGT]i?B$")] = "4GiB"
    """What `olens preprocess`, `vectorize`, `train` and `tune` may take, as `4GiB`. What needs more
    is done in parts, which are kept on disk."""

    @property
    def memory_bytes(self) -> int:
        """The same as a number."""
        number = self.memory.rstrip("KMGTiB ")
        unit = self.memory.removeprefix(number).strip()
        base = 1024 if "i" in unit else 1000
        return int(float(number) * base ** ("KMGT".index(unit[0]) + 1))


class Gate(_Section, frozen=True):
    """What a model must hold before an alias moves to it (`olens promote`)."""

    max_drop: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.005
    """Accuracy that a slice may lose against the model that has the alias."""


class Settings(_Section, frozen=True):
    """Everything that `conf/` and the environment say, validated."""

    root: Path
    env: str = "local"
    paths: Paths = Paths()
    mlflow: MLflow = MLflow()
    optuna: Optuna = Optuna()
    labels: Labels = Labels()
    serving: Serving = Serving()
    training: Training = Training()
    gate: Gate = Gate()
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


def is_project(folder: Path) -> bool:
    """Whether `folder` is a project: it has settings or parameters, or ``OLENS_ROOT`` names it."""
    if named := os.environ.get("OLENS_ROOT"):
        return Path(named).resolve() == folder
    return any((folder / "conf" / name).is_file() for name in ("params.yaml", "settings.toml"))


def user_cache() -> Path:
    """The model cache of a user who is not in a project.

    ``~/.cache/opinionlens/models`` on Linux (``XDG_CACHE_HOME`` counts),
    ``~/Library/Caches/opinionlens/models`` on macOS.
    """
    from platformdirs import user_cache_path

    return user_cache_path("opinionlens", appauthor=False) / "models"


def load_settings(root: Path | None = None) -> Settings:
    """Read the settings of the project in `root`; by default, of the one that one is in.

    Where there is no project, the model cache is `user_cache`.

    A `SettingsError` names the key, the value and the file or variable it comes from.
    """
    return _load(root)[0]


def describe_settings(root: Path | None = None) -> list[Setting]:
    """Every setting with its value (secrets masked) and its source."""
    settings, sources = _load(root)
    values = dict(leaves(msgspec.to_builtins(settings, enc_hook=str)))
    return [
        Setting(key, shown(value, key), sources.get(key, "default"))
        for key, value in values.items()
    ]


def _load(named: Path | None) -> tuple[Settings, dict[str, str]]:
    root = named or find_root()
    values, sources = read_layers(root)
    _split_lists(values, Settings)
    settings = convert(values, Settings, sources, str(root / "conf" / "settings.toml"))
    paths = {name: root / path for name, path in msgspec.structs.asdict(settings.paths).items()}
    if named is None and "paths.models" not in sources and not is_project(root):
        paths["models"] = user_cache()
    for key in ("raw", "sample"):
        if (source := sources.get(f"paths.{key}")) and not paths[key].is_dir():
            raise SettingsError(f"{source}: paths.{key} = {paths[key]}: there is no such folder")
    mlflow = msgspec.structs.replace(
        settings.mlflow, tracking_uri=_absolute_sqlite(settings.mlflow.tracking_uri, root)
    )
    optuna = Optuna(storage=_absolute_sqlite(settings.optuna.storage, root))
    serving = msgspec.structs.replace(
        settings.serving,
        feedback_storage=_absolute_sqlite(settings.serving.feedback_storage, root),
    )
    labels = Labels(storage=_absolute_sqlite(settings.labels.storage, root))
    changed = {
        "paths": Paths(**paths),
        "mlflow": mlflow,
        "optuna": optuna,
        "labels": labels,
        "serving": serving,
    }
    return msgspec.structs.replace(settings, **changed), sources


def _split_lists(values: dict[str, Any], section: type) -> None:
    """Make lists of texts that stand for lists: ``a, b``, or an array as TOML writes it."""
    for name, kind in get_type_hints(section).items():
        value = values.get(name)
        if isinstance(value, dict) and issubclass(kind, _Section):
            _split_lists(value, kind)
        elif isinstance(value, str) and get_origin(kind) is tuple:
            values[name] = _items(value)


def _items(text: str) -> object:
    if text.lstrip().startswith("["):
        try:
            return tomllib.loads(f"items = {text}")["items"]
        except ValueError:
            return text  # converting will say that it is not a list
    return [item.strip() for item in text.split(",") if item.strip()]


def _absolute_sqlite(uri: str, root: Path) -> str:
    """Let a relative SQLite path count from the project folder, not from the current folder."""
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith(prefix + "/"):
        return f"{prefix}{root / uri.removeprefix(prefix)}"
    return uri
