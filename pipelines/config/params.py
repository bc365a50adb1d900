"""ML parameters: ``conf/params.yaml`` -> one frozen object.

DVC tracks the same file, so a change of a parameter reruns the stages that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipelines.config.converting import convert
from pipelines.errors import InputError, SettingsError
from pipelines.labels import SENTIMENTS, Classes, check_names, merged

Metric = Literal["accuracy", "f1", "f1_macro", "roc_auc", "log_loss", "mae", "kappa"]
"""What can be tuned for. `log_loss` and `mae` are to be small, the others large."""


Language = Literal["en", "de", "es", "fr", "it", "nl", "pt", "other"]
"""The language of texts, by its code of ISO 639-1; `pipelines.text.languages` has its rules."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections: immutable, and an unknown key is an error."""


class Dataset(_Section, frozen=True):
    """One data set's declaration."""

    path: str
    """File inside ``paths.raw``: CSV, TSV, JSONL, JSON, Parquet or Excel, compressed or not."""
    text: str
    """Column with the text: its name, or its number from 1."""
    label: str
    """Column with the label: its name, or its number from 1."""
    labels: dict[str, list[str]]
    """Which values of the label column mean which class; letter case and white space do not
    matter. A list of values stands for classes of the same names."""
    drop: list[str] = []
    """Label values whose rows are left out on purpose."""
    encoding: str | None = None
    """A Python codec name. Bytes that do not fit it are an error; `utf-8-replace` repairs them.
    Without it, the encoding is found out, and said."""
    separator: str | None = None
    """Column separator of a CSV file. Without it, it is found out, and said."""
    header: bool | None = None
    """Whether the first row names the columns. Without it, that is found out, and said."""
    kaggle: str | None = None
    """Kaggle slug that `olens data download` fetches, `owner/name`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in their order."""
        return merged([list(self.labels)])


class Split(_Section, frozen=True):
    """Shares of the texts that are kept from training."""

    val: float = 0.1
    test: float = 0.1


class Vectorizer(_Section, frozen=True):
    """Parameters of the n-gram vectorizer."""

    ngram_max: int = 3
    """Longest word n-gram."""
    bits: int = 23
    """Features are hashed into ``2 ** bits`` buckets."""
    char_max: int = 0
    """Longest character n-gram; 0: none."""
    language: Language = "en"
    """Whose words negate; in ``conf/params.yaml``, ``language`` says it for everything."""


class Train(_Section, frozen=True):
    """Defaults of `olens train`."""

    subject: str = "nbsvm"
    start: str | None = msgspec.field(name="from", default=None)
    """Model to start from; None: from scratch."""
    params: dict[str, float | int | str | bool | None] = {}


class Tune(_Section, frozen=True):
    """Defaults of `olens tune`."""

    subject: str = "nbsvm"
    start: str | None = msgspec.field(name="from", default=None)
    """Model to start from; None: from scratch."""
    trials: int = 10
    timeout: float | None = None
    """Seconds after which no further trial begins; null for no limit."""
    jobs: int = 1
    metric: Metric = "accuracy"
    """What a study improves on the validation split."""


class Params(_Section, frozen=True, kw_only=True):
    """Everything in ``conf/params.yaml``."""

    seed: int = 42
    ordered: bool | None = None
    """Whether the order of the classes means something, as that of stars does. By default, it
    does for negative, neutral and positive, and not for others."""
    language: Language | Literal["auto"] = "en"
    """Of the texts: what negates and where sentences end. ``auto``: found out, and said, from the
    train texts."""
    datasets: dict[str, Dataset]
    split: Split = Split()
    vectorizer: Vectorizer = Vectorizer()
    train: Train = Train()
    tune: Tune = Tune()

    def in_language(self, language: Language) -> Params:
        """The same for texts in `language`."""
        vectorizer = msgspec.structs.replace(self.vectorizer, language=language)
        return msgspec.structs.replace(self, language=language, vectorizer=vectorizer)

    def classes(self, datasets: Sequence[str] | None = None) -> Classes:
        """The classes of some data sets together, by default of all."""
        return Classes.declared(self.class_names(datasets), self.ordered)

    def class_names(self, datasets: Sequence[str] | None = None) -> tuple[str, ...]:
        """The same by their names in declarations."""
        names = self.datasets if datasets is None else datasets
        return merged([self.datasets[name].classes for name in names])


