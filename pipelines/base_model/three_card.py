"""base3's card: what it is, what it learnt from, how good it is beside VADER, where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Final, Self

import msgspec
import polars as pl

from pipelines.base_model.sources import NEUTRAL
from pipelines.base_model.three import CLASSES, LeftOutOfThree, NeutralRecipe, ThreeReport
from pipelines.training.model_card import limits, table


class NeutralSource(msgspec.Struct, frozen=True, kw_only=True):
    """One source of neutral texts."""

    name: str
    domain: str
    starred: bool
    neutral: int
    """Number of texts."""
    licence: str
    """Licence or terms of use, as far as known."""

    @classmethod
    def of(cls, texts: pl.DataFrame) -> list[Self]:
        """The facts of each source of `texts` (see `pipelines.base_model.sources.Opinions`)."""
        counted = texts.group_by("source", maintain_order=True).agg(
            pl.first("domain", "starred", "licence"), neutral=(pl.col("label") == NEUTRAL).sum()
        )
        return [msgspec.convert(row, cls) for row in counted.rename({"source": "name"}).to_dicts()]


def three_card(
    report: ThreeReport, recipe: NeutralRecipe, sha256: str, sources: Sequence[NeutralSource]
) -> str:
    """The card as Markdown."""
    sections = [
        "# The base model with a neutral class",
        _INTRODUCTION,
        _what_it_is(report, recipe, sha256),
        _elsewhere(report.left_out),
        _everyday(report),
        limits(CLASSES),
        _training_data(sources),
        _LICENCE,
    ]
    return "\n\n".join(sections) + "\n"


def _what_it_is(report: ThreeReport, recipe: NeutralRecipe, sha256: str) -> str:
    numbers = msgspec.structs.asdict(recipe)
    rows = [
        ("Task", f"one of three ordered classes: {', '.join(CLASSES.names)}"),
        ("Language", "English"),
        ("Kind", "softmax of the margins of two support vector machines, one table"),
        ("Size", f"{report.size:,} bytes; {recipe.kept:,} buckets at most, eight bits a weight"),
        ("SHA-256", f"`{sha256}`"),
        ("Parameters", ", ".join(f"`{key}={value}`" for key, value in numbers.items())),
        ("Calibration", "on texts of domains left out, labelled by people, as many of each class"),
    ]
    return "## What it is\n\n" + table(("Property", "Value"), rows)


def _elsewhere(left_out: Sequence[LeftOutOfThree]) -> str:
    header = ("Left out", "Labels", "Texts", "Macro F1", "VADER", "Accuracy", "VADER")
    by_people = [some for some in left_out if not some.starred]
    by_stars = [some for some in left_out if some.starred]
    rows = [
        row
        for kind, group in (("people", by_people), ("stars", by_stars))
        if group
        for row in [*(_row(some, kind) for some in group), _mean(group, kind)]
    ]
    return (
        "## On texts from elsewhere\n\nEach domain was left out in turn: both machines, and what "
        "joins them, were fitted on the other domains alone and tested on texts of the domain that "
        "they had not seen, as many of each class. VADER calls a text neutral whose score is below "
        "0.05 in size. Where labels come from stars, neutral texts are mixed ones.\n\n"
        + table(header, rows)
    )


def _row(some: LeftOutOfThree, kind: str) -> tuple[str, ...]:
    return (
        some.domain,
        kind,
        f"{some.n:,}",
        f"{some.f1_macro:.3f}",
        f"{some.vader_f1_macro:.3f}",
        f"{some.accuracy:.1%}",
        f"{some.vader_accuracy:.1%}",
    )


def _mean(group: Sequence[LeftOutOfThree], kind: str) -> tuple[str, ...]:
    fields = ("f1_macro", "vader_f1_macro", "accuracy", "vader_accuracy")
    means = {field: fmean(getattr(some, field) for some in group) for field in fields}
    n = sum(some.n for some in group)
    return _row(LeftOutOfThree(domain="mean", starred=kind == "stars", n=n, **means), kind)


def _everyday(report: ThreeReport) -> str:
    rows = [
        (
            name,
            f"{found.n:,}",
            f"{found.f1_macro:.3f}",
            f"{f1_macro:.3f}",
            *(f"{found.classes[label].recall:.1%}" for label in CLASSES.names),
        )
        for name, (_, f1_macro) in report.vader.items()
        if (found := report.metrics[name])
    ]
    header = ("Everyday texts", "Texts", "Macro F1", "VADER", *_RECALL)
    return (
        "## On everyday texts of one sentence\n\nThe opinions on which `base` is judged, and "
        "sentences without one: facts, questions, requests, news and talk, written by hand for "
        "this purpose (`pipelines/base_model/neutral_texts.csv`). Nothing is trained on them; what "
        "is for the last look was not looked at while parameters were chosen.\n\n"
        + table(header, rows)
    )


def _training_data(sources: Sequence[NeutralSource]) -> str:
    rows = [
        (
            some.name,
            some.domain,
            "stars" if some.starred else "people",
            f"{some.neutral:,}",
            some.licence,
        )
        for some in sources
    ]
    header = ("Source", "Domain", "Labels", "Neutral", "Licence or terms")
    return (
        "## Training data\n\nWhich way a text leans was learnt from all texts that `base` learnt "
        "from: see its card. How neutral a text is was learnt from the sources with neutral texts, "
        "from up to twice as many other texts of each, and from sentences of all sources:\n\n"
        + table(header, rows)
    )


_RECALL: Final = tuple(f"{name.capitalize()} found" for name in CLASSES.names)

_INTRODUCTION: Final = """\
It comes with OpinionLens beside `base`; commands call it `base3`. It says negative, neutral or
positive of English texts of any kind: a text that states a fact or asks a question is neutral. A
model that is trained on texts like yours is better on them: `olens tune`.

This folder is made by `make base-model`, which needs the real data. It holds weights only, no text
of the sources and no word of the lexicons."""

_LICENCE: Final = """\
## Licence

OpinionLens is under the Apache License 2.0. The weights were learnt from the sources above and
from those of `base`; check their terms before you pass the model on. While it was trained, and only
then, three lexicons were used: VADER's words and rules (MIT License; Hutto and Gilbert 2014), the
words of AFINN (Apache License 2.0; Nielsen 2011) and the Opinion Lexicon by Bing Liu (CC BY 4.0; Hu
and Liu 2004)."""
