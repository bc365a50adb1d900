from __future__ import annotations

import os
import socket

import pytest
from typer.testing import CliRunner

from opinionlens_cli.main import app
from opinionlens_server import serve
from pipelines.config.settings import Serving, Settings
from pipelines.errors import InputError


@pytest.mark.parametrize(
    "options", [["--port", "70000"], ["--port", "-1"], ["--workers", "0"], ["--workers", "many"]]
)
def test_senseless_options_are_a_usage_error(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["serve", *options]).exit_code == 2


def test_help_has_an_example() -> None:
    assert "Example: olens serve" in CliRunner().invoke(app, ["serve", "--help"]).output


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "no host"])
def test_an_address_that_is_not_ours_is_one_clear_sentence(host: str) -> None:
    with pytest.raises(InputError, match=f"Cannot listen on {host}:8000"):
        serve.listen(host, 8000)


def test_a_port_in_use_says_what_to_do() -> None:
    with serve.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} on 127.0.0.1 is in use"):
            serve.listen("127.0.0.1", port)


def test_localhost_is_the_ipv4_address() -> None:
    with serve.listen("localhost", 0) as listening:
        assert listening.family == socket.AF_INET
        assert serve._url(listening).startswith("http://127.0.0.1:")


def test_an_unspecified_address_is_printed_as_one_that_can_be_opened() -> None:
    with serve.listen("0.0.0.0", 0) as listening:
        assert serve._url(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"


class TestToken:
    @pytest.fixture(autouse=True)
    def clean_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Set first, so that whatever the code sets is undone.
        monkeypatch.setenv(serve.TOKEN_VARIABLE, "")

    def test_each_run_has_its_own(self, settings: Settings) -> None:
        open_settings = Settings(root=settings.root)
        with serve.listen("127.0.0.1", 0) as listening:
            tokens = {serve._make_token(open_settings, listening) for _ in range(3)}

        assert len(tokens) == 3
        assert os.environ[serve.TOKEN_VARIABLE] in tokens

    def test_the_token_of_the_settings_is_kept_and_not_printed(
        self, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        own = Settings(root=settings.root, serving=Serving(admin_token="kept to myself"))
        with serve.listen("127.0.0.1", 0) as listening:
            token = serve._make_token(own, listening)
            serve._announce(own, listening, token)

        assert token is None
        assert os.environ[serve.TOKEN_VARIABLE] == ""
        assert "kept to myself" not in capsys.readouterr().err

    def test_no_token_is_made_on_public_addresses(
        self, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serve.listen("0.0.0.0", 0) as listening:
            assert serve._make_token(Settings(root=settings.root), listening) is None
        assert os.environ[serve.TOKEN_VARIABLE] == ""
        assert "No admin secret is set" in capsys.readouterr().err
