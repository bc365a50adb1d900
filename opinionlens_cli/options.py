"""Options that several commands take, and what their values stand for."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_type_hints

import typer

from opinionlens_cli.console import downloading, warn
from pipelines.errors import InputError, RegistryAuthError
from pipelines.labels import BINARY, Classes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pipelines.cache.entries import CachedModel
    from pipelines.config.settings import Settings
    from pipelines.registry.connection import Credentials
    from pipelines.tables.labelled import LabelledTable
    from pipelines.training.subjects import Value
    from pipelines.workflows.open_model import OpenedModel

T = TypeVar("T")

# Written out: importing the list from pipelines.workflows would make `--help` slow.
NAMES: Final = "base, NAME, NAME@alias, NAME/3, latest, an ID or a path"
NEW_NAME: Final = "reviews"
"""Of a registered model, in the commands that are suggested."""

ModelOption = Annotated[
    str | None,
    typer.Option(help=f"Model: {NAMES}. Default: the active model, else base."),
]
# What a user may say about a file of rows.
TextColumnOption = Annotated[
    str | None, typer.Option(help="Column with the text, by name or number. Default: found.")
]
LabelColumnOption = Annotated[
    str | None, typer.Option(help="Column with the label, by name or number. Default: found.")
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        help="What the values of the labels mean: 'negative=1,2 positive=4,5'. "
        "Default: guessed from all of them."
    ),
]
DropOption = Annotated[
    str, typer.Option(help="Label values whose rows are left out, with commas between.")
]
EncodingOption = Annotated[
    str | None,
    typer.Option(help="Encoding of the file: windows-1252, utf-16, ... Default: found."),
]
SeparatorOption = Annotated[
    str | None, typer.Option(help="Separator of the columns: ';', tab, ... Default: found.")
]
HeaderOption = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first row names the columns. Default: found.",
        show_default=False,
    ),
]
SheetOption = Annotated[
    str | None, typer.Option(help="Sheet of an Excel file. Default: the first that is not blank.")
]
SubjectOption = Annotated[
    str | None,
    typer.Option(help="What to train; see `olens tune --help`. Default: conf/params.yaml."),
]
DatasetOption = Annotated[
    list[str] | None,
    typer.Option(help="Data set to train on; can be repeated. Default: all that are declared."),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        help=f"Linear model to start from: {NAMES}. Default: conf/params.yaml, else from scratch.",
    ),
]
RegisterOption = Annotated[
    str | None,
    typer.Option(help="Register the model under this name, and fetch it into the cache."),
]
NewAliasOption = Annotated[
    str | None, typer.Option(help="Alias that points to the new version, such as champion.")
]


class Engine(StrEnum):
    """What does the work."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    Engine, typer.Option(help="What does the work: this process, or a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: auto, HOST:PORT or, not for predict, ray://HOST:10001. Default: "
        "RAY_ADDRESS, else one of this machine alone."
    ),
]
UsernameOption = Annotated[
    str | None,
    typer.Option(help="Account for the registry.  (default: mlflow.registry_username)"),
]
PasswordStdinOption = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the account's password from standard input."),
]


def check_address(engine: Engine, address: str | None) -> None:
    """Raise a usage error if an address is given that nothing asks for."""
    if address is not None and engine is not Engine.ray:
        raise typer.BadParameter("goes with --engine ray", param_hint="--address")


def open_model(model: str | None) -> OpenedModel:
    """The model that `ModelOption` names; if only the registry has it, it is fetched with a bar."""
    from pipelines.config.settings import load_settings
    from pipelines.workflows import open_model as opening

    with downloading(model or "the model") as on_progress:
        return opening.open_model(load_settings(), model, on_progress)


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """What a user may say about a file of texts with labels; see `takes_labelled_file`."""

    text_column: TextColumnOption = None
    label_column: LabelColumnOption = None
    labels: LabelsOption = None
    drop: DropOption = ""
    encoding: EncodingOption = None
    separator: SeparatorOption = None
    header: HeaderOption = None
    sheet: SheetOption = None

    def open(self, data: Path, classes: Classes = BINARY) -> LabelledTable:
        """The file at `data`, with its labels understood, for a model of certain classes."""
        from pipelines.tables.labelled import LabelledTable
        from pipelines.tables.options import Options
        from pipelines.tables.reading import open_table

        options = Options(
            encoding=self.encoding, separator=self.separator, header=self.header, sheet=self.sheet
        )
        dropped = [value for value in self.drop.split(",") if value.strip()]
        table = open_table(data, options=options)
        return LabelledTable(
            table, self.text_column, self.label_column, self.labels, dropped, classes
        )


def takes_labelled_file(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `LabelledFile` in place of its keyword `file`."""
    hints = get_type_hints(LabelledFile, include_extras=True)
    options = [
        Parameter(
            each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )
        for each in fields(LabelledFile)
    ]

    @wraps(command)
    def with_options(**given: Any) -> None:
        file = LabelledFile(**{option.name: given.pop(option.name) for option in options})
        command(**given, file=file)

    plain = signature(command, eval_str=True)
    parameters = [
        parameter
        for name, each in plain.parameters.items()
        for parameter in (options if name == "file" else [each])
    ]
    # Typer asks for it.
    with_options.__signature__ = plain.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options


def activate(settings: Settings, model: str) -> CachedModel:
    """Let the model that one of `NAMES` names answer from now on; it is fetched if need be."""
    from pipelines.cache.model_cache import ModelCache
    from pipelines.workflows.answering import activate_model
    from pipelines.workflows.open_model import resolve_cached

    with downloading(model) as on_progress:
        found = resolve_cached(settings, model, on_progress)
    return activate_model(ModelCache(settings.paths.models), found.id)


def parse_parameters(given: Sequence[str]) -> dict[str, Value]:
    """``["C=0.5", "scheme=nb"]`` -> ``{"C": 0.5, "scheme": "nb"}``; values are read as YAML."""
    import yaml

    parsed: dict[str, Value] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{text!r}: write NAME=VALUE, for example C=0.5")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed[key.strip()] = value
    return parsed


def read_credentials(
    settings: Settings, username: str | None, password_stdin: bool
) -> Credentials | None:
    """The account that the options name; None leaves it to the settings.

    Raises
    ------
    InputError
        If half of it is missing and there is no terminal to ask on.
    """
    from pipelines.registry.connection import Credentials

    if username is None and not password_stdin:
        return None
    name = username or settings.mlflow.registry_username
    if not name:
        raise InputError("--password-stdin needs a name: --username NAME")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise InputError("--password-stdin: standard input holds no password")
        return Credentials(name, password)
    if sys.stdin.isatty():
        return Credentials(name, _ask_password())
    if not settings.mlflow.registry_password:
        raise InputError(f"There is no password for {name}: give it with --password-stdin")
    return Credentials(name, settings.mlflow.registry_password)


def with_account(
    call: Callable[[Credentials | None], T], settings: Settings, credentials: Credentials | None
) -> T:
    """Call with the account; if it is refused, ask for another one on the terminal, once."""
    from pipelines.registry.connection import Credentials

    try:
        return call(credentials)
    except RegistryAuthError as error:
        if not sys.stdin.isatty():
            raise
        warn(str(error))
    known = credentials.username if credentials else settings.mlflow.registry_username
    name = typer.prompt("User name", default=known or None, err=True)
    return call(Credentials(name, _ask_password()))


def _ask_password() -> str:
    return str(typer.prompt("Password", hide_input=True, err=True))
