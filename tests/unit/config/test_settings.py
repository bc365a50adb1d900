"""Settings: where values come from, and what is said about wrong ones."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from pipelines.config.settings import Settings, describe_settings, find_root, load_settings
from pipelines.errors import SettingsError

PROJECT = Path(__file__).resolve().parents[3]
TOML = """\
[default]
log_level = "info"
[default.serving]
port = 1000
[local.serving]
max_batch_size = 7
[stage.serving]
port = 2000
[prod]
log_level = "warning"
[prod.serving]
workers = 2
[night.serving]
port = 3000
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("OLENS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    return tmp_path


def write(root: Path, toml: str = TOML, dotenv: str = "", secrets: str = "") -> None:
    (root / "conf" / "settings.toml").write_text(toml)
    if dotenv:
        (root / ".env").write_text(dotenv)
    if secrets:
        (root / "conf" / ".secrets.toml").write_text(secrets)


class TestPrecedence:
    def test_no_file_at_all_gives_the_defaults(self, root: Path) -> None:
        found = load_settings(root)
        assert found.serving.port == 8000
        assert found.paths.raw == root / "data" / "raw"
        assert found.env == "local"

    def test_later_layers_overrule_earlier_ones(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def port() -> int:
            return load_settings(root).serving.port

        write(root)
        assert port() == 1000
        monkeypatch.setenv("OLENS_ENV", "stage")
        assert port() == 2000
        write(root, secrets="[default.serving]\nport = 2500\n")
        assert port() == 2500
        write(root, dotenv="OLENS_SERVING__PORT=4000\n")
        assert port() == 4000
        monkeypatch.setenv("OLENS_SERVING__PORT", "5000")
        assert port() == 5000

    def test_single_values_are_replaced_not_sections(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root)
        monkeypatch.setenv("OLENS_ENV", "prod")
        monkeypatch.setenv("OLENS_SERVING__HOST", "::1")
        found = load_settings(root)
        assert (found.log_level, found.serving.port) == ("warning", 1000)
        assert (found.serving.workers, found.serving.host) == (2, "::1")

    @pytest.mark.parametrize(
        ("env", "port"), [("local", 1000), ("stage", 2000), ("prod", 1000), ("night", 3000)]
    )
    def test_the_environment_is_chosen_by_a_variable(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, env: str, port: int
    ) -> None:
        write(root)
        monkeypatch.setenv("OLENS_ENV", env)
        found = load_settings(root)
        assert (found.env, found.serving.port) == (env, port)

    def test_the_environment_can_be_chosen_in_dotenv(self, root: Path) -> None:
        write(root, dotenv="OLENS_ENV=stage\n")
        found = load_settings(root)
        assert (found.env, found.serving.port) == ("stage", 2000)

    def test_an_environment_that_is_not_there_is_a_typo(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root)
        monkeypatch.setenv("OLENS_ENV", "porduction")
        with pytest.raises(SettingsError, match=r"OLENS_ENV=porduction.*local, night, prod, stage"):
            load_settings(root)

    def test_dotenv_stays_in_its_project(self, root: Path, tmp_path: Path) -> None:
        write(root, dotenv="OLENS_SERVING__PORT=4000\nOLENS_MLFLOW__EXPERIMENT=mine\n")
        other = tmp_path / "other"
        (other / "conf").mkdir(parents=True)
        before = dict(os.environ)
        assert load_settings(root).serving.port == 4000
        assert dict(os.environ) == before
        assert load_settings(other).serving.port == 8000
        assert load_settings(root).mlflow.experiment == "mine"

    def test_the_current_folder_does_not_matter(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, dotenv="OLENS_SERVING__PORT=4000\n")
        monkeypatch.chdir("/")
        assert load_settings(root).serving.port == 4000


class TestText:
    @pytest.mark.parametrize(
        "text",
        ["0123", "1e5", "true", "null", "@none", "@int 3", "@merge", "@format {x", "{a=1}", "[1",
         '"quoted"', "'", "a\\b", "é😀", " spaced ", "x=y", "#not a comment", "{{ jinja }}", ""],
    )  # fmt: skip
    def test_variables_are_taken_verbatim(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setenv("OLENS_MLFLOW__REGISTRY_PASSWORD", text)
        monkeypatch.setenv("OLENS_SERVING__ADMIN_TOKEN", text)
        found = load_settings(root)
        assert (found.mlflow.registry_password, found.serving.admin_token) == (text, text)

    @pytest.mark.parametrize("text", ["@none", "0123", "@int 3"])
    def test_text_in_a_file_is_taken_verbatim(self, root: Path, text: str) -> None:
        write(root, secrets=f'[default.mlflow]\nregistry_password = "{text}"\n')
        assert load_settings(root).mlflow.registry_password == text

    @pytest.mark.parametrize(
        ("text", "hosts"),
        [
            ("", ()),
            ("example.org", ("example.org",)),
            ("a.org, *.b.org,", ("a.org", "*.b.org")),
            ('["a.org", "b.org"]', ("a.org", "b.org")),
            ("[]", ()),
        ],
    )
    def test_a_list_is_written_with_commas_or_as_in_the_file(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, text: str, hosts: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("OLENS_SERVING__ALLOWED_HOSTS", text)
        assert load_settings(root).serving.allowed_hosts == hosts

    def test_text_in_dotenv_is_taken_verbatim(self, root: Path) -> None:
        write(root, dotenv="OLENS_MLFLOW__REGISTRY_PASSWORD=0123\n")
        assert load_settings(root).mlflow.registry_password == "0123"

    def test_a_folder_may_be_a_number(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OLENS_PATHS__MODELS", "2024")
        assert load_settings(root).paths.models == root / "2024"


@pytest.mark.parametrize(
    ("written", "size"),
    [("4GiB", 4 << 30), ("512MiB", 512 << 20), ("1.5 GB", 1_500_000_000), ("8KB", 8_000)],
)
def test_a_size_has_a_unit(
    root: Path, monkeypatch: pytest.MonkeyPatch, written: str, size: int
) -> None:
    monkeypatch.setenv("OLENS_TRAINING__MEMORY", written)
    assert load_settings(root).training.memory_bytes == size
    monkeypatch.setenv("OLENS_TRAINING__MEMORY", written.rstrip("KMGiB"))
    with pytest.raises(SettingsError, match=r"training\.memory"):
        load_settings(root)


class TestPaths:
    def test_relative_paths_start_at_the_project(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OLENS_PATHS__MODELS", "cache")
        monkeypatch.setenv("OLENS_PATHS__REPORTS", "/reports")
        paths = load_settings(root).paths
        assert (paths.models, paths.reports) == (root / "cache", Path("/reports"))

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            ("sqlite:///a/b.db", "sqlite:///{root}/a/b.db"),
            ("sqlite:////abs/b.db", "sqlite:////abs/b.db"),
            ("https://mlflow.example.org", "https://mlflow.example.org"),
            ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ],
    )
    def test_relative_sqlite_files_too(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, given: str, found: str
    ) -> None:
        monkeypatch.setenv("OLENS_MLFLOW__TRACKING_URI", given)
        monkeypatch.setenv("OLENS_OPTUNA__STORAGE", given)
        if not given.startswith("https"):
            monkeypatch.setenv("OLENS_LABELS__STORAGE", given)
        settings = load_settings(root)
        expected = found.format(root=root)
        assert settings.mlflow.tracking_uri == settings.optuna.storage == expected
        assert given.startswith("https") or settings.labels.storage == expected

    def test_the_storage_of_corrections_too(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = f"sqlite:///{root}/feedback/feedback.db"
        assert load_settings(root).serving.feedback_storage == file
        monkeypatch.setenv("OLENS_SERVING__FEEDBACK_STORAGE", "mysql://h/d")
        with pytest.raises(SettingsError, match=r"serving\.feedback_storage = 'mysql://h/d'"):
            load_settings(root)

    @pytest.mark.parametrize("key", ["raw", "sample"])
    def test_a_data_folder_that_was_named_must_be_there(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        name = f"OLENS_PATHS__{key.upper()}"
        monkeypatch.setenv(name, "nowhere")
        with pytest.raises(SettingsError, match=rf"variable {name}: paths\.{key} = .*nowhere"):
            load_settings(root)
        (root / "nowhere").mkdir()
        assert getattr(load_settings(root).paths, key) == root / "nowhere"

    def test_a_data_folder_named_in_the_file_must_exist_too(self, root: Path) -> None:
        write(root, '[default.paths]\nraw = "gone"\n')
        with pytest.raises(SettingsError, match=r"settings\.toml \[default\]: paths\.raw = .*gone"):
            load_settings(root)


class TestFindRoot:
    def test_the_nearest_parent_with_parameters(self, root: Path) -> None:
        (root / "conf" / "params.yaml").touch()
        inside = root / "a" / "b"
        inside.mkdir(parents=True)
        assert find_root(inside, {}) == root

    def test_otherwise_the_root_is_the_current_folder(self, root: Path) -> None:
        assert find_root(root, {}) == root

    def test_the_variable_beats_both(self, root: Path) -> None:
        assert find_root(Path("/"), {"OLENS_ROOT": str(root)}) == root
        with pytest.raises(SettingsError, match="OLENS_ROOT=/no/such: there is no such folder"):
            find_root(root, {"OLENS_ROOT": "/no/such"})


class TestErrors:
    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("SERVING__PORT", "abc", r"serving\.port = 'abc': Expected `int`, got `str`"),
            ("SERVING__PORT", "1.5", r"serving\.port = '1\.5': Expected `int`, got `str`"),
            ("SERVING__PROT", "1", r"serving\.prot = '1': there is no such key"),
            ("PORT", "1", r"port = '1': there is no such key"),
            ("LOG_LEVEL", "loud", r"log_level = 'loud': Invalid enum value"),
            ("MLFLOW__TIMEOUT", "true", r"mlflow\.timeout = 'true': Expected `float`"),
            ("SERVING", "1", r"serving = '1': Expected `object`, got `str`"),
            ("SERVING__WORKERS", "9" * 5_000, rf"serving\.workers = '{'9' * 99}: "),
            (
                "SERVING__COOKIE_SECURE",
                "maybe",
                r"serving\.cookie_secure = 'maybe': Expected `bool`",
            ),
            ("SERVING__ALLOWED_HOSTS", "[a", r"serving\.allowed_hosts = '\[a': Expected `array`"),
        ],
    )
    def test_a_variable_is_named_with_its_key_and_value(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
    ) -> None:
        monkeypatch.setenv(f"OLENS_{variable}", value)
        with pytest.raises(SettingsError, match=f"^variable OLENS_{variable}: {message}"):
            load_settings(root)

    @pytest.mark.parametrize(
        ("toml", "message"),
        [
            ('[default.serving]\nport = "x"', r"\[default\]: serving\.port = 'x': Expected `int`"),
            ("[stage.serving]\nprot = 1", r"\[stage\]: serving\.prot = 1: there is no such key"),
            ("[default]\nlog_level = 3", r"log_level = 3: Expected `str`, got `int`"),
            ("[default.mlflow]\ntimeout = []", r"mlflow\.timeout = .*: Expected `float`"),
            ("[default", r": cannot be read: "),
            ("[default]\nkey = 0123", r": cannot be read: "),
        ],
    )
    def test_the_file_is_named(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, toml: str, message: str
    ) -> None:
        write(root, toml)
        monkeypatch.setenv("OLENS_ENV", "stage")
        with pytest.raises(SettingsError, match=rf"^{root}/conf/settings\.toml.*{message}"):
            load_settings(root)

    def test_dotenv_is_named(self, root: Path) -> None:
        write(root, dotenv="OLENS_SERVING__PORT=x\n")
        with pytest.raises(SettingsError, match=rf"^{root}/\.env OLENS_SERVING__PORT: serving"):
            load_settings(root)

    def test_a_file_that_is_not_utf8(self, root: Path) -> None:
        (root / "conf" / "settings.toml").write_bytes(b'[default]\nlog_level = "\xff"')
        with pytest.raises(SettingsError, match=r"settings\.toml: cannot be read"):
            load_settings(root)

    def test_secrets_are_not_in_the_message(self, root: Path) -> None:
        write(root, secrets="[default.mlflow]\nregistry_password = 987654\n")
        with pytest.raises(SettingsError, match=r"mlflow\.registry_password: Expected") as error:
            load_settings(root)
        assert "987654" not in str(error.value)


class TestEnvironment:
    def test_reading_leaves_the_environment_as_it_is(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another thread may read a variable or start a process meanwhile."""
        monkeypatch.setenv("OLENS_MLFLOW__REGISTRY_PASSWORD", "0123")
        write(root, dotenv="OLENS_SERVING__PORT=4000\n")

        def changed(*_: object) -> None:
            raise AssertionError("a variable was changed")

        with monkeypatch.context() as patch:
            patch.setattr(type(os.environ), "__setitem__", changed)
            patch.setattr(type(os.environ), "__delitem__", changed)
            assert load_settings(root).serving.port == 4000

    def test_variables_of_other_programs_in_dotenv_are_set_for_them(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "here")
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        write(root, dotenv="AWS_REGION=there\nAWS_PROFILE=mine\n")
        load_settings(root)
        assert (os.environ["AWS_REGION"], os.environ.pop("AWS_PROFILE")) == ("here", "mine")

    def test_variables_of_compose_are_not_settings(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = set()
        for file in (PROJECT / "deploy").rglob("*.y*ml"):
            names |= set(re.findall(r"\$\{(OLENS_\w+)", file.read_text()))
        assert "OLENS_VERSION" in names
        for name in names:
            monkeypatch.setenv(name, "1.2.3")
        assert load_settings(root).serving.workers == 1

    def test_a_dotenv_that_cannot_be_read_is_named(self, root: Path) -> None:
        (root / ".env").write_bytes(b"OLENS_SERVING__PORT=\xff\n")
        with pytest.raises(SettingsError, match=rf"{root}/\.env: cannot be read"):
            load_settings(root)


class TestDescribe:
    def test_every_setting_with_its_source(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, dotenv="OLENS_MLFLOW__EXPERIMENT=mine\n")
        monkeypatch.setenv("OLENS_SERVING__WORKERS", "3")
        found = {
            setting.key: (setting.value, setting.source) for setting in describe_settings(root)
        }
        assert found["serving.workers"] == ("3", "variable OLENS_SERVING__WORKERS")
        assert found["mlflow.experiment"] == ("mine", f"{root}/.env OLENS_MLFLOW__EXPERIMENT")
        file = f"{root}/conf/settings.toml"
        assert found["serving.port"] == ("1000", f"{file} [default]")
        assert found["serving.max_batch_size"] == ("7", f"{file} [local]")
        assert found["serving.host"] == ("127.0.0.1", "default")
        assert len(found) == len(list(leaves(load_settings(root))))

    def test_secrets_are_masked(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OLENS_MLFLOW__REGISTRY_PASSWORD", "hunter2")
        monkeypatch.setenv("OLENS_SERVING__ADMIN_TOKEN", "hunter2")
        monkeypatch.setenv("OLENS_SERVING__FEEDBACK_STORAGE", "postgresql://me:hunter2@host/db")
        found = describe_settings(root)
        assert "hunter2" not in str(found)
        masked = {setting.key for setting in found if setting.value == "********"}
        assert masked == {"mlflow.registry_password", "serving.admin_token"}

    def test_empty_and_set_secrets_look_different(self, root: Path) -> None:
        found = {setting.key: setting.value for setting in describe_settings(root)}
        assert found["mlflow.registry_password"] == ""


def test_settings_cannot_be_changed(root: Path) -> None:
    settings = load_settings(root)
    with pytest.raises(AttributeError):
        settings.log_level = "debug"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        settings.serving.port = 1  # type: ignore[misc]


def leaves(section: msgspec.Struct) -> list[object]:
    found: list[object] = []
    for value in msgspec.structs.asdict(section).values():
        found += leaves(value) if isinstance(value, msgspec.Struct) else [value]
    return found


def test_the_example_files_hold_settings_that_exist(root: Path) -> None:
    """The values are examples to be replaced, so only the keys are held against the settings."""
    uncommented = [
        line.removeprefix("# ")
        for line in (PROJECT / ".env.example").read_text().splitlines()
        if line.startswith("# OLENS_")
    ]
    write(root, (PROJECT / "conf/settings.toml").read_text(), "\n".join(uncommented))
    assert isinstance(load_settings(root), Settings)
    lines = (PROJECT / "conf" / ".secrets.example.toml").read_text().splitlines()
    secrets = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines[1:]))
    known = {setting.key for setting in describe_settings(root)}
    examples = {f"{name}.{key}" for name, keys in secrets["default"].items() for key in keys}
    assert examples <= known