def load_params(root: Path) -> Params:
    """Read ``conf/params.yaml`` of the project in `root`.

    Raises
    ------
    SettingsError
        Naming the file, the key and the value.
    """
    import yaml

    path = root / "conf" / "params.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: there is no such file. Run olens in a project folder, or make one: olens init"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    try:
        values = yaml.safe_load(text)
        verbatim = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {error}") from None
    values = _labels_as_text(values, verbatim)
    for name, dataset in _datasets(values).items():
        convert(dataset, Dataset, {}, f"{path}: datasets.{name}")  # names the data set in errors
    params = convert(values, Params, {}, str(path))
    _check(params, path)
    return params


def _labels_as_text(values: Any, verbatim: Any) -> Any:
    """Let `negative: [1, 2]`, `negative: no` and `text: 2` be strings, as they are written.

    `verbatim` is the same file with every scalar as text: YAML reads `no` as a boolean.
    """
    for dataset, texts in zip(
        _datasets(values).values(), _datasets(verbatim).values(), strict=True
    ):
        if not isinstance(dataset, dict):
            continue
        if isinstance(dataset.get("labels"), dict | list):
            dataset["labels"] = _labels(texts["labels"])
        for column in {"text", "label"} & dataset.keys():
            if isinstance(dataset[column], int):
                dataset[column] = texts[column]
        if "drop" in dataset:
            dataset["drop"] = _list(texts["drop"])
    return values


def _labels(written: Any) -> Any:
    """A list of values stands for classes of the same names; sentiments are in lower case."""
    if isinstance(written, list) and all(isinstance(value, str) for value in written):
        written = {value: value for value in written}
    if not isinstance(written, dict):
        return written  # Converting says what it has to be.
    lower = {name: str(name).lower() for name in written}
    return {
        lower[name] if lower[name] in SENTIMENTS else name: _list(values)
        for name, values in written.items()
    }


def _datasets(values: Any) -> dict[Any, Any]:
    datasets = values.get("datasets") if isinstance(values, dict) else None
    return datasets if isinstance(datasets, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check(params: Params, path: Path) -> None:
    def wrong(key: str, value: object, reason: str) -> SettingsError:
        return SettingsError(f"{path}: {key} = {value!r}: {reason}")

    for name, dataset in params.datasets.items():
        if not name.replace("_", "").replace("-", "").isalnum():
            raise wrong("datasets", name, "a name is made of letters, digits, - and _")
        if problem := _labels_problem(dataset.labels):
            raise wrong(f"datasets.{name}.labels", dataset.labels, problem)
        named = [v.strip().lower() for vs in (*dataset.labels.values(), dataset.drop) for v in vs]
        if twice := {value for value in named if named.count(value) > 1}:
            raise wrong(f"datasets.{name}.labels", twice.pop(), "one value, two meanings")
    if not params.datasets:
        raise wrong("datasets", {}, "declare at least one data set")
    try:
        check_names(params.class_names())
    except InputError as error:
        raise wrong("datasets", list(params.datasets), f"{error} in all of them") from None
    for key, share in msgspec.structs.asdict(params.split).items():
        if not 0 < share < 0.5:
            raise wrong(f"split.{key}", share, "must lie between 0 and 0.5")
    if not 0 <= params.seed < 2**32:
        raise wrong("seed", params.seed, "must lie between 0 and 4294967295")
    if not 10 <= params.vectorizer.bits <= 26:
        raise wrong("vectorizer.bits", params.vectorizer.bits, "must lie between 10 and 26")
    if not 1 <= params.vectorizer.ngram_max <= 5:
        raise wrong("vectorizer.ngram_max", params.vectorizer.ngram_max, "must lie between 1 and 5")
    if params.vectorizer.char_max not in (0, *range(3, 9)):
        raise wrong(
            "vectorizer.char_max", params.vectorizer.char_max, "must be 0, or lie between 3 and 8"
        )
    if params.vectorizer.language != "en":
        raise wrong("vectorizer.language", params.vectorizer.language, "write it as `language:`")
    for key in ("trials", "jobs"):
        if getattr(params.tune, key) < 1:
            raise wrong(f"tune.{key}", getattr(params.tune, key), "must be at least 1")
    if params.tune.timeout is not None and not params.tune.timeout > 0:
        raise wrong("tune.timeout", params.tune.timeout, "must be positive, or null")


def _labels_problem(labels: dict[str, list[str]]) -> str | None:
    """What is wrong with the labels of a data set, if something is."""
    if empty := [name for name, values in labels.items() if not values]:
        return f"{empty[0]} is missing: it has no values"
    if len(labels) == 1 and (missing := {"negative", "positive"} - labels.keys()):
        return f"{missing.pop() if len(missing) == 1 else 'a second class'} is missing"
    try:
        check_names(list(labels))
    except InputError as error:
        return str(error)
    return None
