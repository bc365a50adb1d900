"""OpinionLens: own your sentiment model.

>>> import opinionlens
>>> model = opinionlens.load("base")
>>> model.predict("Cold food, rude waiter").prediction
'NEGATIVE'
>>> model.predict(["I love it", "Cold food, rude waiter"])[0].confidence > 0.5
True

Importing it loads nothing heavy; `load` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, overload

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pipelines.inference.evidence import Evidence
    from pipelines.inference.rendering.explained import ExplainedText
    from pipelines.workflows.open_model import OpenedModel

__all__ = ["Model", "Verdict", "load"]


class Column(Protocol):
    """A Polars or pandas column, an Arrow array, a NumPy array of strings."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...


Texts: TypeAlias = "Iterable[str] | Column"
"""Many texts."""


class Verdict(str):
    """A label, such as ``NEGATIVE`` or ``POSITIVE``, that knows how sure the model is.

    It is a string, so that it compares and counts like a label.

    Attributes
    ----------
    confidence : float
        Probability of the label; of two labels, 0.5 to 1.
    known : float or None
        Share of the text's words that the model knows; None if that is not known.
    evidence : str or None
        ``none`` if the text is not enough to go by, ``weak`` or ``clear``.

    Examples
    --------
    >>> Verdict("POSITIVE", 0.9) == "POSITIVE"
    True
    >>> load("base").predict("asdf qwer").evidence
    'none'
    """

    confidence: float
    known: float | None
    evidence: Evidence | None

    __slots__ = ("confidence", "evidence", "known")

    def __new__(
        cls,
        prediction: str,
        confidence: float,
        known: float | None = None,
        evidence: Evidence | None = None,
    ) -> Self:
        self = super().__new__(cls, prediction)
        self.confidence = confidence
        self.known = known
        self.evidence = evidence
        return self

    @property
    def prediction(self) -> str:
        """The label as a plain string."""
        return str(self)

    def __getnewargs__(  # type: ignore[override]
        self,
    ) -> tuple[str, float, float | None, Evidence | None]:
        return str(self), self.confidence, self.known, self.evidence

    def __repr__(self) -> str:
        doubt = f", evidence={self.evidence!r}" if self.evidence in ("none", "weak") else ""
        return f"Verdict({str(self)!r}, confidence={self.confidence:.2f}{doubt})"


class Model:
    """A model that is ready to answer; `load` makes one. Safe to call from several threads.

    Attributes
    ----------
    id : str
        Its ID, such as ``base`` or ``reviews-v3``.
    classes : tuple of str
        The labels, in the order of the columns of `predict_proba`.

    Examples
    --------
    >>> model = load("base")
    >>> model.predict("I love it") == "POSITIVE"
    True
    >>> model.predict_proba(["I love it", "I hate it"]).shape
    (2, 2)
    """

    def __init__(self, opened: OpenedModel) -> None:
        self.id = opened.id
        self.classes = opened.scorer.classes.names
        self._scorer = opened.scorer

    @overload
    def predict(self, texts: str) -> Verdict: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, texts: Texts) -> list[Verdict]: ...
    def predict(self, texts: str | Texts) -> Verdict | list[Verdict]:
        """Judge one text, or many.

        Parameters
        ----------
        texts : str, or iterable of n str
            A list or tuple, a Polars or pandas column, an Arrow or NumPy array, a generator.

        Returns
        -------
        Verdict or list of n Verdict
            One for a single string.

        Raises
        ------
        pipelines.errors.InputError
            If something among `texts` is not a string, such as a missing value.
        """
        verdicts = [
            Verdict(judged.prediction, judged.confidence, judged.known, judged.evidence)
            for judged in self._scorer.judge(_sequence(texts))
        ]
        return verdicts[0] if isinstance(texts, str) else verdicts

    def predict_proba(self, texts: str | Texts) -> NDArray[np.float64]:
        """The calibrated probability of each class.

        Parameters
        ----------
        texts : str, or iterable of n str
            As for `predict`; a single string counts as one text.

        Returns
        -------
        array, shape (n, n_classes)
            Columns in the order of `classes`; each row adds up to 1.

        Raises
        ------
        pipelines.errors.InputError
            As `predict`.
        """
        return self._scorer.classes.each(self._scorer.predict(_sequence(texts))[1])

    def explain(self, text: str) -> ExplainedText:
        """Judge one text, and say what its words and sentences contribute.

        The result shows itself coloured in a notebook and in a terminal; `words`, `sentences` and
        `top_for` are some of its attributes.

        Raises
        ------
        pipelines.errors.InputError
            If `text` is not a single string.
        """
        from pipelines.errors import InputError
        from pipelines.inference.rendering.explained import ExplainedText

        if not isinstance(text, str):
            raise InputError(f"explain takes one text, got {type(text).__name__}")
        return ExplainedText.of(self._scorer.explain(text), text, self.id)

    def __repr__(self) -> str:
        return f"<opinionlens.Model {self.id}>"


def load(model: str | Path | None = None) -> Model:
    """Open a model.

    Parameters
    ----------
    model : str or Path, optional
        - None: the active model, or the base model if none is active.
        - ``"base"``: the model that comes with OpinionLens.
        - ``"reviews"``, ``"reviews@champion"``, ``"reviews/3"``: a registered model. It is fetched
          into the model cache if it is not there.
        - ``"latest"``, or an ID: a logged model.
        - A path: the folder of a logged model.

        Settings come from the project folder that the working directory is in, if it is in one,
        and from ``OLENS_*`` variables.

    Raises
    ------
    pipelines.errors.ModelNotFoundError
        If there is no such model, with similar names.
    pipelines.errors.OpinionLensError
        If the model or the settings cannot be used; the message says what to do.

    Examples
    --------
    >>> load("base")
    <opinionlens.Model base>
    """
    from pathlib import Path

    from pipelines.config.settings import load_settings
    from pipelines.workflows.open_model import open_model

    if isinstance(model, Path):
        model = str(model.absolute())
    return Model(open_model(load_settings(), model))


def _sequence(texts: str | Texts) -> Any:
    """`texts` as something that a scorer takes."""
    from pipelines.errors import InputError

    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes | dict) or not isinstance(texts, Iterable):
        raise InputError(f"expected a text or a list of texts, got {type(texts).__name__}")
    if hasattr(texts, "__len__") and not isinstance(texts, set | frozenset):
        return texts
    return list(texts)
