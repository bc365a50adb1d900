"""Coverage-guided fuzzing of the byte kernels: `make fuzz` (SECONDS=600 by default).

Numba's compiler is switched off, so that the kernels run as Python: atheris sees their branches and
NumPy checks every index. Guarded arrays also refuse the negative ones, which NumPy would allow.
"""

from __future__ import annotations

import os
import sys

os.environ["NUMBA_DISABLE_JIT"] = "1"

import atheris
import numpy as np

with atheris.instrument_imports(include=["pipelines"]):
    from pipelines.inference import evidence
    from pipelines.text import character_ngrams, characters, composing, ngrams, normalise, tokens

np.seterr(over="ignore")  # hashes wrap around on purpose
TABLES = characters.character_tables()
NO_MAP = np.empty(0, dtype=np.int64)


class Guarded(np.ndarray):
    """An array that a negative index does not reach the end of."""

    def __getitem__(self, key: object) -> object:
        refuse_negative(key)
        return super().__getitem__(key)

    def __setitem__(self, key: object, value: object) -> None:
        refuse_negative(key)
        super().__setitem__(key, value)


def refuse_negative(key: object) -> None:
    numbers = (key.start, key.stop) if isinstance(key, slice) else (key,)
    if any(number is not None and number < 0 for number in numbers):
        raise IndexError(f"negative index {key}")


def guarded(size: int, dtype: type) -> np.ndarray:
    """Zeros of just the size that the kernels ask for."""
    return np.zeros(size, dtype=dtype).view(Guarded)


def one_input(data: bytes) -> None:
    """Normalise, tokenise and hash `data` in buffers without a spare byte; check what comes out."""
    size = len(data)
    room = composing.GROWTH * size
    text = guarded(room, np.uint8)
    text[:size] = np.frombuffer(data, dtype=np.uint8)
    first, last = guarded(room, np.int64), guarded(room, np.int64)
    first[:size], last[:size] = np.arange(size), np.arange(size) + 1
    end = normalise.normalise_bytes(text, size, first, last)
    assert 0 <= end <= room
    assert all(0 <= first[i] < last[i] <= size for i in range(end))
    once = text[:end].tobytes()
    assert normalise.normalise_bytes(text, end, NO_MAP, NO_MAP) == end
    assert text[:end].tobytes() == once, "normalising twice changes something"

    at = 0
    while at < end:
        _, start, stop = tokens.next_token(text, at, end, *TABLES)
        assert at <= start <= stop <= end
        assert stop > at, "no progress"
        at = stop

    source, buffer = guarded(size, np.uint8), guarded(room, np.uint8)
    source[:size] = np.frombuffer(data, dtype=np.uint8)
    hashes = guarded(size + 1, np.uint64)
    n, length = ngrams.tokenise(source, 0, size, buffer, hashes, *TABLES)
    assert n <= size
    assert length <= room
    weights = guarded(4096, np.float32) + 1
    words, known = evidence.count_words(buffer, length, hashes, n, 12, weights, 0.5)
    assert known == words <= n
    most = ngrams.most_entries(n, length, 3, 5)
    buckets, counts = guarded(most, np.int32), guarded(most, np.float32)
    table = ngrams.cleared_table(np.empty(0, dtype=np.int32), most)
    used = ngrams.fold_ngrams(hashes, n, 3, 12, 0, table, buckets, counts)
    assert used <= most
    assert 0 <= counts[:used].sum() - sum(max(0, n - k) for k in range(3)) <= n
    found, owners = character_ngrams.hash_spellings(buffer, length, n, 5, *TABLES)
    assert all(0 <= owner < n for owner in owners)
    before = counts[:used].sum()
    used = ngrams.fold_spellings(found, 12, table, buckets, counts, used)
    assert used <= most
    assert counts[:used].sum() - before == found.size
    assert used == 0 or (buckets[:used].min() >= 0 and buckets[:used].max() < 4096)


if __name__ == "__main__":
    seconds = os.environ.get("SECONDS", "600")
    options = [f"-max_total_time={seconds}", "-max_len=200", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:]], one_input)
    atheris.Fuzz()
