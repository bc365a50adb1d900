"""`olens predict`: verdicts on texts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from opinionlens_cli.console import JsonOption, err, out, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

ModelOption = Annotated[
    str | None,
    typer.Option(
        help="A cached model (NAME-vN), a logged one (m-..., a run ID), `latest` or `base`. "
        "Default: the active model, else the base model that comes with OpinionLens."
    ),
]


def predict_cli(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts; without any, each line of standard input is one."),
    ] = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether texts are positive or negative, and how sure the model is.

    Example: olens predict "The food was cold and the waiter rude"
    """
    from pipelines.inference.opening import open_model
    from pipelines.settings import load_settings

    texts = texts or _lines_of_stdin()
    opened = open_model(load_settings(), model)
    labels, probabilities = opened.scorer.predict(texts)
    if as_json:
        print_json(_verdicts(texts, labels, probabilities, opened.id))
        return
    for text, label, probability in zip(texts, labels, probabilities, strict=True):
        confidence = probability if label == "POSITIVE" else 1 - probability
        colour = "green" if label == "POSITIVE" else "red"
        shown = text if len(text) <= 60 else text[:59] + "…"
        out.print(f"[{colour}]{label}[/] {confidence:6.1%}  ", end="", highlight=False)
        out.print(shown.replace("\n", " "), markup=False, highlight=False, soft_wrap=True)
    err.print(f"model: {opened.title}", style="dim", highlight=False)


def _lines_of_stdin() -> list[str]:
    if sys.stdin.isatty():
        raise typer.BadParameter("give at least one text, or pipe some in", param_hint="TEXT")
    # Not splitlines: a form feed or U+2028 inside a text does not end its line.
    lines = sys.stdin.buffer.read().decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    return [line for line in lines if line.strip()]


def _verdicts(
    texts: Sequence[str], labels: Sequence[str], probabilities: NDArray[np.float64], model: str
) -> list[dict[str, object]]:
    return [
        {
            "text": text,
            "prediction": label,
            "confidence": max(probability, 1 - probability),
            "model": model,
        }
        for text, label, probability in zip(texts, labels, probabilities.tolist(), strict=True)
    ]
