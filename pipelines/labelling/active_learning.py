"""Active learning: labels in, the next text to label out.

One text in five is drawn at random, and no model ever learns from it: those texts tell how good the
model is. They are the texts whose place in a random order, which depends on nothing but the text,
is in its first fifth. Everybody labels them in the same order, so that people can be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputError
from pipelines.inference.explanation import Explanation
from pipelines.inference.linear_scorer import LinearScorer
from pipelines.labelling.agreement import Agreement, Dispute, agreements, disputes, verdicts
from pipelines.labelling.learning import Fitted, fit, missing
from pipelines.labelling.queue import certainty, ordered, text_features
from pipelines.labelling.store import (
    Label,
    LabelStore,
    NewLabel,
    Project,
    Settlement,
    Suggestion,
    Text,
)
from pipelines.labels import BINARY, Classes
from pipelines.text.showing import showable
from pipelines.training.evaluation import wilson_interval

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

EVERY: Final = 5
"""New labels after which the model learns anew."""
ONE_IN: Final = 5
"""Of so many texts, one is drawn at random."""
WINDOW: Final = 5_000
"""Texts that are compared with each other; others come after them."""
NOTE: Final = 2_000
"""Characters of a note."""
_SETTLED: Final = 0.02
"""Share of texts whose verdict the second half of the labels changed, up to which more labels are
said to help little."""
_LEAST_TO_SAY: Final = 60
"""Labels before which that is not said."""


class Learnt(msgspec.Struct, frozen=True):
    """A model, and the labels that it has learnt from."""

    scorer: LinearScorer
    labels: int
    changed: float | None
    """Share of texts whose verdict the second half of these labels changed; None: not known."""


class Accuracy(msgspec.Struct, frozen=True):
    """How often a model is right on the texts drawn at random, with Wilson's 95 % interval."""

    share: float
    low: float
    high: float
    texts: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a project is."""

    project: str
    classes: tuple[str, ...]
    texts: int
    labelled: int
    """Texts with a label that counts."""
    learnt_from: int
    """Labels that the model has learnt from; 0: there is none yet."""
    by_class: dict[str, int]
    by_annotator: dict[str, int]
    skipped: int
    in_dispute: int
    accuracy: Accuracy | None
    """Of the model, or of the start before there is one; None before a text drawn at random has a
    label."""
    before: Accuracy | None
    """Of the start."""
    changed: float | None
    """See `Learnt`."""
    enough: bool
    """Whether more labels help little."""
    needs: str
    """What is missing before a model can learn; empty if nothing is."""
    agreements: list[Agreement]


class ActiveLearning:
    """One project in this process: its texts, its queue, and the model of its labels.

    Other processes may label at the same time: what people have said is in the store only. Safe to
    use from several threads.

    Parameters
    ----------
    store : LabelStore
    project : Project
    start : LinearScorer or None
        The model to start from; None: there is none for these classes.
    """

    def __init__(self, store: LabelStore, project: Project, start: LinearScorer | None) -> None:
        self.project = project
        self.classes = Classes.declared(project.classes)
        self._store = store
        self.start = start if self.classes == BINARY else None
        """The model to start from."""
        texts = store.texts(project)
        self.texts = {each.id: each for each in texts}
        self._tests = [each.id for each in texts if each.test]
        self._pool = [each.id for each in texts if not each.test]
        self.queue = self._pool
        """The texts to learn from in the order in which they are worth a label."""
        self._learning = Lock()
        self._tried = -EVERY
        """Labels that the last model was to learn from, whether it could or not."""
        self.learnt: Learnt | None = None
        if self.start is not None:
            self._sort(self.start, [])

    @property
    def scorer(self) -> LinearScorer | None:
        """What guesses: the model of the labels, before it the start."""
        return self.learnt.scorer if self.learnt else self.start

    @property
    def is_learning(self) -> bool:
        """Whether a model learns in this process at the moment."""
        return self._learning.locked()

    def next(self, annotator: str) -> Text | None:
        """The text that a person should label now; None if they have labelled all."""
        labels = self._store.labels(self.project)
        mine = {each.text: each.answer for each in labels if each.annotator == annotator}
        answered = [text for text, answer in mine.items() if answer is not None]
        tests = sum(self.texts[text].test for text in answered if text in self.texts)
        of_others = {each.text for each in labels if each.answer is not None}

        def choose(shown: set[int]) -> int | None:
            test = (text for text in self._tests if text not in mine)
            new = (text for text in self.queue if text not in {*mine, *of_others, *shown})
            at_random = tests < (len(answered) + 1) // ONE_IN
            return next(chain(test, new) if at_random else chain(new, test), None)

        text = self._store.shown(self.project, annotator, choose)
        return None if text is None else self.texts[text]

    def guess(self, text: Text) -> Explanation | None:
        """What the model says of a text, and why.

        None if there is no model yet, or if the text is to test it: who knows the guess is not
        independent of it.
        """
        if self.scorer is None or text.test:
            return None
        return self.scorer.explain(text.text)

    def suggestion(self, text: Text) -> Suggestion | None:
        """What the file says that a text may be; None as for `guess`, or if it says nothing."""
        return None if text.test else self._store.suggestion(text.id)

    def label(self, annotator: str, text: int, answer: str | None, note: str = "") -> None:
        """Store what a person says of a text; None skips it.

        Raises
        ------
        InputError
            If there is no such text or class, or the note is too long.
        """
        self._check(text, answer, note)
        new = NewLabel(text=text, annotator=annotator, answer=answer, note=showable(note))
        self._store.put(self.project, [new])

    def undo(self, annotator: str) -> Label | None:
        """Take back a person's last label and show them the text again; None if there is none."""
        return self._store.undo(self.project, annotator)

    def settle(self, annotator: str, text: int, answer: str, note: str = "") -> None:
        """Decide about a text on which people disagree; errors as for `label`."""
        self._check(text, answer, note)
        new = NewLabel(text=text, annotator=annotator, answer=answer, note=showable(note))
        self._store.settle(self.project, new)

    def disputes(self) -> list[Dispute]:
        """The texts on which people disagree."""
        return disputes(*self._said())

    @property
    def is_due(self) -> bool:
        """Whether there are enough new labels to learn anew."""
        texts, labels = self._lesson(verdicts(*self._said()))
        if missing(labels, self.classes):
            return False
        return abs(len(texts) - self._tried) >= EVERY

    def learn(self) -> None:
        """Start again from the start and all labels, and put the queue in a new order."""
        with self._learning:
            if not self.is_due:  # another thread was first, or there are too few
                return
            texts, labels = self._lesson(verdicts(*self._said()))
            self._tried = len(texts)
            fitted = fit(self._written(texts), labels, self.classes, self.start)
            self._sort(fitted.scorer, texts)
            changed = self._changed(fitted, texts, labels)
            self.learnt = Learnt(fitted.scorer, len(texts), changed)

    def progress(self) -> Progress:
        """How far the project is."""
        labels, settlements = self._said()
        counting = verdicts(labels, settlements)
        answered = [each for each in labels if each.answer is not None]
        accuracy = self._accuracy(self.scorer, counting)
        changed = self.learnt.changed if self.learnt else None
        numbers = Counter(counting.values())
        return Progress(
            project=self.project.name,
            classes=self.project.classes,
            texts=len(self.texts),
            labelled=len(counting),
            learnt_from=self.learnt.labels if self.learnt else 0,
            by_class={name: numbers[name] for name in self.project.classes},
            by_annotator=dict(Counter(each.annotator for each in answered)),
            skipped=len(labels) - len(answered),
            in_dispute=sum(each.settled is None for each in disputes(labels, settlements)),
            accuracy=accuracy,
            before=self._accuracy(self.start, counting) if self.learnt else accuracy,
            changed=changed,
            enough=changed is not None
            and changed < _SETTLED
            and self.learnt is not None
            and self.learnt.labels >= _LEAST_TO_SAY,
            needs=missing(self._lesson(counting)[1], self.classes),
            agreements=agreements(labels),
        )

    def tested(self) -> tuple[list[str], NDArray[np.int8]]:
        """The labelled texts drawn at random, and the numbers of their classes."""
        counting = verdicts(*self._said())
        texts = [text for text in self._tests if text in counting]
        return self._written(texts), self._codes(counting, texts)

    def lesson(self) -> tuple[list[str], NDArray[np.int8]]:
        """The labelled texts to learn from, and the numbers of their classes."""
        texts, labels = self._lesson(verdicts(*self._said()))
        return self._written(texts), labels

    def _said(self) -> tuple[list[Label], list[Settlement]]:
        return self._store.labels(self.project), self._store.settlements(self.project)

    def _lesson(self, counting: dict[int, str]) -> tuple[list[int], NDArray[np.int8]]:
        """Labelled texts to learn from, in the order of their labels."""
        texts = [text for text in counting if text in self.texts and not self.texts[text].test]
        return texts, self._codes(counting, texts)

    def _codes(self, counting: dict[int, str], texts: Sequence[int]) -> NDArray[np.int8]:
        numbers = {name: number for number, name in enumerate(self.project.classes)}
        return np.array([numbers[counting[text]] for text in texts], dtype=np.int8)

    def _written(self, texts: Sequence[int]) -> list[str]:
        return [self.texts[text].text for text in texts]

    @cached_property
    def _window(self) -> tuple[list[int], csr_matrix]:
        """The texts that are compared with each other, and their features."""
        texts = self._pool[:WINDOW]
        return texts, text_features(self._written(texts))

    def _sort(self, scorer: LinearScorer, labelled: Sequence[int]) -> None:
        """Put the queue in the order of what `scorer` knows least about."""
        texts, features = self._window
        if not texts:
            return
        _, probabilities = scorer.predict(self._written(texts))
        seen = np.flatnonzero(np.isin(texts, labelled))
        rows = ordered(features, certainty(scorer.classes.each(probabilities)), seen)
        self.queue = [*(texts[row] for row in rows), *self._pool[WINDOW:]]

    def _changed(
        self, fitted: Fitted, texts: Sequence[int], labels: NDArray[np.int8]
    ) -> float | None:
        """The share of texts that a model of the first half of the labels sees otherwise."""
        half = len(texts) // 2
        if missing(labels[:half], self.classes):
            return None
        first, plans = self._written(texts[:half]), fitted.plans
        before = fit(first, labels[:half], self.classes, self.start, plans)
        written = self._written(self._window[0])
        now, then = (each.scorer.predict(written)[0] for each in (fitted, before))
        return float(np.mean(np.array(now) != np.array(then)))

    def _accuracy(self, scorer: LinearScorer | None, counting: dict[int, str]) -> Accuracy | None:
        texts = [text for text in self._tests if text in counting]
        if scorer is None or not texts:
            return None
        _, probabilities = scorer.predict(self._written(texts))
        right = scorer.classes.predicted(probabilities) == self._codes(counting, texts)
        share, n = float(right.mean()), len(texts)
        low, high = wilson_interval(np.array([share]), np.array([n]))
        return Accuracy(share, float(low[0]), float(high[0]), n)

    def _check(self, text: int, answer: str | None, note: str) -> None:
        if text not in self.texts:
            raise InputError("There is no such text in this project.")
        if answer is not None and answer not in self.project.classes:
            raise InputError(f"There is no class {answer[:100]!r} in this project.")
        if len(note) > NOTE:
            raise InputError(f"A note has at most {NOTE:,} characters.")
