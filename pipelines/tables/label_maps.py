"""What the values of a label column mean, in the file at hand.

Labels belong to a file: 2 is positive in Yelp's polarity, negative among stars and neutral in
Sentiment140. A map is either given by the user or guessed from all values together, and the guess
is said in words. Values that two scales would read differently are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from pipelines.errors import DataError
from pipelines.labels import BINARY, SENTIMENTS, Classes, answer_name
from pipelines.tables.findings import shortened

if TYPE_CHECKING:
    import polars as pl

Meaning = Literal["negative", "neutral", "positive"]

_NEGATIVE_WORDS: Final = frozenset({
    "negative", "neg", "bad", "unfavorable", "unfavourable", "dissatisfied", "unsatisfied",
    "detractor",
})  # fmt: skip
_POSITIVE_WORDS: Final = frozenset({
    "positive", "pos", "good", "favorable", "favourable", "satisfied", "promoter",
})  # fmt: skip
_NEUTRAL_WORDS: Final = frozenset(["neutral", "neu", "mixed", "passive"])
LABEL_WORDS: Final = _NEGATIVE_WORDS | _POSITIVE_WORDS | _NEUTRAL_WORDS | {"true", "false", "yes"}
"""Words that are values of a label column, and hardly the name of a column."""
_PAIRS: Final = (
    ("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), ("not recommended", "recommended"),
    ("thumbs down", "thumbs up"), ("\N{THUMBS DOWN SIGN}", "\N{THUMBS UP SIGN}"),
    ("dislike", "like"), ("disliked", "liked"),
)  # fmt: skip
"""Values that mean negative and positive where a column holds these two and no other."""
_DEGREES: Final = re.compile(
    r"^(very|extremely|highly|strongly|somewhat|slightly|mostly|weakly)[ _-]+"
)
_PREFIX: Final = re.compile(r"^(__label__|label[ _-])")
_NUMBERED: Final = re.compile(r"^\d+ ?[-–:.)=] ?(?=\D)")
"""Before words, as in surveys: ``5 - Very good``."""
_STARS: Final = re.compile(r"^([+-]?\d+(?:\.\d+)?) ?(?:stars?|★|/ ?5|(?:out )?of 5(?: stars)?)$")
_WHOLE_NUMBER: Final = r"^([+-]?\d+)\.0*$"
"""Written by pandas when an integer column has gaps, and by JSON encoders: 5.0 means 5."""
_SHOWN: Final = 10


class Scale(msgspec.Struct, frozen=True):
    """A usual way to write a sentiment as a number."""

    name: str
    negative: tuple[float, ...]
    neutral: tuple[float, ...]
    positive: tuple[float, ...]

    def meaning(self, value: float) -> Meaning | None:
        """What a value means on this scale; None: it is not on it."""
        if value in self.negative:
            return "negative"
        if value in self.positive:
            return "positive"
        return "neutral" if value in self.neutral else None

    def fits(self, values: set[float]) -> bool:
        """Whether all values are on the scale, and both ends of it are among them."""
        ends = {min(self.negative), max(self.positive)}
        return ends <= values <= {*self.negative, *self.neutral, *self.positive}


SCALES: Final = (
    Scale("0 and 1", (0,), (), (1,)),
    Scale("1 and 2, as Yelp's polarity", (1,), (), (2,)),
    Scale("-1 to 1", (-1,), (0,), (1,)),
    Scale("-2 to 2", (-2, -1), (0,), (1, 2)),
    Scale("0 to 4, as Sentiment140 and SST", (0, 1), (2,), (3, 4)),
    Scale("1 to 5 stars", (1, 1.5, 2), (2.5, 3, 3.5), (4, 4.5, 5)),
    Scale("1 to 10, as IMDB's ratings", (1, 2, 3, 4), (5, 6), (7, 8, 9, 10)),
)


class LabelMap(msgspec.Struct, frozen=True, kw_only=True):
    """Which canonical values mean which class; all others mean nothing."""

    meanings: dict[str, tuple[str, ...]]
    """Values by class, as declarations call it."""
    dropped: tuple[str, ...] = ()
    """Left out because the user says so, and counted."""
    guess: str = ""
    """Why the values are thought to mean this; empty: the user says so."""
    classes: Classes = BINARY
    """Those that are asked for. Rows of others, of neutral ones say, are left out and counted."""

    @property
    def negative(self) -> tuple[str, ...]:
        """Values that mean negative."""
        return self.meanings.get("negative", ())

    @property
    def neutral(self) -> tuple[str, ...]:
        """Values that mean neutral."""
        return self.meanings.get("neutral", ())

    @property
    def positive(self) -> tuple[str, ...]:
        """Values that mean positive."""
        return self.meanings.get("positive", ())

    @property
    def codes(self) -> dict[str, int]:
        """The number in `classes` for each value that means one of them."""
        return {
            value: self.classes.names.index(answer_name(name))
            for name, values in self._asked().items()
            for value in values
        }

    def describe(self, counts: Mapping[str, int]) -> list[str]:
        """The map in sentences, with the rows of each value; the guess first."""
        said = f"Labels guessed from the values, {self.guess}: " if self.guess else "Labels: "
        asked = self._asked()
        parts = [f"{name} = {_listed(values, counts)}" for name, values in asked.items() if values]
        messages = [said + ", ".join(parts) + "."]
        others = {name: values for name, values in self.meanings.items() if name not in asked}
        for name, values in {**others, "dropped": self.dropped}.items():
            if rows := sum(counts.get(value, 0) for value in values):
                messages.append(
                    f"Left out as {name}: {rows:,} row{'s' * (rows != 1)} "
                    f"({_listed(values, counts)})."
                )
        return messages

    def one_class(self, counts: Mapping[str, int]) -> str | None:
        """A warning if a class does not occur; None if all do."""
        rows = dict.fromkeys(self.classes.names, 0)
        for name, values in self._asked().items():
            rows[answer_name(name)] = sum(counts.get(value, 0) for value in values)
        absent = [name for name, count in rows.items() if not count]
        if not absent:
            return None
        if len(absent) < len(rows) - 1:
            return f"No label is {' or '.join(absent)}: figures about that mean nothing."
        only = max(rows, key=lambda name: rows[name])
        return (
            f"All {rows[only]:,} labels are {only.lower()}: accuracy says little here, and figures "
            f"that compare {'both' if self.classes.two else 'the'} classes mean nothing."
        )

    def _asked(self) -> dict[str, tuple[str, ...]]:
        return {
            name: values
            for name, values in self.meanings.items()
            if answer_name(name) in self.classes.names
        }


def parse_label_map(text: str, drop: Iterable[str] = (), classes: Classes = BINARY) -> LabelMap:
    """The map that a user writes: `negative=1,2 positive=4,5`.

    Raises
    ------
    DataError
        If it cannot be understood, names fewer than two of the classes, or gives a value two
        meanings.
    """
    values: dict[str, list[str]] = {name: [] for name in _known_names(classes)}
    by_folded = {name.casefold(): name for name in values}
    names = "|".join(re.escape(name) for name in sorted(values, key=len, reverse=True))
    # A name, and everything up to the next one: values may have spaces in them.
    parts = re.split(rf"(?:^|[\s;]+)({names})\s*=", text.strip(), flags=re.IGNORECASE)
    if parts[0].strip() or len(parts) < 3:
        raise _cannot_read(text, classes)
    for name, listed in zip(parts[1::2], parts[2::2], strict=True):
        found = [canonical_label(v) for v in listed.rstrip("; ").split(",") if v.strip()]
        if any("=" in value for value in found):
            raise _cannot_read(text, classes)
        values[by_folded[name.casefold()]] += found
    if sum(bool(listed) for name, listed in values.items() if _is_of(name, classes)) < 2:
        raise _cannot_read(text, classes)
    dropped = _dropped(drop)
    every = [value for listed in (*values.values(), dropped) for value in listed]
    if twice := next((value for value in every if every.count(value) > 1), None):
        raise DataError(f"--labels: {shortened(twice)!r} has two meanings. Give it one.")
    return LabelMap(
        meanings={name: tuple(listed) for name, listed in values.items()},
        dropped=dropped,
        classes=classes,
    )


def map_labels(
    counts: Mapping[str, int],
    labels: str | None = None,
    drop: Sequence[str] = (),
    classes: Classes = BINARY,
) -> LabelMap:
    """What the values of a label column mean.

    Parameters
    ----------
    counts : mapping
        Rows of each canonical value; blank ones are not among them.
    labels : str, optional
        What the user says, as for `parse_label_map`. None: it is guessed.
    drop : sequence of str
        Values whose rows are to be left out.
    classes : Classes
        Those of the model that the labels are for.

    Raises
    ------
    DataError
        If a value means nothing, or the values could mean different things. The message gives
        the option that helps.
    """
    if labels is not None:
        found = parse_label_map(labels, drop, classes)
        known = {*found.dropped, *(value for each in found.meanings.values() for value in each)}
        if unknown := [value for value in counts if value not in known]:
            raise DataError(
                f"--labels says nothing about {_listed(unknown, counts)}. Add them to a class, "
                f"or leave their rows out: {_drop_flag([*drop, *unknown])}"
            )
        return found
    dropped = _dropped(drop)
    values = [value for value in counts if value not in dropped]
    guess = _guess_names if not _are_sentiments(classes) else _guess
    return msgspec.structs.replace(
        guess(values, counts, drop, classes), dropped=dropped, classes=classes
    )


def _are_sentiments(classes: Classes) -> bool:
    return set(classes.names) <= set(map(answer_name, SENTIMENTS))


def _known_names(classes: Classes) -> list[str]:
    """Names that a user may write: those of the classes, and the sentiments that are left out."""
    if _are_sentiments(classes):
        return list(SENTIMENTS)
    return list(classes.names)


def _is_of(name: str, classes: Classes) -> bool:
    return answer_name(name) in classes.names


def _guess_names(
    values: Sequence[str], counts: Mapping[str, int], drop: Sequence[str], classes: Classes
) -> LabelMap:
    """Of classes that are no sentiments, the values are the names."""
    by_value = {canonical_label(name): name for name in classes.names}
    if unknown := [value for value in values if value not in by_value]:
        raise DataError(
            f"The model has no class {_listed(unknown, counts)}; it has "
            f"{_listed(classes.names, {})}. Say which values mean which class, "
            f"{_class_example(classes)}, or leave their rows out: {_drop_flag([*drop, *unknown])}"
        )
    if not values:
        raise DataError("No row has a label. Choose the column of the labels.")
    meanings: dict[str, tuple[str, ...]] = {
        name: (value,) for value, name in by_value.items() if value in values
    }
    return LabelMap(meanings=meanings, guess="by the names of the model's classes")


def _guess(
    values: Sequence[str], counts: Mapping[str, int], drop: Sequence[str], classes: Classes
) -> LabelMap:
    if not values:
        raise DataError("No row has a label. Choose the column of the labels.")
    words = {value: meaning for value in values if (meaning := _word_meaning(value))}
    if words:
        if unknown := [value for value in values if value not in words]:
            raise DataError(
                f"It is not clear what these labels mean: {_listed(unknown, counts)}. Say so, "
                f"{_example(list(words))}, or leave their rows out: {_drop_flag([*drop, *unknown])}"
            )
        return _with_meanings(words, "by their words")
    if pair := _opposites(values):
        return _with_meanings(pair, "a pair of opposites")
    numbers = {value: number for value in values if (number := _number(value)) is not None}
    scales = [s for s in SCALES if s.fits(set(numbers.values()))]
    maps = [{v: s.meaning(n) for v, n in numbers.items()} for s in scales]
    if len(numbers) != len(values) or not maps or any(other != maps[0] for other in maps):
        raise DataError(
            f"It is not clear what these labels mean: {_listed(values, counts)}. Say so, "
            f"{_example(values)}; --drop leaves rows out."
        )
    return _with_meanings({v: m for v, m in maps[0].items() if m}, f"a scale of {scales[0].name}")


def is_label(value: str) -> bool:
    """Whether a value stands in a column of labels, and is hardly its name."""
    label = canonical_label(value)
    return label in LABEL_WORDS or label.startswith("__label__") or bool(_STARS.match(label))


def canonical_label(value: str) -> str:
    """A label value in the form in which labels are compared."""
    return re.sub(_WHOLE_NUMBER, r"\1", value.strip().lower())


def canonical_labels(labels: pl.Expr) -> pl.Expr:
    """As `canonical_label`, for a column of any type; null where a value is blank."""
    import polars as pl

    value = (
        labels.cast(pl.String)
        .str.strip_chars()
        .str.to_lowercase()
        .str.replace(_WHOLE_NUMBER, "${1}")
    )
    return pl.when(value != "").then(value)


def _word_meaning(value: str) -> Meaning | None:
    word = _DEGREES.sub("", _NUMBERED.sub("", _PREFIX.sub("", value)))
    if word in _NEGATIVE_WORDS:
        return "negative"
    if word in _POSITIVE_WORDS:
        return "positive"
    return "neutral" if word in _NEUTRAL_WORDS else None


def _opposites(values: Sequence[str]) -> dict[str, Meaning]:
    """What two values mean that are one of `_PAIRS`; nothing for others."""
    spelled = {re.sub("[ _-]+", " ", value): value for value in values}
    for negative, positive in _PAIRS:
        if len(values) == 2 and spelled.keys() == {negative, positive}:
            return {spelled[negative]: "negative", spelled[positive]: "positive"}
    return {}


def _number(value: str) -> float | None:
    value = _PREFIX.sub("", value)
    if set(value) == {"★"} or set(value) == {"★", "☆"}:
        return float(value.count("★"))
    stars = _STARS.match(value)
    try:
        return float(stars[1] if stars else value)
    except ValueError:
        return None


def _with_meanings(meanings: Mapping[str, Meaning], guess: str) -> LabelMap:
    def having(meaning: Meaning) -> tuple[str, ...]:
        return tuple(sorted(value for value, found in meanings.items() if found == meaning))

    order: tuple[Meaning, ...] = ("negative", "neutral", "positive")
    return LabelMap(meanings={meaning: having(meaning) for meaning in order}, guess=guess)


def _dropped(drop: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(canonical_label(value) for value in drop))


def _listed(values: Iterable[str], counts: Mapping[str, int]) -> str:
    commonest = sorted(values, key=lambda value: (-counts.get(value, 0), value))
    shown = [
        f"{shortened(value)} ({counts[value]:,})" if value in counts else shortened(value)
        for value in commonest[:_SHOWN]
    ]
    hidden = len(commonest) - len(shown)
    return ", ".join(shown) + (f" and {hidden:,} more values" if hidden else "")


def _example(values: Sequence[str]) -> str:
    """How `--labels` is written; with dots for values whose order is not known."""
    order = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
    ranks = {v: order.get(_word_meaning(v) or "", _number(v)) for v in values}
    known = sorted((rank, v) for v, rank in ranks.items() if rank is not None)
    low = shortened(known[0][1], 20) if known else "..."
    high = shortened(known[-1][1], 20) if len(known) > 1 else "..."
    return f"for example --labels 'negative={low} positive={high}'"


def _drop_flag(values: Sequence[str]) -> str:
    return "--drop '" + ",".join(shortened(value, 30) for value in values[:_SHOWN]) + "'"


def _class_example(classes: Classes) -> str:
    first, last = classes.names[0], classes.names[-1]
    return f"for example --labels '{first}=...; {last}=...'"


def _cannot_read(text: str, classes: Classes) -> DataError:
    example = "--labels 'negative=1,2 positive=4,5'"
    if not _are_sentiments(classes):
        example = _class_example(classes).removeprefix("for example ")
    wanted = "both classes" if classes.two else "the classes"
    return DataError(
        f"--labels {shortened(text)!r} cannot be read. Name the values of {wanted}: {example}"
    )
