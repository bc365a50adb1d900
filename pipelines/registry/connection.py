"""Talking to an MLflow server: credentials, time limits, and errors that people understand."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from pipelines.errors import (
    InputError,
    MissingExtraError,
    ModelNotFoundError,
    OpinionLensError,
    RegistryAuthError,
    RegistryError,
    RegistryUnavailableError,
    SettingsError,
)
from pipelines.registry.databases import (
    database_file,
    engine_uri,
    ensure_database,
    require_writable,
    storage_failure,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REFUSED: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"})
_MISSING: Final = frozenset({"RESOURCE_DOES_NOT_EXIST"})
_INVALID: Final = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"})

_our_variables: dict[str, str] = {}


class Credentials(msgspec.Struct, frozen=True):
    """Name and password for an MLflow server with basic authentication."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ********)"


class Server(msgspec.Struct, frozen=True):
    """An MLflow store: an HTTP server or a database.

    Attributes
    ----------
    uri
        ``http(s)://`` or an SQLAlchemy URI.
    credentials
        Sent to this server and to no other; empty: MLflow's own variables and files decide.
    timeout
        Seconds that the server has for each answer.
    """

    uri: str
    credentials: Credentials = Credentials()
    timeout: float = 10.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.uri)
            known = parts.hostname is not None if self.is_http else _is_database(parts.scheme)
            known = known and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise SettingsError(
                "mlflow.registry_uri and mlflow.tracking_uri have to be the address of an MLflow "
                "server (http://HOST:PORT, https://HOST) or a database (sqlite:///FILE), and one "
                "of them is not"
            )

    @property
    def is_http(self) -> bool:
        return urlsplit(self.uri).scheme in {"http", "https"}

    @property
    def database_file(self) -> Path | None:
        """The file of a SQLite store."""
        return database_file(self.uri)

    @property
    def name(self) -> str:
        """The URI without name and password, for messages."""
        parts = urlsplit(self.uri)
        if "@" not in parts.netloc:
            return self.uri
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def username(self) -> str:
        """The account for this server, as far as OpinionLens knows."""
        return self.credentials.username or urlsplit(self.uri).username or ""

    def load_mlflow(self) -> None:
        """Import MLflow with our defaults, which takes seconds the first time."""
        set_mlflow_defaults(self.timeout)
        import mlflow  # noqa: F401

    def client(self, *, writing: bool = False) -> MlflowClient:
        """An MLflow client that tracks and registers on this server; for `writing`, if it can.

        MLflow takes credentials from the environment and would send them to every server of the
        process. In the URI they stay with the one they are for, artifacts included. A SQLite
        database that is not there is made first.
        """
        self.load_mlflow()
        from mlflow import MlflowClient

        uri = self.authenticated_uri
        if (file := self.database_file) is not None:
            ensure_database(file, _make_tables)
            if writing:
                require_writable(file)
        elif not self.is_http:
            _connect(uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    @property
    def authenticated_uri(self) -> str:
        """The URI for MLflow, with the credentials in it."""
        if not (self.is_http and self.credentials.username):
            return engine_uri(self.uri)
        user, password = (
            # `requests` encodes what it finds in a URL as Latin-1, MLflow decodes UTF-8.
            quote(text.encode().decode("latin-1"), safe="")
            for text in (self.credentials.username, self.credentials.password)
        )
        parts = urlsplit(self.uri)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn what MLflow, `requests` and a broken server raise into our errors."""
        try:
            yield
        except (OpinionLensError, OSError) as error:
            if (translated := self._from_http(error)) is None:
                raise
            raise translated from None
        except Exception as error:  # a server that talks nonsense makes MLflow raise anything
            raise self._translate(error) from None

    def _from_http(self, error: Exception) -> OpinionLensError | None:
        """`requests` exceptions are OSErrors; those of the disk are not our business."""
        from requests import RequestException

        if not isinstance(error, RequestException):
            return None
        status = None if error.response is None else error.response.status_code
        if status in {401, 403}:
            return self._refused()
        if status == 404:
            return ModelNotFoundError(f"{self.name} does not have the model's files")
        return self._unavailable(error)

    def _translate(self, error: Exception) -> OpinionLensError:
        code = getattr(error, "error_code", None)
        if self.database_file and (failure := storage_failure(error, self.database_file)):
            return failure
        if type(error).__name__.startswith("Unsupported") and not self.is_http:
            return MissingExtraError("mlflow", "train")
        if isinstance(error, ModuleNotFoundError):  # SQLAlchemy, or the driver of a database
            return MissingExtraError(str(error.name), "train")
        if code in _REFUSED:
            return self._refused()
        if code in _MISSING:
            return ModelNotFoundError(f"{self.name}: {_reason(error, code)}")
        if code in _INVALID:
            return InputError(f"{self.name}: {_reason(error, code)}")
        return self._unavailable(error)

    def _refused(self) -> RegistryAuthError:
        who = f"the user {self.username!r}" if self.username else "a caller without a name"
        return RegistryAuthError(
            f"{self.name} refused {who}. Check the name, the password (--username and "
            "--password-stdin, or OLENS_MLFLOW__REGISTRY_USERNAME and _PASSWORD) and what the "
            "account may do"
        )

    def _unavailable(self, error: Exception) -> RegistryError:
        reason = self._without_secrets(_first_line(error))
        text = str(error)
        if "imed out" in text or "timeout" in text:
            reason = f"no answer within {self.timeout:g} seconds (mlflow.timeout)"
        elif "refused" in text:
            reason = "connection refused"
        elif "Failed to resolve" in text:
            reason = "there is no such host"
        elif self.is_http and _is_nonsense(error):
            reason = "what answered is not an MLflow server"
        return RegistryUnavailableError(
            f"The MLflow server {self.name} cannot be used: {reason}. Check that it runs and that "
            "mlflow.registry_uri (or mlflow.tracking_uri) is its address"
        )

    def _without_secrets(self, text: str) -> str:
        text = re.sub(r"://[^/@\s]+@", "://", text)
        if password := self.credentials.password:
            text = text.replace(password, "********")
        return text


def set_mlflow_defaults(timeout: float) -> None:
    """Set what MLflow reads from the environment, apart from what the user set there.

    MLflow would try seven times over four minutes, log at length and report its use to its makers.
    """
    defaults = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, math.ceil(timeout))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
    for name, value in defaults.items():
        if os.environ.get(name) in (None, _our_variables.get(name)):
            os.environ[name] = _our_variables[name] = value
    # It logs the traceback of what it raises, and `Server.answering` says it in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _make_tables(uri: str) -> None:
    """MLflow's tables in a new SQLite database, with the default experiment in them."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri, "mlruns").engine.dispose()


@cache
def _connect(uri: str) -> None:
    """Connect to a database once: MLflow would try in vain for two minutes without a word."""
    from sqlalchemy import create_engine

    engine = create_engine(uri)
    engine.connect().close()
    engine.dispose()


def _is_database(scheme: str) -> bool:
    return scheme.partition("+")[0] in {"sqlite", "postgresql", "mysql", "mssql"}


def _is_nonsense(error: Exception) -> bool:
    """Whether MLflow failed on the answer, instead of getting an error from the server."""
    reported = getattr(error, "error_code", None) is not None
    marks = ("valid JSON", "BadStatusLine", "error code 404")
    return not reported or any(mark in str(error) for mark in marks)


def _reason(error: Exception, code: str) -> str:
    return _first_line(error).removeprefix(f"{code}: ")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else type(error).__name__
