"""The classes of a model: their names, their order, and which of them is the answer.

Classes are data. `BINARY`, negative and positive, are the two that ship. In declarations and data
files, a class has the name that its owner gave it; in answers, the three of `SENTIMENTS` are in
capitals.

Probabilities have one form everywhere: of two classes, shape (n,), the probability of the second
one; of K > 2 classes, shape (n, K). `Classes` knows what follows from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEGATIVE: Final = "NEGATIVE"
NEUTRAL: Final = "NEUTRAL"
POSITIVE: Final = "POSITIVE"

SENTIMENTS: Final = ("negative", "neutral", "positive")
"""Classes with an order of their own, as declarations and data files call them."""

POSITIVE_FROM: Final = 0.5
"""The probability of the second of two classes, `POSITIVE`, from which it is the answer."""

CLASSES_TAG: Final = "classes"
"""Tag of runs and models: a JSON list of the names of the classes."""

MOST_CLASSES: Final = 100
LONGEST_NAME: Final = 80
"""Characters of a class's name."""


class Classes(msgspec.Struct, frozen=True):
    """The classes of a model or a data set, in their order.

    Attributes
    ----------
    names : tuple of str
        As in answers.
    ordered : bool
        Whether the order means something: stars do, topics do not.
    """

    names: tuple[str, ...] = (NEGATIVE, POSITIVE)
    ordered: bool = True

    @classmethod
    def declared(cls, names: Iterable[str], ordered: bool | None = None) -> Classes:
        """The classes that declarations call `names`; by default, sentiments are ordered.

        Negative and positive alone are `BINARY` in any case.
        """
        names = tuple(names)
        if names == ("negative", "positive"):
            return BINARY
        sentiments = set(names) <= set(SENTIMENTS)
        return cls(tuple(map(answer_name, names)), sentiments if ordered is None else ordered)

    @property
    def two(self) -> bool:
        """Whether there are two, so that one probability says all."""
        return len(self.names) == 2

    @property
    def tags(self) -> dict[str, str]:
        """The classes as tags of runs and models; none for the two that ship."""
        if self == BINARY:
            return {}
        names = json.dumps(self.names, ensure_ascii=False)
        return {CLASSES_TAG: names, "ordered": str(self.ordered).lower()}

    def each(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability of each class, shape (n, n_classes)."""
        import numpy as np

        if probabilities.ndim == 1:
            return np.column_stack([1 - probabilities, probabilities])
        return probabilities

    def compact(self, each: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the probability of each class, shape (n, n_classes), to the form of this module."""
        return each[:, 1] if self.two else each

    def predicted(
        self, probabilities: NDArray[np.float64], threshold: float = POSITIVE_FROM
    ) -> NDArray[np.int8]:
        """The number of the likeliest class, shape (n,); of two, the second from `threshold`."""
        two = probabilities.ndim == 1
        numbers = probabilities >= threshold if two else probabilities.argmax(axis=1)
        found: NDArray[np.int8] = numbers.astype("int8")
        return found

    def side(self, name: str) -> int:
        """-1 in the lower half of an order, 1 in the upper one; 0 in the middle or without one."""
        if not self.ordered or name not in self.names:
            return 0
        twice = 2 * self.names.index(name) - (len(self.names) - 1)
        return (twice > 0) - (twice < 0)

    def answers(self, probabilities: NDArray[np.float64]) -> list[str]:
        """The names of the likeliest classes."""
        names = self.names
        return [names[number] for number in self.predicted(probabilities).tolist()]


BINARY: Final = Classes()


def answer_name(name: str) -> str:
    """What answers call the class that declarations call `name`."""
    return name.upper() if name in SENTIMENTS else name


def declared_name(name: str) -> str:
    """What declarations call a class: sentiments are in lower case."""
    return name.lower() if name.lower() in SENTIMENTS else name


def shown_name(name: str) -> str:
    """A class's name for people: sentiments are not in capitals."""
    return name.capitalize() if name.lower() in SENTIMENTS else name


def label_of(probability: float, names: Sequence[str] = BINARY.names) -> str:
    """The answer at a probability of the second of two classes."""
    return names[probability >= POSITIVE_FROM]


def merged(orders: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All names of several lists, in an order that agrees with each of them.

    Where the lists contradict each other, the order is that of first appearance. Sentiments are
    in their own order always.

    Examples
    --------
    >>> merged([["negative", "positive"], ["positive", "neutral", "negative"]])
    ('negative', 'neutral', 'positive')
    >>> merged([["1", "5"], ["1", "3", "5"]])
    ('1', '3', '5')
    """
    orders = [list(order) for order in orders]
    names = list(dict.fromkeys(name for order in orders for name in order))
    if set(names) <= set(SENTIMENTS):
        return tuple(name for name in SENTIMENTS if name in names)
    sorter = TopologicalSorter[str](dict.fromkeys(names, ()))
    for order in orders:
        for before, after in pairwise(order):
            sorter.add(after, before)
    try:
        return tuple(sorter.static_order())
    except CycleError:
        return tuple(names)


def check_names(names: Sequence[str]) -> None:
    """Refuse names that cannot be those of classes.

    Raises
    ------
    InputError
        If there are fewer than two or too many, one is blank, too long or not printable, or two
        are alike.
    """
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(f"there are {len(names)} classes; 2 to {MOST_CLASSES} are possible")
    for name in names:
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise InputError(f"{name[:LONGEST_NAME]!r} is no name for a class")
        if len(name) > LONGEST_NAME:
            raise InputError(f"{name[:LONGEST_NAME]!r}... is longer than {LONGEST_NAME} characters")
    if len({name.casefold() for name in names}) < len(names):
        raise InputError("two classes have the same name but for their letter case")
