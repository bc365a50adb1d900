"""`olens data doubts`: labels that are probably wrong, contradicted by a like text, or ambiguous.

Probabilities come from models that have not seen the text nor one that is nearly the same. Which
labels are probably wrong is decided by confident learning (Northcutt, Jiang and Chuang 2021,
"Confident Learning: Estimating Uncertainty in Dataset Labels"), with the package cleanlab.

Not good for a class of a few dozen texts, or where the same kind of text is labelled wrongly
throughout: the models then learn the mistake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.datasets.reading import open_source, read_batches
from pipelines.datasets.sources import find_source
from pipelines.errors import DataError, MissingExtraError
from pipelines.inference.adapting import LabelledTexts
from pipelines.labelling.candidates import Candidate
from pipelines.labelling.near_duplicates import near_duplicate_groups
from pipelines.labels import BINARY, Classes
from pipelines.text.normalise import normalise_column
from pipelines.text.vectorizer import HashedNgramVectorizer
from pipelines.training.adaptation import adapt
from pipelines.training.features import Labelled
from pipelines.training.fitting import fit_classifier
from pipelines.training.subjects import get_subject

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from pipelines.config.params import Params
    from pipelines.config.settings import Settings
    from pipelines.inference.linear_scorer import LinearScorer
    from pipelines.tables.labelled import LabelledTable

SUBJECT: Final = "nbsvm"
PARAMETERS: Final = {"C": 1.0}
"""Less than in training: wrong labels must not be learnt. On five sources of the corpus with 5 % of
labels flipped, precision at their number is 56 %, with the usual C of 12 it is 52 %. Of more than
two classes, the usual C of 0.3 is as good: airline 55 and 55 %, Amazon's stars 57 and 57 %."""
FOLDS: Final = 5
LEAST_TEXTS: Final = 10
"""Of a class; rarer classes are left out."""
AMBIGUOUS: Final = 0.1
"""A text is ambiguous if its two likeliest classes are nearer than this."""
_SEED: Final = 42

OnStage = Callable[[str], None]


class LabelledRows(msgspec.Struct, frozen=True):
    """Rows of a file or a data set.

    Attributes
    ----------
    name : str
    rows : pl.DataFrame
        ``line`` (Int64), ``text`` (String), ``label`` (Int8, the number of the class).
    classes : Classes
    unit : str
        What ``line`` counts: lines or rows.
    messages : list of str
        How the file was understood.
    """

    name: str
    rows: pl.DataFrame
    classes: Classes
    unit: str
    messages: list[str]


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """A text whose label is in doubt."""

    line: int
    """The first one with this text and label; in Parquet and Excel the row."""
    text: str
    label: str
    suggestion: str
    """The likeliest other class."""
    probability: float
    """Of the label, by a model that has not seen the text."""
    reason: str


class Doubts(msgspec.Struct, frozen=True, kw_only=True):
    """What `find_doubts` found, the most doubtful first."""

    name: str
    texts: int
    """Distinct texts that were looked at."""
    wrong: int
    contradicted: int
    ambiguous: int
    doubts: list[Doubt]
    messages: list[str]

    def candidates(self) -> list[Candidate]:
        """The doubts for the labelling page."""
        return [
            Candidate(
                text=each.text,
                label=each.label,
                suggestion=each.suggestion,
                reason=each.reason,
                source=f"{self.name}:{each.line}",
            )
            for each in self.doubts
        ]


class Texts(msgspec.Struct, frozen=True):
    """Distinct texts; the models' view of them.

    Attributes
    ----------
    frame : pl.DataFrame of n rows
        ``text`` (as first written), ``normalised``, ``label`` (the commonest), ``line``, and
        ``other_labels`` (numbers of the classes of `LabelledRows`) with ``other_lines``.
    counts : csr_matrix, shape (n, m)
    groups : int array, shape (n,)
        Texts that are nearly the same have the same number.
    classes : Classes
    """

    frame: pl.DataFrame
    counts: csr_matrix
    groups: NDArray[np.intp]
    classes: Classes

    @property
    def labels(self) -> NDArray[np.int8]:
        """Numbers of `classes`, shape (n,)."""
        return self.frame["label"].to_numpy()


def dataset_rows(settings: Settings, params: Params, name: str) -> LabelledRows:
    """The rows of a declared data set, from its raw file.

    Raises
    ------
    DataError
        If there is no such data set, or its file cannot be read.
    """
    source = find_source(settings, params, name)
    table = open_source(source)
    rows = _concatenated(read_batches(source, table))
    messages = [table.describe(), *table.messages()]
    return LabelledRows(name, rows, params.classes([name]), table.unit, messages)


