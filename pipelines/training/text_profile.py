"""What the texts of a model look like to it, as histograms, and how far other texts are from that.

A profile is made when a model is made, of texts like those it was trained on that it has not seen:
to the texts themselves it would give surer answers than to any other. The texts of a service are
counted in the same bins and compared by the population stability index. Neither holds any text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.files import read_small_file

PROFILE_FILE: Final = "text_profile.json"
"""Name of the profile in the folder of its model."""

DRIFT: Final = 0.2
"""Population stability index from which on texts count as different (Siddiqi 2006: 0.1 is a small
change, 0.25 a large one)."""

FEATURES: Final = {
    "words": "length in words",
    "known": "share of known words",
    "evidence": "evidence",
    "probability": "probability",
    "prediction": "verdicts",
}
"""What is counted, and what people call it."""

MOST_TEXTS: Final = 5_000
"""Texts of a data set that a profile is made of."""

_BINS: Final = 10
_TEXTS_OF_A_BIN: Final = 20
_LARGEST: Final = 1_000_000
"""Bytes of a profile."""
_Z: Final = 3.719
"""Of the normal distribution, the value that one in 10,000 exceeds."""

Columns = Mapping[str, NDArray[np.float64]]
"""Numbers that are known about n texts, each of shape (n,), by feature."""

Counts = dict[str, NDArray[np.int64]]
"""How many texts are in each bin, by feature."""

Bins = list[Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How far texts are from those of a profile.

    Attributes
    ----------
    texts : int
        Number of texts that were compared.
    nearest : str
        The data set whose texts are most like them; empty: all of them together.
    psi : dict of float
        Population stability index by feature; 0 if the texts are alike.
    limits : dict of float
        Above these, the texts are different: `DRIFT`, or more where that could be chance.
    """

    texts: int
    nearest: str
    psi: dict[str, float]
    limits: dict[str, float]

    @property
    def features(self) -> list[str]:
        """The features in which the texts are different, the most different one first."""
        over = [name for name, value in self.psi.items() if value > self.limits[name]]
        return sorted(over, key=lambda name: -self.psi[name])


class TextProfile(msgspec.Struct, frozen=True):
    """Histograms of texts.

    Attributes
    ----------
    edges : dict of list of float
        By feature, ascending; a bin reaches from one (included) to the next.
    counts : dict of dict of list of int
        By data set and feature, how many texts are in each bin.
    """

    edges: dict[str, list[float]]
    counts: dict[str, dict[str, Bins]]

    def __post_init__(self) -> None:
        if not (self.counts and self.edges) or not self.edges.keys() <= FEATURES.keys():
            raise ValueError("there is nothing that could be compared")
        for edges in self.edges.values():
            if not all(map(math.isfinite, edges)) or sorted(set(edges)) != edges:
                raise ValueError("the edges of bins do not ascend")
        sizes = {name: len(edges) + 1 for name, edges in self.edges.items()}
        for counts in self.counts.values():
            if {name: len(bins) for name, bins in counts.items()} != sizes:
                raise ValueError("the bins do not fit their edges")

    @classmethod
    def of(cls, datasets: Mapping[str, Columns], edges: Mapping[str, list[float]]) -> Self:
        """The profile of the texts of one or more data sets.

        Parameters
        ----------
        datasets : mapping of str to Columns
        edges : mapping of str to list of float
            The edges of some features. Those of the others are quantiles, so that each bin holds
            about as many texts: ten bins, or fewer of few texts.
        """
        names = list(next(iter(datasets.values())))
        quantiles = {
            name: _quantiles(np.concatenate([columns[name] for columns in datasets.values()]))
            for name in names
            if name not in edges
        }
        edges = {name: list(edges.get(name) or quantiles[name]) for name in names}
        return cls(
            edges,
            {
                dataset: {name: _count(edges[name], columns[name]).tolist() for name in names}
                for dataset, columns in datasets.items()
            },
        )

    def only(self, features: Sequence[str]) -> TextProfile:
        """The profile without the other features."""
        return TextProfile(
            {name: self.edges[name] for name in features},
            {part: {name: each[name] for name in features} for part, each in self.counts.items()},
        )

    def count(self, columns: Columns) -> Counts:
        """How many texts are in each bin."""
        return {name: _count(edges, columns[name]) for name, edges in self.edges.items()}

    def compare(self, counts: Counts) -> Drift:
        """How far the counted texts are from those of the profile.

        A service may get texts of one of the data sets only. So they are compared with all
        together and with each alone, and the nearest counts.
        """
        found = [
            _compare(name, {key: np.array(bins) for key, bins in each.items()}, counts)
            for name, each in {"": self._together(), **self.counts}.items()
        ]
        return min(found, key=_distance)

    def _together(self) -> Mapping[str, NDArray[np.int64] | Bins]:
        return {
            name: np.sum([each[name] for each in self.counts.values()], axis=0)
            for name in self.edges
        }


def read_profile(folder: Path) -> TextProfile | None:
    """The profile of the model in `folder`; None if it has none, or one that cannot be used."""
    try:
        encoded = read_small_file(folder / PROFILE_FILE, _LARGEST)
        return msgspec.json.decode(encoded, type=TextProfile)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def write_profile(profile: TextProfile, folder: Path) -> None:
    """Write the file that `read_profile` reads."""
    (folder / PROFILE_FILE).write_bytes(msgspec.json.encode(profile) + b"\n")


def population_stability_index(expected: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    r"""How different two histograms are, 0 if they are alike.

    With :math:`e_b` and :math:`f_b` the shares of bin :math:`b`,

    .. math:: PSI = \sum_b (f_b - e_b) \ln \frac{f_b}{e_b}

    Half a text is added to every bin, so that none is empty.

    References
    ----------
    Siddiqi (2006): Credit Risk Scorecards. Wiley.
    """
    e, f = ((counts + 0.5) / (counts + 0.5).sum() for counts in (expected, found))
    return float(((f - e) * np.log(f / e)).sum())


def chance_limit(bins: int, expected: int, found: int) -> float:
    """What the population stability index exceeds by chance once in 10,000 times.

    For `expected` and `found` texts of the same kind it is about chi-squared with ``bins - 1``
    degrees of freedom times ``1 / expected + 1 / found``.

    References
    ----------
    Yurdakul and Naranjo (2020): Statistical properties of the population stability index. Journal
    of Risk Model Validation 14. The quantile: Wilson and Hilferty (1931).
    """
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _Z * math.sqrt(spread)) ** 3
    return quantile * (1 / max(expected, 1) + 1 / max(found, 1))


def _compare(nearest: str, expected: Counts, found: Counts) -> Drift:
    psi, limits, texts = {}, {}, 0
    for name, bins in expected.items():
        texts = int(found[name].sum())
        psi[name] = population_stability_index(bins, found[name])
        limits[name] = max(DRIFT, chance_limit(bins.size, int(bins.sum()), texts))
    return Drift(texts=texts, nearest=nearest, psi=psi, limits=limits)


def _distance(drift: Drift) -> float:
    return max(value / drift.limits[name] for name, value in drift.psi.items())


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    bins = int(np.clip(values.size // _TEXTS_OF_A_BIN, 2, _BINS))
    shares = np.arange(1, bins) / bins
    edges: list[float] = np.unique(np.quantile(values, shares, method="higher")).tolist()
    return edges


def _count(edges: list[float], values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
