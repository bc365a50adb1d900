"""The rivals: fastText, scikit-learn's TF-IDF with LinearSVC, VADER, and pandas with `re`."""

from __future__ import annotations

import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.measuring import THREADS

if TYPE_CHECKING:
    from fasttext.FastText import _FastText
    from sklearn.pipeline import Pipeline

_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>|<![^<>]*>")
_WHITE: Final = re.compile(r"\s+")
_NO_WIDTH: Final = re.compile("[\u00ad\u180e\u200b\u2060\ufeff]")
_MARK: Final = re.compile(r"([.!?,'/()])")


def fasttext_lines(texts: Sequence[str]) -> list[str]:
    """Texts as fastText's tutorial prepares them: lower case, punctuation apart, one line each."""
    return [" ".join(_MARK.sub(r" \1 ", _TAG.sub(" ", text)).lower().split()) for text in texts]


def write_fasttext_file(path: Path, lines: Sequence[str], labels: NDArray[np.int8]) -> None:
    """Write fastText's training file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(
            f"__label__{label} {line}\n" for label, line in zip(labels, lines, strict=True)
        )


def train_fasttext(
    path: Path, ngrams: int = 3, epochs: int = 10, rate: float = 0.5, longest: int = 0
) -> _FastText:
    """Train fastText on a training file.

    `longest` is that of character n-grams, from three on; 0: none. The default learning rate is the
    better one, on IMDB, of fastText's own default, 0.1, and that of its tutorial.
    """
    import fasttext

    return fasttext.train_supervised(
        str(path),
        wordNgrams=ngrams,
        dim=50,
        epoch=epochs,
        lr=rate,
        minn=3 if longest else 0,
        maxn=longest,
        thread=THREADS,
        verbose=0,
    )


def fasttext_probabilities(model: _FastText, lines: list[str]) -> NDArray[np.float64]:
    """Probabilities of the positive class, shape (n,)."""
    labels, shares = model.predict(lines)
    return np.array(
        [
            share[0] if label[0] == "__label__1" else 1 - share[0]
            for label, share in zip(labels, shares, strict=True)
        ]
    )


def sklearn_pipeline(min_df: int) -> Pipeline:
    """TF-IDF of words, pairs and triples that stand in `min_df` texts or more, and LinearSVC."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    vectorizer = TfidfVectorizer(ngram_range=(1, 3), min_df=min_df, sublinear_tf=True)
    return make_pipeline(vectorizer, LinearSVC())


def sklearn_classifier(name: str, C: float, class_weight: str | None, characters: bool) -> Pipeline:
    """TF-IDF of words and pairs, and LogisticRegression or LinearSVC, for any number of classes.

    With `characters`, beside it TF-IDF of two to five characters inside words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    if characters:
        spellings = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True
        )
        features = make_union(features, spellings)
    if name == "LogisticRegression":
        last = LogisticRegression(C=C, class_weight=class_weight, max_iter=300)
    else:
        last = LinearSVC(C=C, class_weight=class_weight)
    return make_pipeline(features, last)


def vader_positive(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts VADER finds positive, shape (n,)."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    return np.array([analyzer.polarity_scores(text)["compound"] > 0 for text in texts])


def preprocess_with_pandas(path: Path, folder: Path, seed: int, held_out: float) -> None:
    """What `olens preprocess imdb` does, as one would write it with pandas and `re`.

    Normalise, leave out blank rows, keep each text once with the label of its majority, split by
    a hash of the text and the seed, write Parquet files and a report.
    """
    import pandas as pd

    raw = pd.read_csv(path, dtype=str, usecols=["review", "sentiment"])
    codes = {"negative": 0, "positive": 1}
    label = raw["sentiment"].str.strip().str.lower().map(codes)
    rows = pd.DataFrame({"text": raw["review"].fillna("").map(_normalise), "label": label})
    rows = rows[rows["label"].notna() & (rows["text"] != "")]
    means = rows.groupby("text", sort=False)["label"].mean().reset_index()
    kept = means[means["label"] != 0.5].copy()
    kept["label"] = (kept["label"] > 0.5).astype("int8")
    kept["digest"] = kept["text"].map(_digest).astype("uint64")
    kept = kept.sort_values("digest")
    position = kept["digest"].map(lambda digest: _place(digest, seed))
    parts = {
        "test": kept[position < held_out],
        "val": kept[(position >= held_out) & (position < 2 * held_out)],
        "train": kept[position >= 2 * held_out],
    }
    for name, part in parts.items():
        part.to_parquet(folder / f"{name}.parquet", index=False)
    report = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": len(raw),
        "kept": len(kept),
        "splits": {name: part["label"].value_counts().to_dict() for name, part in parts.items()},
    }
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


def _normalise(text: str) -> str:
    """Tags and entities until none is left, as many layers deep as ours; then white space."""
    for _ in range(4):
        changed = html.unescape(_TAG.sub(" ", text))
        if changed == text:
            break
        text = changed
    return unicodedata.normalize("NFC", _WHITE.sub(" ", _NO_WIDTH.sub("", text)).strip())


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _place(digest: int, seed: int) -> float:
    """A number in [0, 1) that depends on text and seed."""
    mixed = hashlib.blake2b(f"{seed} {digest}".encode(), digest_size=8).digest()
    return int.from_bytes(mixed, "little") / 2**64
