from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opinionlens_cli.main import app
from opinionlens_server.security.credentials import Credentials
from opinionlens_server.security.throttle import Throttle
from opinionlens_server.shared_state import SharedState
from pipelines.config.settings import Serving, describe_settings, load_settings
from pipelines.errors import InputError, SettingsError
from pipelines.files import sha256_of

SECRET = "größer als nötig"


def test_a_hashed_secret_is_the_one_that_lets_in() -> None:
    made = CliRunner().invoke(app, ["config", "hash-secret"], input=SECRET + "\n")
    assert made.exit_code == 0
    assert SECRET not in made.output
    credentials = Credentials(
        Serving(admin_secret_hash=made.stdout.strip()), Throttle(SharedState())
    )

    assert asyncio.run(credentials.is_admin(SECRET.encode(), ""))
    # The second time it is not hashed again.
    assert asyncio.run(credentials.is_admin(SECRET.encode(), ""))
    assert not asyncio.run(credentials.is_admin(SECRET.upper().encode(), ""))


@pytest.mark.parametrize("secret", ["", "short"])
def test_a_short_secret_is_refused(secret: str) -> None:
    made = CliRunner().invoke(app, ["config", "hash-secret"], input=secret)
    assert isinstance(made.exception, InputError)
    assert made.stdout == ""


def test_a_new_key_opens_with_what_the_settings_hold() -> None:
    made = CliRunner().invoke(app, ["config", "new-api-key"])
    key, setting = (line.partition(":")[2].strip() for line in made.stdout.splitlines())

    credentials = Credentials(Serving(api_keys=(setting,)), Throttle(SharedState()))
    assert credentials.is_key(key.encode())
    assert not credentials.is_key(setting.encode())
    again = CliRunner().invoke(app, ["config", "new-api-key"])
    assert again.stdout != made.stdout


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ADMIN_SECRET_HASH", "the secret itself"),
        ("ADMIN_SECRET_HASH", "$argon2id$nonsense"),
        ("API_KEYS", '["short"]'),
        ("API_KEYS", '["sha256:1234567890abcdef"]'),
        ("SESSION_SECRET", "short"),
        ("SESSION_LIFETIME", "0"),
        ("FOLLOW", "no alias"),
        ("FOLLOW", "@champion"),
        ("FOLLOW_INTERVAL", "0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_secrets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(f"OLENS_SERVING__{key}", value)
    with pytest.raises(SettingsError, match=f"serving.{key.lower()}") as caught:
        load_settings(tmp_path)
    if key in {"ADMIN_SECRET_HASH", "API_KEYS", "SESSION_SECRET"}:
        assert value.strip('[]"') not in str(caught.value)


def test_secrets_are_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "ADMIN_TOKEN": "token of the admin",
        "ADMIN_SECRET_HASH": "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaA",
        "API_KEYS": '["a key of a client of ours"]',
        "SESSION_SECRET": "x" * 32,
    }
    for key, value in secrets.items():
        monkeypatch.setenv(f"OLENS_SERVING__{key}", value)
    shown = {setting.key: setting.value for setting in describe_settings(tmp_path)}
    for key in secrets:
        assert shown[f"serving.{key.lower()}"] == "********"


def test_the_printed_link_is_known_to_the_service(tmp_path: Path) -> None:
    state = SharedState(tmp_path)
    token = state.make_link()

    # What lies on the disk does not open anything.
    assert not state.use_link(sha256_of(token.encode()))
    assert state.use_link(token)
    assert not state.use_link(token)
