"""ML parameters: ``conf/params.yaml`` -> one frozen object.

DVC tracks the same file, so a change of a parameter reruns the stages that read it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from pipelines.errors import SettingsError
from pipelines.settings import convert


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Dataset(_Section, frozen=True):
    """One data set's declaration."""

    path: str
    """File inside ``paths.raw``: CSV, Parquet or JSONL, told by its ending."""
    text: str
    """Column with the text."""
    label: str
    """Column with the label."""
    labels: dict[Literal["negative", "positive"], list[str]]
    """Which values of the label column mean what; letter case and white space do not matter."""
    drop: list[str] = []
    """Label values whose rows are left out on purpose."""
    encoding: str = "utf-8"
    """A Python codec name. Bytes that do not fit it are an error; `utf-8-replace` repairs them."""
    separator: str = ","
    """Column separator of a CSV file."""
    kaggle: str | None = None
    """Kaggle slug that `olens data download` fetches, `owner/name`."""


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


class Train(_Section, frozen=True):
    """Defaults of `olens train`."""

    subject: str = "nbsvm"
    params: dict[str, float | int | str | bool | None] = {}


class Tune(_Section, frozen=True):
    """Defaults of `olens tune`."""

    subject: str = "nbsvm"
    trials: int = 10
    timeout: float | None = None
    """Seconds after which no further trial begins; null for no limit."""
    jobs: int = 1
    metric: Literal["accuracy", "f1", "roc_auc"] = "accuracy"
    """What a study maximises on the validation split."""


class Params(_Section, frozen=True, kw_only=True):
    """Everything in ``conf/params.yaml``."""

    seed: int = 42
    datasets: dict[str, Dataset]
    split: Split = Split()
    vectorizer: Vectorizer = Vectorizer()
    train: Train = Train()
    tune: Tune = Tune()


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
            f"{path}: there is no such file. Run olens inside a project folder, or set OLENS_ROOT."
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
    """Let `negative: [1, 2]` and `negative: no` stand for lists of strings, as they are written.

    `verbatim` is the same file with every scalar as text: YAML reads `no` as a boolean.
    """
    for dataset, texts in zip(
        _datasets(values).values(), _datasets(verbatim).values(), strict=True
    ):
        if not isinstance(dataset, dict):
            continue
        if isinstance(dataset.get("labels"), dict):
            dataset["labels"] = {k: _list(v) for k, v in texts["labels"].items()}
        if "drop" in dataset:
            dataset["drop"] = _list(texts["drop"])
    return values


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
        missing = {"negative", "positive"} - {k for k, v in dataset.labels.items() if v}
        if missing:
            raise wrong(f"datasets.{name}.labels", dataset.labels, f"{missing.pop()} is missing")
        named = [v.strip().lower() for vs in (*dataset.labels.values(), dataset.drop) for v in vs]
        if twice := {value for value in named if named.count(value) > 1}:
            raise wrong(f"datasets.{name}.labels", twice.pop(), "one value, two meanings")
    if not params.datasets:
        raise wrong("datasets", {}, "declare at least one data set")
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
    for key in ("trials", "jobs"):
        if getattr(params.tune, key) < 1:
            raise wrong(f"tune.{key}", getattr(params.tune, key), "must be at least 1")
    if params.tune.timeout is not None and not params.tune.timeout > 0:
        raise wrong("tune.timeout", params.tune.timeout, "must be positive, or null")