def file_rows(labelled: LabelledTable) -> LabelledRows:
    """The rows of a labelled file; errors are those of `LabelledTable.batches`."""
    rows = _concatenated(labelled.batches())
    table = labelled.table
    messages = [*labelled.messages(), *table.messages()]
    return LabelledRows(table.name, rows, labelled.map.classes, table.unit, messages)


def find_doubts(
    data: LabelledRows,
    start: LinearScorer | None = None,
    on_stage: OnStage = lambda stage: None,
) -> Doubts:
    """Find the labels that a person should look at.

    Parameters
    ----------
    data : LabelledRows
    start : LinearScorer, optional
        For negative and positive, a model that the models of the folds start from: it must not
        have learnt these labels. None: they learn from scratch.
    on_stage : callable, optional
        Told what is being done now.

    Raises
    ------
    DataError
        If fewer than two classes have `LEAST_TEXTS`.
    MissingExtraError
        If cleanlab is not installed.
    """
    on_stage("reading texts")
    found, messages = distinct_texts(data)
    on_stage("learning")
    probabilities = held_out_probabilities(found, start)
    on_stage("looking for doubts")
    labels = found.labels
    own = probabilities[np.arange(labels.size), labels]
    wrong = probably_wrong(labels, probabilities)
    contradictions = _contradictions(data, found)
    contradicted = np.isin(np.arange(labels.size), list(contradictions))
    highest = np.sort(probabilities, axis=1)
    ambiguous = (highest[:, -1] - highest[:, -2] < AMBIGUOUS) & ~wrong & ~contradicted
    chosen = np.flatnonzero(wrong | contradicted | ambiguous)
    others = probabilities.copy()
    others[np.arange(labels.size), labels] = -1
    names, rows = found.classes.names, found.frame.rows(named=True)

    def reason(row: int) -> str:
        said = ["probably wrong"] if wrong[row] else []
        said += [contradictions[row]] if row in contradictions else []
        return "; ".join(said) or "ambiguous"

    return Doubts(
        name=data.name,
        texts=labels.size,
        wrong=int(wrong.sum()),
        contradicted=int(contradicted.sum()),
        ambiguous=int(ambiguous.sum()),
        doubts=[
            Doubt(
                line=rows[row]["line"],
                text=rows[row]["text"],
                label=names[labels[row]],
                suggestion=names[others[row].argmax()],
                probability=float(own[row]),
                reason=reason(row),
            )
            for row in chosen[np.argsort(own[chosen], kind="stable")].tolist()
        ],
        messages=[*data.messages, *messages],
    )


def distinct_texts(data: LabelledRows) -> tuple[Texts, list[str]]:
    """Each text once with its commonest label, and messages about what was left out.

    Raises
    ------
    DataError
        If fewer than two classes have `LEAST_TEXTS`.
    """
    frame = _by_text(data.rows)
    counts = _without_empty_columns(HashedNgramVectorizer().transform(frame["normalised"]))
    groups = near_duplicate_groups(counts, _SEED)
    names = data.classes.names
    of_class = [np.unique(groups[frame["label"].to_numpy() == i]).size for i in range(len(names))]
    kept = [i for i, size in enumerate(of_class) if size >= LEAST_TEXTS]
    if len(kept) < 2:
        listed = ", ".join(f"{size:,} {name}" for name, size in zip(names, of_class, strict=True))
        raise DataError(
            f"{data.name} has too few different texts to judge its labels ({listed}): two classes "
            f"need {LEAST_TEXTS} or more each."
        )
    messages = [
        f"Left out: {size:,} texts of {names[i]}, which are too few."
        for i, size in enumerate(of_class)
        if size and i not in kept
    ]
    rows = np.isin(frame["label"].to_numpy(), kept)
    codes = {old: new for new, old in enumerate(kept)}
    frame = frame.filter(rows).with_columns(
        pl.col("label").replace_strict(codes, return_dtype=pl.Int8)
    )
    classes = _classes([names[i] for i in kept], data.classes)
    return Texts(frame, counts[rows], groups[rows], classes), messages


def held_out_probabilities(data: Texts, start: LinearScorer | None) -> NDArray[np.float64]:
    """The probability of each class by models that have not seen a text, shape (n, n_classes).

    Texts that are nearly the same are held out together.
    """
    found = np.empty((data.labels.size, len(data.classes.names)))
    predict = _started(data, start) if start and data.classes == BINARY else _from_scratch(data)
    folds = _folds(data)
    for fold in range(FOLDS):
        held_out = np.flatnonzero(folds == fold)
        found[held_out] = predict(np.flatnonzero(folds != fold), held_out)
    return found


def probably_wrong(
    labels: NDArray[np.int8], probabilities: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether each label is probably wrong, by confident learning, shape (n,).

    Raises
    ------
    MissingExtraError
        If cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingExtraError("cleanlab", "train") from None
    # In one process: a fork of a process with compiled threads may hang.
    found = find_label_issues(labels.astype(np.int64), probabilities, n_jobs=1)
    return np.asarray(found, dtype=np.bool_)


_Predict = Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]
"""``predict(seen, held_out)``: probabilities, shape (n_held_out, n_classes)."""


