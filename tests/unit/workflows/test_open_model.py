"""Every name of a model, as `resolve` and `open_model` understand it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipelines.cache.entries import CachedModel
from pipelines.cache.model_cache import ModelCache
from pipelines.config.settings import MLflow, Paths, Settings
from pipelines.errors import CorruptModelError, ModelNotFoundError, RegistryError
from pipelines.workflows.list_models import list_models
from pipelines.workflows.open_model import (
    RegistryName,
    find_cached,
    open_model,
    parse_name,
    resolve,
    resolve_cached,
)
from tests.serving import install_linear


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The cache holds reviews-v1 (champion) and reviews-v2; nothing answers as a registry."""
    models = tmp_path / "models"
    install_linear(models, 1, 3.0)
    install_linear(models, 2, -3.0)
    set_aliases(models, "reviews-v1", ["champion", "old"])
    return Settings(
        root=tmp_path,
        paths=Paths(models=models),
        mlflow=MLflow(
            tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", registry_uri="http://127.0.0.1:9"
        ),
    )


def set_aliases(models: Path, id_: str, aliases: list[str]) -> None:
    from pipelines.cache.entries import ENTRY, encode_entry, read_entry

    entry = msgspec.structs.replace(read_entry(models / id_), aliases=aliases)
    (models / id_ / ENTRY).write_bytes(encode_entry(entry))


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("reviews", RegistryName("reviews")),
        ("reviews/3", RegistryName("reviews", version=3)),
        ("reviews@champion", RegistryName("reviews", alias="champion")),
        ("my model@home@new", RegistryName("my model@home", alias="new")),
        ("reviews/0", RegistryName("reviews/0")),
        ("@new", RegistryName("@new")),
    ],
)
def test_a_registered_name_with_version_or_alias(name: str, parsed: RegistryName) -> None:
    assert parse_name(name) == parsed


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("reviews", "reviews-v1"),
        ("reviews@old", "reviews-v1"),
        ("reviews/2", "reviews-v2"),
        ("reviews-v2", "reviews-v2"),
        ("models:/reviews@champion", "reviews-v1"),
        (" reviews ", "reviews-v1"),
        ("base", "base"),
        (None, "base"),
    ],
)
def test_cached_models_answer_without_a_registry(
    settings: Settings, name: str | None, id_: str
) -> None:
    assert open_model(settings, name).id == id_


def test_without_a_champion_the_newest_version_answers(settings: Settings) -> None:
    set_aliases(settings.paths.models, "reviews-v1", [])
    assert open_model(settings, "reviews").id == "reviews-v2"


def test_the_active_model_answers_where_none_is_named(settings: Settings) -> None:
    ModelCache(settings.paths.models).activate("reviews-v2")
    assert open_model(settings).id == "reviews-v2"


def test_the_folder_of_an_entry_is_a_model(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.paths.models / "reviews-v2"
    assert open_model(settings, str(folder)).scorer.predict(["x"])[0] == ["NEGATIVE"]
    monkeypatch.chdir(settings.root)
    for path in ("models/reviews-v2", "./models/reviews-v2"):
        assert resolve(settings, path) == folder


def test_a_name_wins_over_a_folder_of_that_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.root / "reviews").mkdir()
    monkeypatch.chdir(settings.root)
    assert isinstance(resolve(settings, "reviews"), CachedModel)
    assert resolve(settings, "./reviews") == settings.root / "reviews"


@pytest.mark.parametrize("path", ["/no/such/folder", "./nothing", "~/no such folder"])
def test_a_path_that_leads_nowhere_is_explained(settings: Settings, path: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"does not exist: the path of a model is a"):
        resolve(settings, path)


def test_a_folder_that_is_no_model_is_refused(settings: Settings) -> None:
    with pytest.raises(CorruptModelError, match=r"holds no model\.skops"):
        open_model(settings, str(settings.root))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30])
def test_a_table_whose_weights_are_no_numbers_is_refused(
    settings: Settings, tmp_path: Path, number: float
) -> None:
    (entry,) = (settings.paths.models / "reviews-v1").glob("*.safetensors")
    table = bytearray(entry.read_bytes())
    table[-4:] = np.float32(number).tobytes()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / entry.name).write_bytes(table)
    with pytest.raises(CorruptModelError, match="weights that no training leads to"):
        open_model(settings, str(tmp_path / "made"))


def test_a_registry_that_does_not_answer_is_named_only_where_it_is_needed(
    settings: Settings,
) -> None:
    with pytest.raises(RegistryError, match=r"no model other in the cache, and the registry"):
        resolve(settings, "other")


@pytest.mark.parametrize(
    ("typed", "meant"), [("bsae", "base"), ("review", "reviews"), ("latets", "latest")]
)
def test_a_misspelt_name_is_answered_with_similar_ones(
    settings: Settings, typed: str, meant: str
) -> None:
    local = msgspec.structs.replace(settings.mlflow, registry_uri="")
    settings = msgspec.structs.replace(settings, mlflow=local)
    with pytest.raises(ModelNotFoundError, match=rf"There is no model {typed}\. Did you mean.*"):
        resolve(settings, typed)
    with pytest.raises(ModelNotFoundError, match=meant):
        resolve(settings, typed)


@pytest.mark.parametrize(
    "name", ["x\x1b[31m" * 10_000, "./" + "x" * 10_000, "x\x00" + "y-v1" * 999]
)
def test_a_message_is_bounded_and_safe(settings: Settings, name: str) -> None:
    local = msgspec.structs.replace(settings.mlflow, registry_uri="")
    settings = msgspec.structs.replace(settings, mlflow=local)
    with pytest.raises(ModelNotFoundError) as error:
        resolve(settings, name)
    message = str(error.value)
    assert len(message) < 600, message[:1_000]
    assert "\x1b" not in message


def test_a_logged_model_is_not_what_a_server_takes(settings: Settings) -> None:
    folder = settings.paths.models / "reviews-v2"
    with pytest.raises(ModelNotFoundError, match=r"olens register .* && olens fetch NAME"):
        resolve_cached(settings, str(folder))
    assert resolve_cached(settings, "reviews@old").id == "reviews-v1"


def test_a_damaged_entry_is_an_error_by_its_id_only(settings: Settings) -> None:
    (settings.paths.models / "reviews-v1" / "entry.json").write_text("{}")
    cache = ModelCache(settings.paths.models)
    with pytest.raises(CorruptModelError):
        find_cached(cache, "reviews-v1")
    found = find_cached(cache, "reviews")
    assert found is not None
    assert found.id == "reviews-v2"


def test_the_list_has_base_and_cached_models_and_what_kept_it_from_being_whole(
    settings: Settings,
) -> None:
    ModelCache(settings.paths.models).activate("reviews-v2")
    listing = list_models(settings)
    found = [(model.id, model.places, model.active) for model in listing.models]
    assert found == [
        ("base", ["package"], False),
        ("base3", ["package"], False),
        ("reviews-v1", ["cached"], False),
        ("reviews-v2", ["cached"], True),
    ]
    assert len(listing.problems) == 1
    assert "connection refused" in listing.problems[0]
    assert list_models(settings, everywhere=False).problems == []


def test_the_base_model_is_marked_where_no_other_is_active(settings: Settings) -> None:
    (base, *others) = list_models(settings, everywhere=False).models
    assert base.active
    assert not any(model.active for model in others)
