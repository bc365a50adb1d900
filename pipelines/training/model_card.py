"""The model card: what a model is, what it was trained on, how good it is and where it is not.

The form follows Mitchell et al. (2019): Model Cards for Model Reporting. FAT*.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Self

import msgspec

from pipelines.config.params import Language
from pipelines.datasets.reports import DatasetReport
from pipelines.labels import BINARY, POSITIVE_FROM, SENTIMENTS, Classes
from pipelines.text.languages import LANGUAGES
from pipelines.training.evaluation import Metrics

LIBRARIES: Final = ("opinionlens", "scikit-learn", "numpy", "numba", "polars", "skops", "mlflow")

FEW_TEXTS: Final = 100
"""A slice with fewer texts says little; the card does not call it the weakest."""
WELL_CALIBRATED: Final = 0.02
"""Expected calibration error up to which probabilities can be read as frequencies."""
POORLY_CALIBRATED: Final = 0.05

Parameter = str | int | float | bool | None

_LIMITS: Final = """\
- {language}
- {classes}
- One verdict per text, not per thing that the text speaks about.
- {meaning}
- The further a text is from the training data in topic, style or time, the less the numbers above
  hold. Evaluate on texts of your own before relying on it: `olens evaluate --data FILE`.
- Very short texts hold few words to judge by, and words never seen in training count for nothing.
- Not audited for fairness: names, dialects or groups of people may move the verdict. It must not
  decide about people."""


_IRONY: Final = """\
Irony, sarcasm and quoted opinions are often misread: the model sees words and short sequences of
  them, not who means what."""
_WORDS: Final = "The model sees words and short sequences of them, not what is meant."


class DataFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One data set that the model was trained on."""

    name: str
    source: str
    """File, relative to the project's raw or sample data."""
    sha256: str
    rows: int
    """Rows of the file, before cleaning."""
    train: int
    """Number of texts in this split."""
    val: int
    test: int
    synthetic: bool
    """Whether these are the made-up texts that come with the project."""

    @classmethod
    def from_report(cls, report: DatasetReport) -> Self:
        """Take the facts from what `olens preprocess` wrote down."""
        texts = {split: sum(counts.values()) for split, counts in report.splits.items()}
        return cls(
            name=report.dataset,
            source=report.path,
            sha256=report.sha256,
            rows=report.rows,
            train=texts.get("train", 0),
            val=texts.get("val", 0),
            test=texts.get("test", 0),
            synthetic=report.origin == "sample",
        )


class CardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a model card states."""

    subject: str
    """Name of the estimator's subject."""
    parameters: dict[str, Parameter]
    vectorizer: dict[str, Parameter]
    data: list[DataFacts]
    metrics: dict[str, Metrics]
    """By slice; `test` is the whole test split."""
    classes: Classes = BINARY
    language: Language = "en"
    """Of the texts; see `pipelines.text.languages`."""
    baselines: dict[str, Metrics] = {}
    """By baseline, on the same test split."""
    threshold: float = POSITIVE_FROM
    """A text is POSITIVE from this probability on."""
    created: datetime
    """With its time zone."""
    run_id: str
    model_id: str | None = None
    """Of the MLflow logged model."""
    commit: str | None = None
    """Git commit of the project that trained it."""
    versions: dict[str, str] = {}
    """Of the libraries, by name."""


def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that a model depends on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # mlflow comes as mlflow-skinny without the train extra.
            continue
    return versions


