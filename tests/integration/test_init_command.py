"""`olens init` makes a project, from a checkout and from an installed package alike."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipelines.config.params import load_params
from pipelines.config.settings import load_settings
from pipelines.workflows.new_project import FILES, init_project
from tests.integration.commands import CHECKOUT, Olens, clean_environment


def test_a_project_is_what_the_commands_look_for(
    olens: Olens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = olens("init", "reviews")
    root = tmp_path / "reviews"
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[: len(FILES)] == list(FILES)
    assert f"cd {root}\n" in done.out
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()) == sorted(
        FILES
    )
    monkeypatch.chdir(root / "data" / "raw")
    assert load_settings().root == root
    assert load_settings().paths.models == root / "models"
    assert list(load_params(root).datasets) == list(load_params(CHECKOUT).datasets)
    assert olens("data", "list").code == 0


def test_existing_files_are_not_changed(olens: Olens, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    mine = tmp_path / "conf" / "params.yaml"
    mine.write_text("mine")
    made = json.loads(olens("init", str(tmp_path), "--json").out)
    assert (made["kept"], mine.read_text()) == (["conf/params.yaml"], "mine")
    again = olens("init", str(tmp_path))
    assert again.code == 0
    assert "Kept as they are: conf/settings.toml" in again.message


def test_a_file_is_no_folder(olens: Olens, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = olens("init", str(tmp_path / "file"))
    assert done.code == 1
    assert "is a file" in done.message
    assert olens("init", str(tmp_path / "file" / "below")).code == 1


def test_git_ignores_what_a_project_makes_and_keeps_what_it_needs(tmp_path: Path) -> None:
    init_project(tmp_path)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    made = ["data/prepared/x", "models/reviews-v1/x", "mlruns/mlflow.db", ".env", "data/raw/x.csv"]
    secret = "conf/.secrets.toml"
    for name in [*made, secret]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    listed = subprocess.run(status, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert sorted(line[3:] for line in listed.splitlines()) == sorted(FILES)


def test_quickstart_checks_the_port_before_it_trains(olens: Olens, tmp_path: Path) -> None:
    init_project(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = olens("--root", str(tmp_path), "quickstart", "--port", str(port))
    assert (done.code, done.out) == (1, "")
    assert f"Port {port} on 127.0.0.1 is in use" in done.message
    assert "no raw data" not in done.message


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, apart from htmx, which a hook puts into it."""
    folder = tmp_path_factory.mktemp("wheel")
    code = (
        "from hatchling.builders.wheel import WheelBuilder\n"
        f"print(*WheelBuilder({str(CHECKOUT)!r}).build(directory={str(folder)!r}))\n"
    )
    environment = clean_environment(HATCH_BUILD_NO_HOOKS="true")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=environment)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(installed), XDG_CACHE_HOME=str(folder / "cache")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_the_front_door_and_the_files_of_a_project(
    installed: Path, tmp_path: Path
) -> None:
    where = "import opinionlens; print(opinionlens.__file__)"
    assert Path(run(installed, tmp_path, where).strip()) == installed / "opinionlens.py"
    code = (
        "import sys; sys.argv = ['olens', 'init', 'mine']\n"
        "from opinionlens_cli.main import run; run()"
    )
    run(installed, tmp_path, code)
    for name in FILES:
        assert (tmp_path / "mine" / name).read_bytes() == (CHECKOUT / name).read_bytes(), name


def test_the_wheel_has_the_templates_of_explanations(installed: Path) -> None:
    templates = Path("pipelines") / "inference" / "rendering" / "templates"
    names = sorted(path.name for path in (CHECKOUT / templates).iterdir())
    assert sorted(path.name for path in (installed / templates).iterdir()) == names
    assert "page.html" in names
