"""Start the MLflow server with basic authentication on PostgreSQL; its secrets are files.

The secrets are read from the folder that REGISTRY_SECRETS names: postgres_password,
registry_session_key, and the passwords of two accounts: registry_admin_password, and
registry_service_password of the service, which reads models and cannot change any. At every start
the accounts get the passwords that the files hold. Everything else is said by the variables of
MLflow (MLFLOW_HOST, MLFLOW_PORT, MLFLOW_ARTIFACTS_DESTINATION, MLFLOW_SERVER_ALLOWED_HOSTS) and of
PostgreSQL's client library (PGHOST, PGPORT, PGUSER). What MLflow wants to read from files is
written below TMPDIR, for the user alone. Arguments, if any, are run instead of the server:

    docker compose run --rm registry mlflow db upgrade postgresql+psycopg2:///mlflow
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

DEFAULTS = {
    "REGISTRY_SECRETS": "/run/secrets",
    "REGISTRY_DATABASE_TIMEOUT": "60",
    "PGHOST": "postgres",
    "PGPORT": "5432",
    "PGUSER": "mlflow",
    # Host, user and password are not part of the addresses: PostgreSQL's library adds them.
    "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2:///mlflow",
    # One process: what an administrator changes about a user holds at once, not after the cache.
    "MLFLOW_WORKERS": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

ADMIN, SERVICE = "admin", "service"
"""The accounts that are always there; `default_permission` is what the second one may do."""

SERVER = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]

AUTH_DATABASE = "postgresql+psycopg2:///mlflow_auth"

# Hashing a password takes longer than most requests, hence the cache.
BASIC_AUTH = """\
[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {username}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""


def main() -> None:
    """Write the files, wait for the database, become the server."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    folder = Path(tempfile.mkdtemp(prefix="registry-"))
    os.environ["PGPASSFILE"] = write(folder / "pgpass", password_line(secret("postgres_password")))
    passwords = {name: password(name) for name in (ADMIN, SERVICE)}
    configuration = write(folder / "basic_auth.ini", basic_auth(passwords[ADMIN]))
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = configuration
    # MLflow reads this one from its environment only.
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secret("registry_session_key")
    wait_for_database(float(os.environ["REGISTRY_DATABASE_TIMEOUT"]))
    command = sys.argv[1:]
    if not command:
        set_accounts(passwords)
        command = SERVER
    os.execvp(command[0], command)


def secret(name: str) -> str:
    """The content of a secret's file, without the end of its line."""
    path = Path(os.environ["REGISTRY_SECRETS"]) / name
    try:
        value = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        sys.exit(f"registry: the secret {path} cannot be read: {error}")
    if not value:
        sys.exit(f"registry: the secret {path} is empty; `make secrets` writes it")
    return value


def password(account: str) -> str:
    """What the file says of an account."""
    value = secret(name := f"registry_{account}_password")
    if not value.isascii():
        sys.exit(f"registry: {name} must be ASCII: MLflow's artifact routes ask so")
    return value


def basic_auth(admin_password: str) -> str:
    """MLflow's configuration of accounts."""
    return BASIC_AUTH.format(
        database=AUTH_DATABASE,
        username=ADMIN,
        # A percent sign would begin an interpolation.
        password=admin_password.replace("%", "%%"),
    )


def set_accounts(passwords: dict[str, str]) -> None:
    """Make the accounts that are missing; give all of them their passwords.

    MLflow itself makes its administrator only, once, and never looks at the password again.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(AUTH_DATABASE)
    for name, value in passwords.items():
        try:
            if not store.has_user(name):
                store.create_user(name, value, is_admin=name == ADMIN)
            elif not store.authenticate_user(name, value):
                store.update_user(name, value)
        except MlflowException as error:
            sys.exit(f"registry: registry_{name}_password: {error.message}")


def password_line(password: str) -> str:
    r"""A line of a PostgreSQL password file, in which `\` and `:` are escaped."""
    return "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n"


def write(path: Path, text: str) -> str:
    """Write a file that its owner alone may read; returns its path."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return str(path)


def wait_for_database(timeout: float) -> None:
    """Return when the database answers; end after `timeout` seconds and say why it does not."""
    import psycopg2

    deadline = time.monotonic() + timeout
    while True:
        try:
            psycopg2.connect(dbname="mlflow", connect_timeout=5).close()
            return
        except psycopg2.OperationalError as error:
            if time.monotonic() > deadline:
                sys.exit(f"registry: no database after {timeout:g} s: {error}")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
