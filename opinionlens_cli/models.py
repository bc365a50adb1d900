"""`olens models`: what is in the cache, and which model answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, err, out, print_json, print_table, warn

if TYPE_CHECKING:
    from pipelines.registry.cache import ModelCache
    from pipelines.registry.entries import CachedModel

app = typer.Typer(help="List, activate and remove the models of the cache.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `olens models list` shows it.")]


@app.command("list")
def list_cli(as_json: JsonOption = False) -> None:
    """List the models that were fetched.

    Example: olens models list --json
    """
    cache = _cache()
    models, active = cache.list(), cache.active()
    active_id = active.id if active else None
    if as_json:
        print_json([_listed(model, active_id) for model in models])
    elif models:
        print_table(
            ["active", "ID", "aliases", "accuracy", "MB", "fetched"],
            [
                (
                    "*" if model.id == active_id else "",
                    model.id,
                    ", ".join(model.aliases),
                    model.metrics.get("accuracy"),
                    f"{model.size / 1e6:.1f}",
                    f"{model.fetched.astimezone():%Y-%m-%d %H:%M}",
                )
                for model in models
            ],
        )
    else:
        err.print(f"{cache.folder} holds no model. Fetch one: olens fetch NAME", markup=False)
    _warn_of_problems(cache)


@app.command("show")
def show_cli(
    id: Annotated[  # noqa: A002
        str | None, typer.Argument(metavar="[ID]", help="Default: the model that answers.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is known about a model, after checking its files.

    Example: olens models show reviews-v1
    """
    from pipelines.errors import ModelNotFoundError
    from pipelines.inference.base import BASE, answering_model, base_model

    cache = _cache()
    active = answering_model(cache)
    if id is None and active is None:
        raise ModelNotFoundError(cache.active_problem() or "No model is active")
    id = id or (active.id if active else "")  # noqa: A001
    model = base_model() if id == BASE else cache.verify(id)
    listed = _listed(model, active.id if active else None)
    if as_json:
        print_json(listed)
        return
    rows = [(key, _text(value)) for key, value in listed.items() if key not in {"metrics", "tags"}]
    rows += [(f"metric {key}", f"{value:.4f}") for key, value in sorted(model.metrics.items())]
    rows += [(f"tag {key}", value) for key, value in sorted(model.tags.items())]
    print_table(["", model.id], rows)


@app.command("activate")
def activate_cli(id: IdArgument, as_json: JsonOption = False) -> None:  # noqa: A002
    """Let a model answer from now on, after checking its files. Running servers follow.

    `base` is the one that comes with OpinionLens.

    Example: olens models activate reviews-v1
    """
    from pipelines.inference.base import activate_model

    model = activate_model(_cache(), id)
    if as_json:
        print_json(_listed(model, model.id))
    else:
        out.print(f"{model.id} is active")


@app.command("remove")
def remove_cli(id: IdArgument, as_json: JsonOption = False) -> None:  # noqa: A002
    """Delete a model from the cache; the active one cannot be deleted.

    Example: olens models remove reviews-v1
    """
    from pipelines.inference.base import remove_model

    remove_model(_cache(), id)
    if as_json:
        print_json({"removed": id})
    else:
        out.print(f"{id} is removed")


def _cache() -> ModelCache:
    from pipelines.registry.cache import ModelCache
    from pipelines.settings import load_settings

    return ModelCache(load_settings().paths.models)


def _listed(model: CachedModel, active_id: str | None) -> dict[str, object]:
    import msgspec

    return {**msgspec.structs.asdict(model), "active": model.id == active_id}


def _text(value: object) -> str:
    from datetime import datetime

    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _warn_of_problems(cache: ModelCache) -> None:
    for id_, reason in cache.damaged().items():
        warn(f"{id_} cannot be used: {reason}. Fetch it again, or: olens models remove {id_}")
    problem = cache.active_problem()
    if problem and cache.active_stamp() is not None:
        warn(problem)
