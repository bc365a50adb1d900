"""`olens models`: which models there are, and which one answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import (
    JsonOption,
    docs,
    downloading,
    err,
    print_json,
    print_table,
    say,
    warn,
)
from opinionlens_cli.options import NAMES, activate

if TYPE_CHECKING:
    from pipelines.cache.entries import CachedModel
    from pipelines.cache.model_cache import ModelCache
    from pipelines.config.settings import Settings

app = typer.Typer(help="List, show, activate and remove models.", no_args_is_help=True)

_PAGE = docs("serving")


@app.command("list", epilog=_PAGE)
def list_cli(
    cached: Annotated[
        bool, typer.Option("--cached", help="Only those on this machine: ask no registry.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the models that other commands take: base, cached, registered and logged ones.

    The star marks the one that answers where no model is named.

    Example: olens models list --json
    """
    from pipelines.workflows.list_models import list_models

    settings = _settings()
    with err.status("asking the registry"):
        listing = list_models(settings, everywhere=not cached)
    if as_json:
        print_json(listing.models)
    else:
        print_table(
            ["", "model", "where", "aliases", "accuracy", "created"],
            [
                (
                    "*" if model.active else "",
                    model.id,
                    ", ".join(model.places),
                    ", ".join(model.aliases),
                    _share(model.metrics.get("accuracy")),
                    f"{model.created.astimezone():%Y-%m-%d}",
                )
                for model in listing.models
            ],
        )
    _warn_of_problems(settings, listing.problems)


@app.command("show", epilog=_PAGE)
def show_cli(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help=f"{NAMES}. Default: the one that answers."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is known about a model of the cache, after checking its files.

    Example: olens models show reviews-v1
    """
    from pipelines.base_model.opening import FOLDERS
    from pipelines.errors import ModelNotFoundError
    from pipelines.workflows.answering import answering_model
    from pipelines.workflows.open_model import resolve_cached

    settings = _settings()
    cache = _cache(settings)
    active = answering_model(cache)
    if model is None and active is None:
        raise ModelNotFoundError(cache.active_problem() or "No model is active")
    with downloading(model or "") as on_progress:
        found = resolve_cached(settings, model, on_progress) if model else active
    assert found is not None
    if found.id not in FOLDERS:
        found = cache.verify(found.id)
    listed = _listed(found, active.id if active else None)
    if as_json:
        print_json(listed)
        return
    rows = [(key, _text(value)) for key, value in listed.items() if key not in {"metrics", "tags"}]
    rows += [(f"metric {key}", f"{value:.4f}") for key, value in sorted(found.metrics.items())]
    rows += [(f"tag {key}", value) for key, value in sorted(found.tags.items())]
    print_table(["", found.id], rows)


@app.command("activate", epilog=_PAGE)
def activate_cli(
    model: Annotated[str, typer.Argument(help=f"Model: {NAMES}.")], as_json: JsonOption = False
) -> None:
    """Let a model answer from now on, after checking its files. Running servers follow.

    A registered model that is not in the cache is fetched. `base` is the one that comes with
    OpinionLens.

    Example: olens models activate reviews@champion
    """
    active = activate(_settings(), model)
    if as_json:
        print_json(_listed(active, active.id))
    else:
        say(f"{active.id} is active")


@app.command("remove", epilog=_PAGE)
def remove_cli(
    model: Annotated[str, typer.Argument(help="Model of the cache: its ID, NAME or NAME/3.")],
    as_json: JsonOption = False,
) -> None:
    """Delete a model from the cache; the active one cannot be deleted.

    Example: olens models remove reviews-v1
    """
    from pipelines.workflows.answering import remove_model
    from pipelines.workflows.open_model import find_cached

    cache = _cache(_settings())
    # An entry that is damaged can be removed too, by its ID.
    found = None if model in cache.damaged() else find_cached(cache, model)
    id_ = found.id if found else model
    remove_model(cache, id_)
    if as_json:
        print_json({"removed": id_})
    else:
        say(f"{id_} is removed")


def _settings() -> Settings:
    from pipelines.config.settings import load_settings

    return load_settings()


def _cache(settings: Settings) -> ModelCache:
    from pipelines.cache.model_cache import ModelCache

    return ModelCache(settings.paths.models)


def _listed(model: CachedModel, active_id: str | None) -> dict[str, object]:
    import msgspec

    return {**msgspec.structs.asdict(model), "active": model.id == active_id}


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _text(value: object) -> str:
    from datetime import datetime

    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _warn_of_problems(settings: Settings, problems: list[str]) -> None:
    from pipelines.workflows.answering import answering_model

    cache = _cache(settings)
    for id_, reason in cache.damaged().items():
        warn(f"{id_} cannot be used: {reason}. Fetch it again, or: olens models remove {id_}")
    if answering_model(cache) is None and (problem := cache.active_problem()):
        warn(problem)
    for problem in problems:
        warn(problem)