def _from_scratch(data: Texts) -> _Predict:
    subject = get_subject(SUBJECT)
    parameters = subject.parameters(PARAMETERS)
    labels = data.labels

    def predict(seen: NDArray[np.intp], held_out: NDArray[np.intp]) -> NDArray[np.float64]:
        rows = Labelled(data.counts[seen], labels[seen], data.classes)
        classifier = fit_classifier(subject, parameters, _SEED, rows, calibrated=True)
        found: NDArray[np.float64] = classifier.predict_proba(data.counts[held_out])
        return found

    return predict


def _started(data: Texts, start: LinearScorer) -> _Predict:
    rows = LabelledTexts(start, data.frame["normalised"], data.labels == 1).rows

    def predict(seen: NDArray[np.intp], held_out: NDArray[np.intp]) -> NDArray[np.float64]:
        positive = adapt(rows[seen], _SEED).probabilities(rows[held_out])
        return BINARY.each(positive)

    return predict


def _folds(data: Texts) -> NDArray[np.intp]:
    """The fold of each text; groups stay together, and classes are spread evenly."""
    _, first, inverse = np.unique(data.groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(_SEED).permutation(first.size)
    by_class = shuffled[np.argsort(data.labels[first[shuffled]], kind="stable")]
    folds = np.empty(first.size, dtype=np.intp)
    folds[by_class] = np.arange(first.size) % FOLDS
    return folds[inverse]


def _concatenated(batches: Iterable[pl.DataFrame]) -> pl.DataFrame:
    rows = [batch.select("line", "text", "label").drop_nulls() for batch in batches]
    return pl.concat(rows)


def _by_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Each text once, as `Texts` has them; of labels that are as frequent, the first one counts."""
    normalised, _ = normalise_column(rows["text"])
    written = rows.with_columns(normalised=normalised).filter(pl.col("normalised") != "")
    return (
        written.group_by("normalised", "label", maintain_order=True)
        .agg(pl.col("text").first(), pl.col("line").first(), n=pl.len())
        .sort("n", descending=True, maintain_order=True)
        .group_by("normalised", maintain_order=True)
        .agg(
            pl.col("text", "label", "line").first(),
            other_labels=pl.col("label").slice(1),
            other_lines=pl.col("line").slice(1),
        )
        .sort("line")
    )


def _without_empty_columns(counts: csr_matrix) -> csr_matrix:
    """The n-grams that occur: a few texts have few, and every fold would look at all buckets."""
    occurs = np.zeros(counts.shape[1], dtype=bool)
    occurs[counts.indices] = True
    numbers = np.cumsum(occurs, dtype=np.int32) - 1
    shape = (counts.shape[0], int(occurs.sum()))
    return type(counts)((counts.data, numbers[counts.indices], counts.indptr), shape=shape)


def _contradictions(data: LabelledRows, found: Texts) -> dict[int, str]:
    """Why labels are contradicted by other rows, by the numbers of their texts."""
    return _by_like_texts(data, found) | _by_same_text(data, found)


def _by_same_text(data: LabelledRows, found: Texts) -> dict[int, str]:
    columns = found.frame.with_row_index().filter(pl.col("other_labels").list.len() > 0)
    return {
        row: "; ".join(
            f"the same text is {data.classes.names[label]} in {data.unit} {line}"
            for label, line in zip(labels, lines, strict=True)
        )
        for row, labels, lines in columns.select("index", "other_labels", "other_lines").iter_rows()
    }


def _by_like_texts(data: LabelledRows, found: Texts) -> dict[int, str]:
    """Of texts that are nearly the same, those whose label is not the commonest one."""
    reasons = {}
    lines = found.frame["line"]
    labels = found.labels
    for rows in _groups_of_several(found.groups):
        frequency = Counter(labels[rows].tolist()).most_common()
        if len(frequency) == 1:
            continue
        commonest = {label for label, n in frequency if n == frequency[0][1]}
        for row in rows.tolist():
            other = next(
                (r for r in rows if labels[r] != labels[row] and labels[r] in commonest), None
            )
            if other is not None:
                name = found.classes.names[labels[other]]
                reasons[row] = f"nearly the same text is {name} in {data.unit} {lines[int(other)]}"
    return reasons


def _groups_of_several(groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """The numbers of the texts of each group of two or more."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return [part for part in parts if part.size > 1]


def _classes(names: Sequence[str], of: Classes) -> Classes:
    """Some of the classes `of`."""
    return BINARY if tuple(names) == BINARY.names else Classes(tuple(names), of.ordered)
