"""Options that training commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.training.subjects import Value

SubjectOption = Annotated[
    str | None,
    typer.Option(help="What to train; see `olens tune --help`. Default: conf/params.yaml."),
]
DatasetOption = Annotated[
    list[str] | None,
    typer.Option(help="Data set to train on; can be repeated. Default: all that are declared."),
]


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
