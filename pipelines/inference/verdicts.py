"""The two answers of a model, and the probability from which it is the one or the other."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NEGATIVE: Final = "NEGATIVE"
POSITIVE: Final = "POSITIVE"


def labels_of(probabilities: NDArray[np.float64]) -> list[str]:
    """`POSITIVE` where the probability is above one half."""
    return [POSITIVE if probability > 0.5 else NEGATIVE for probability in probabilities.tolist()]
