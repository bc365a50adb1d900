"""ML parameters: errors name the file, the key and the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config.params import Params, load_params
from pipelines.errors import SettingsError
from pipelines.labels import BINARY, Classes

DATASET = "{path: x.csv, text: t, label: l, labels: {negative: [neg], positive: [pos]}}"
GOOD = f"datasets: {{reviews: {DATASET}}}\n"


def load(root: Path, yaml: str | bytes) -> Params:
    (root / "conf").mkdir(exist_ok=True)
    content = yaml if isinstance(yaml, bytes) else yaml.encode()
    (root / "conf" / "params.yaml").write_bytes(content)
    return load_params(root)


def labels(root: Path, declaration: str) -> dict[str, list[str]]:
    yaml = f"datasets: {{a: {{path: x, text: t, label: l, labels: {declaration}}}}}"
    return {str(key): value for key, value in load(root, yaml).datasets["a"].labels.items()}


def test_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert (found.seed, found.split.val, found.split.test) == (42, 0.1, 0.1)
    assert (found.vectorizer.ngram_max, found.vectorizer.bits) == (3, 23)
    assert (found.train.subject, found.tune.metric, found.tune.trials) == ("nbsvm", "accuracy", 10)


def test_the_file_of_the_project_can_be_read() -> None:
    found = load_params(Path(__file__).resolve().parents[3])
    assert list(found.datasets) == ["imdb", "amazon", "airline"]
    assert found.datasets["amazon"].labels == {"negative": ["1", "2"], "positive": ["3", "4", "5"]}
    assert found.datasets["airline"].drop == ["neutral"]


class TestLabels:
    def test_numbers_and_single_values(self, tmp_path: Path) -> None:
        found = labels(tmp_path, "{negative: 1, positive: [2, 3.0]}")
        assert found == {"negative": ["1"], "positive": ["2", "3.0"]}

    def test_words_that_yaml_reads_as_something_else(self, tmp_path: Path) -> None:
        found = labels(tmp_path, "{negative: [no, off, ~], positive: [yes, On, 0x10, 2024-01-01]}")
        assert found["negative"] == ["no", "off", "~"]
        assert found["positive"] == ["yes", "On", "0x10", "2024-01-01"]

    def test_any_names_in_their_order(self, tmp_path: Path) -> None:
        found = labels(tmp_path, "{very good: 5, größer: [4], 😀: [3], no: [2], 1: [1]}")
        assert list(found) == ["very good", "größer", "😀", "no", "1"]

    def test_a_list_names_the_classes_by_their_values(self, tmp_path: Path) -> None:
        assert labels(tmp_path, "[1, 2, no]") == {"1": ["1"], "2": ["2"], "no": ["no"]}

    def test_sentiments_have_their_own_order_and_case(self, tmp_path: Path) -> None:
        one = "{path: x, text: t, label: l, labels: {Positive: [p], NEGATIVE: [n]}}"
        two = "{path: x, text: t, label: l, labels: {positive: p, neutral: u, negative: n}}"
        found = load(tmp_path, f"datasets: {{a: {one}, b: {two}}}")
        assert found.classes(["a"]) == BINARY
        assert found.classes() == Classes(("NEGATIVE", "NEUTRAL", "POSITIVE"), ordered=True)

    def test_whether_an_order_means_something_is_said(self, tmp_path: Path) -> None:
        stars = "datasets: {a: {path: x, text: t, label: l, labels: [1, 2, 3]}}"
        assert load(tmp_path, stars).classes() == Classes(("1", "2", "3"), ordered=False)
        assert load(tmp_path, f"ordered: true\n{stars}").classes().ordered
        assert load(tmp_path, f"ordered: false\n{GOOD}").classes() == BINARY

    def test_there_is_an_end_to_the_number_of_classes(self, tmp_path: Path) -> None:
        many = f"datasets: {{a: {{path: x, text: t, label: l, labels: {list(range(101))}}}}}"
        with pytest.raises(SettingsError, match="101 classes; 2 to 100 are possible"):
            load(tmp_path, many)

    def test_anchors(self, tmp_path: Path) -> None:
        one = "{path: x, text: t, label: l, labels: &l {negative: [0], positive: [1]}}"
        two = "{path: y, text: t, label: l, labels: *l, drop: no}"
        found = load(tmp_path, f"datasets: {{a: {one}, b: {two}}}")
        assert found.datasets["a"].labels == found.datasets["b"].labels
        assert found.datasets["b"].drop == ["no"]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("", "Expected `object`, got `null`"),
        ("[1]", "Expected `object`, got `array`"),
        ("seed: 1", "Object missing required field `datasets`"),
        ("datasets: {}", "datasets = {}: declare at least one data set"),
        ("datasets: [1]", r"datasets = \[1\]: Expected `object`"),
        ("datasets: {a: 3}", r"datasets\.a: Expected `object`, got `int`"),
        ("datasets: {a: {path: x}}", r"datasets\.a: Object missing required field `text`"),
        (GOOD + "sede: 3", "sede = 3: there is no such key"),
        (GOOD + "seed: x", "seed = 'x': Expected `int`"),
        (GOOD + "seed: -1", "seed = -1: must lie between"),
        (GOOD + "split: {val: 0.7}", r"split\.val = 0\.7: must lie between 0 and 0\.5"),
        (GOOD + "split: {test: 0}", r"split\.test = 0.*: must lie between"),
        (GOOD + "split: {train: 0.5}", r"split\.train = 0\.5: there is no such key"),
        (GOOD + "vectorizer: {bits: 40}", r"vectorizer\.bits = 40: must lie between 10 and 26"),
        (GOOD + "vectorizer: {ngram_max: 0}", r"vectorizer\.ngram_max = 0: must lie between 1"),
        (GOOD + "vectorizer: {char_max: 2}", r"vectorizer\.char_max = 2: must be 0, or lie"),
        (GOOD + "tune: {metric: acc}", r"tune\.metric = 'acc': Invalid enum value"),
        (GOOD + "tune: {trials: 0}", r"tune\.trials = 0: must be at least 1"),
        (GOOD + "tune: {jobs: -1}", r"tune\.jobs = -1: must be at least 1"),
        (GOOD + "tune: {timeout: 0}", r"tune\.timeout = 0.*: must be positive"),
        (GOOD + "train: {params: {C: [1]}}", r"train\.params.*: Expected"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object/apply:os.system [true]", "not valid YAML"),
    ],
)
def test_errors_name_file_key_and_value(tmp_path: Path, yaml: str, message: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{tmp_path}/conf/params\.yaml: {message}"):
        load(tmp_path, yaml)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("labels: 3", r"labels = 3: Expected `object`"),
        ("labels: {negative: [0]}", r"labels = .*: positive is missing"),
        ("labels: {negative: [], positive: [1]}", r"labels = .*: negative is missing"),
        ("labels: {negative: [a], positive: [' A ']}", r"labels = 'a': one value, two meanings"),
        ("labels: {spam: [1]}", r"labels = .*: a second class is missing"),
        ("labels: {spam: [1], '  ': [2]}", r"labels = .*: '  ' is no name for a class"),
        ("labels: {spam: [1], Spam: [2]}", r"labels = .*: two classes have the same name"),
        (f"labels: {{spam: [1], {'x' * 90}: [2]}}", r"labels = .*longer than 80 characters"),
        (
            "labels: {negative: [[0]], positive: [1]}",
            r"labels\[\.\.\.\]\[0\]: Expected `str`, got `array`",
        ),
        ("drop: [neg]", r"labels = 'neg': one value, two meanings"),
        ("lable: x", "lable = 'x': there is no such key"),
        ("path: [1]", r"path = \[1\]: Expected `str`"),
    ],
)
def test_errors_name_the_data_set(tmp_path: Path, change: str, message: str) -> None:
    declared = {
        "path": "path: x",
        "text": "text: t",
        "label": "label: l",
        "labels": "labels: {negative: [neg], positive: [pos]}",
        change.partition(":")[0]: change,
    }
    yaml = f"datasets: {{fine: {DATASET}, mine: {{{', '.join(declared.values())}}}}}"
    pattern = rf"^{tmp_path}/conf/params\.yaml: datasets\.mine[.:] ?{message}"
    with pytest.raises(SettingsError, match=pattern):
        load(tmp_path, yaml)


def test_a_data_set_name_is_a_folder_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"datasets = '\.\./evil': a name is made of"):
        load(tmp_path, f"datasets: {{'../evil': {DATASET}}}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no such file\. Run olens in a project"):
        load_params(tmp_path)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"params\.yaml: cannot be read"):
        load(tmp_path, b"seed: \xff")


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "conf" / "params.yaml").mkdir(parents=True)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_params(tmp_path)