def model_card(facts: CardFacts) -> str:
    """The card as Markdown.

    Parameters
    ----------
    facts : CardFacts
        `metrics` must hold at least one slice.
    """
    sections = [
        f"# {'Sentiment model' if _of_sentiment(facts.classes) else 'Model'}: {facts.subject}",
        _warning(facts),
        _what_it_is(facts),
        training_data(facts.data),
        _quality(facts),
        _calibration(_overall(facts)),
        _intended_use(facts.classes),
        limits(facts.classes, facts.language),
        _how_to_use(facts),
        _licence(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _warning(facts: CardFacts) -> str:
    synthetic = [each.name for each in facts.data if each.synthetic]
    if not synthetic:
        return ""
    return (
        "> **WARNING: trained on synthetic data.** The texts of "
        f"{_listing(synthetic)} are the made-up sample that comes with OpinionLens, not real "
        "reviews. This model shows that everything works. Its numbers say nothing about real "
        "texts; do not use it for them."
    )


def _what_it_is(facts: CardFacts) -> str:
    classes = facts.classes
    rows = [
        ("Task", _task(classes)),
        ("Language", _language(facts.language)),
        ("Input, output", f"raw text; label and probability of {_predicted(classes)}"),
        ("Estimator", f"`{facts.subject}`"),
        ("Parameters", _parameters(facts.parameters)),
        ("Vectorizer", _parameters(facts.vectorizer)),
        *(
            [("Threshold", f"{classes.names[1]} from a probability of {facts.threshold:g}")]
            if classes.two
            else []
        ),
        ("Created", facts.created.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("MLflow run", f"`{facts.run_id}`"),
    ]
    if facts.model_id:
        rows.append(("Logged model", f"`{facts.model_id}`"))
    if facts.commit:
        rows.append(("Git commit", f"`{facts.commit}`"))
    libraries = ", ".join(f"{name} {number}" for name, number in facts.versions.items())
    if libraries:
        rows.append(("Made with", libraries))
    return "## What it is\n\n" + table(("Property", "Value"), rows)


def _task(classes: Classes) -> str:
    if classes == BINARY:
        return "binary sentiment: NEGATIVE or POSITIVE"
    order = "ordered" if classes.ordered else "without an order"
    return f"one of {len(classes.names)} classes, {order}: {', '.join(classes.names)}"


def _language(language: Language) -> str:
    return "that of the training texts" if language == "other" else LANGUAGES[language].name


def _of_sentiment(classes: Classes) -> bool:
    return {name.lower() for name in classes.names} <= set(SENTIMENTS)


def _predicted(classes: Classes) -> str:
    return classes.names[1] if classes.two else "each class"


def limits(classes: Classes = BINARY, language: Language = "en") -> str:
    """The section on what the model is not good for."""
    if classes == BINARY:
        said = (
            "Two classes. A neutral or mixed text is pushed to one side; look for probabilities "
            "near 0.5."
        )
    else:
        said = (
            f"{len(classes.names)} classes. A text of none of them gets the one that it resembles\n"
            "  most; look for low probabilities."
        )
    only = (
        "Only the language of the training texts."
        if language == "other"
        else f"{LANGUAGES[language].name} only."
    )
    told = _LIMITS.format(
        language=f"{only} Texts in other languages get an answer, and it means nothing.",
        classes=said,
        meaning=_IRONY if _of_sentiment(classes) else _WORDS,
    )
    return f"## Limits\n\n{told}"


def training_data(data: Sequence[DataFacts]) -> str:
    """The section on the data sets."""
    header = ("Data set", "File", "Rows", "Train", "Validation", "Test", "SHA-256 of the file")
    rows = [
        (
            f"{each.name} (synthetic)" if each.synthetic else each.name,
            f"`{each.source}`",
            *(f"{count:,}" for count in (each.rows, each.train, each.val, each.test)),
            f"`{each.sha256}`",
        )
        for each in data
    ]
    text = (
        "HTML was removed, texts that are equal after that were made one, and the split comes from "
        "a hash of the text, so that no text stands in two splits. Validation texts serve to "
        "choose parameters; the numbers below are from test texts that the model never saw."
    )
    return f"## Training data\n\n{table(header, rows)}\n\n{text}"


def _quality(facts: CardFacts) -> str:
    overall = _overall(facts)
    parts = [
        "## How good it is",
        f"On the test split it is right about **{overall.accuracy:.1%}** of {overall.n:,} texts"
        f"{_composition(overall)}.",
        metrics_table("Slice", facts.metrics),
        _class_table(overall),
        _weakest(facts.metrics, overall),
        _against_baselines(facts, overall),
    ]
    return "\n\n".join(part for part in parts if part)


def _composition(overall: Metrics) -> str:
    if overall.positives is not None:
        return f" ({overall.positives / overall.n:.0%} of them positive)"
    facts = [f"macro F1 {overall.f1_macro:.3f}"]
    if overall.mae is not None:
        facts.append(f"mean absolute error {overall.mae:.3f} classes")
    if overall.kappa is not None:
        facts.append(f"quadratic kappa {overall.kappa:.3f}")
    return f": {', '.join(facts)}"


def _class_table(overall: Metrics) -> str:
    """Metrics by class on the test split; empty with two classes."""
    if not overall.classes:
        return ""
    header = ("Class", "Texts", "Precision", "Recall", "F1", "ECE")
    rows = [
        (
            name,
            f"{each.n:,}",
            *(f"{value:.3f}" for value in (each.precision, each.recall, each.f1, each.ece)),
        )
        for name, each in overall.classes.items()
    ]
    return table(header, rows)


def _weakest(metrics: Mapping[str, Metrics], overall: Metrics) -> str:
    large = {name: each for name, each in metrics.items() if each.n >= FEW_TEXTS}
    name = min(large, key=lambda each: large[each].accuracy, default=None)
    if name is None or large[name].accuracy >= overall.accuracy:
        return ""
    return f"It is weakest on **{name}** ({large[name].accuracy:.1%})."


def _against_baselines(facts: CardFacts, overall: Metrics) -> str:
    if not facts.baselines:
        return ""
    best = max(facts.baselines, key=lambda name: facts.baselines[name].accuracy)
    gain = overall.accuracy - facts.baselines[best].accuracy
    if gain > 0:
        verdict = (
            f"Its accuracy on the test split is {gain * 100:.1f} percentage points above that of "
            f"the best baseline, `{best}`."
        )
    else:
        verdict = f"**It does not beat the baseline `{best}`: do not use it.**"
    return f"{verdict}\n\n{metrics_table('Baseline', facts.baselines)}"


def _calibration(overall: Metrics) -> str:
    if overall.ece <= WELL_CALIBRATED:
        verdict = "Its probabilities can be read as frequencies on texts like those of the test"
    elif overall.ece <= POORLY_CALIBRATED:
        verdict = "Its probabilities are roughly the frequencies on texts like those of the test"
    else:
        verdict = "**Its probabilities are not frequencies: use them to rank texts only**"
    return (
        "## Calibration\n\n"
        f"{verdict}: the expected calibration error is {overall.ece:.3f} (15 bins of equal width), "
        f"the Brier score {overall.brier:.3f}, the log loss {overall.log_loss:.3f}."
    )


def _intended_use(classes: Classes) -> str:
    what = (
        "reviews, comments and other opinions by sentiment"
        if _of_sentiment(classes)
        else "texts by these classes"
    )
    return (
        f"## Intended use\n\nSorting, counting and searching {what}, where a wrong verdict on a "
        "single text does little harm and someone can read the text."
    )


def _how_to_use(facts: CardFacts) -> str:
    uri = f"models:/{facts.model_id}" if facts.model_id else "models:/sentiment@champion"
    model = facts.model_id or "latest"
    return f"""\
## How to use it

In Python, with the `opinionlens` package installed:

```python
import mlflow

model = mlflow.pyfunc.load_model("{uri}")
model.predict(["A lovely surprise.", "Not worth the ticket."])
```

On the command line:

```sh
olens register {model} sentiment --alias champion
olens fetch sentiment --alias champion --activate
olens predict "A lovely surprise."
```"""


def _licence(facts: CardFacts) -> str:
    names = _listing([each.name for each in facts.data])
    return (
        "## Licence\n\n"
        "OpinionLens is under the Apache License 2.0. The model is derived from the texts of "
        f"{names}; check the terms of these data before you pass the model on."
    )


def _overall(facts: CardFacts) -> Metrics:
    return facts.metrics.get("test") or next(iter(facts.metrics.values()))


def metrics_table(first: str, metrics: Mapping[str, Metrics]) -> str:
    """Metrics by name as a Markdown table; `first` is the head of the column of names."""
    two = all(each.positives is not None for each in metrics.values())
    header = (first, "Texts", *(["Positive"] if two else []), "Accuracy")
    header += ("F1" if two else "Macro F1", "ROC AUC", "Log loss", "ECE")
    rows = [
        (
            name,
            f"{each.n:,}",
            *([] if each.positives is None else [f"{each.positives / each.n:.0%}"]),
            f"{each.accuracy:.1%}",
            f"{each.f1:.3f}",
            "not defined" if each.roc_auc is None else f"{each.roc_auc:.3f}",
            f"{each.log_loss:.3f}",
            f"{each.ece:.3f}",
        )
        for name, each in metrics.items()
    ]
    return table(header, rows)


def _parameters(parameters: Mapping[str, Parameter]) -> str:
    pairs = (f"`{name}={json.dumps(value)}`" for name, value in parameters.items())
    return ", ".join(pairs) or "defaults"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1] if names else ""]))
