"""Models that are not what they should be, before they are fetched and while they answer."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import skops.io
import yaml
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures

from pipelines.cache.entries import MODEL
from pipelines.errors import ModelError
from pipelines.registry.artifacts import refuse_pickle
from pipelines.training.persistence import load_pipeline
from pipelines.workflows.fetch import make_ready
from tests.chaos.campaign import PREDICT, Attack, Target, is_consistent, post
from tests.fitted import fit_tiny
from tests.serving import environment
from tests.support import wait_for
from tests.unit.workflows.test_fetch import CHANGES, Parts

DESCRIPTIONS: Final[dict[str, bytes]] = {
    "aliases": b"a: &a [x, x]\n"
    + b"".join(b"%c: &%c [*%c, *%c]\n" % (c, c, c - 1, c - 1) for c in range(98, 122)),
    "itself": b"flavors: &a {sklearn: *a}\n",
    "depth": b"flavors: " + b"[" * 100_000,
    "9 MB": b"flavors: {}\n" + b"a: b\n" * 1_800_000,
    "a pickle": yaml.safe_dump(
        {"flavors": {"sklearn": {"serialization_format": "cloudpickle"}}}
    ).encode(),
}


def impossible_numbers(victim: Target) -> None:
    """Every model with impossible numbers is refused before it is in the cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        skops.io.dump(fit_tiny("nbsvm"), folder / "model.skops")
        for number, (what, change) in enumerate(CHANGES.items()):
            pipeline = load_pipeline(folder)
            change(Parts(pipeline))
            entry = folder / str(number)
            (entry / MODEL).mkdir(parents=True)
            skops.io.dump(pipeline, entry / MODEL / "model.skops")
            _is_refused(what, lambda entry=entry: make_ready(entry))  # type: ignore[misc]


def bombs(victim: Target) -> None:
    """Small files that stand for gigabytes."""
    for what, description in DESCRIPTIONS.items():
        _meet(victim, f"MLmodel: {what}", lambda d=description: refuse_pickle(d, "it"))  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / MODEL / "model.skops"
        model.parent.mkdir()
        skops.io.dump(fit_tiny("nbsvm"), model)
        with zipfile.ZipFile(model) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        zeros = io.BytesIO()
        with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as inner:
            inner.writestr("zeros.npy", bytes(500_000_000))
        bomb = next(each for each in members if each != "schema.json")
        schema = json.loads(members["schema.json"])
        schema["content"]["content"]["verbose"] = _shared_lists()
        for what, changed, content in (
            ("an archive in the archive", bomb, zeros.getvalue()),
            ("500 MB of zeros", bomb, bytes(500_000_000)),
            ("1,000,000,000 empty texts", bomb, _empty_texts()),
            ("lists that are shared", "schema.json", json.dumps(schema).encode()),
        ):
            with zipfile.ZipFile(model, "w", zipfile.ZIP_DEFLATED) as archive:
                for each, kept in members.items():
                    archive.writestr(each, content if each == changed else kept)
            _meet(victim, f"model.skops: {what}", lambda: make_ready(Path(name)))


def dear_estimators(victim: Target) -> None:
    """Estimators of scikit-learn of which a few hundred bytes take hours for a text."""
    texts, labels = ["good film", "bad film", "lovely", "awful"] * 10, ["POSITIVE", "NEGATIVE"] * 20
    words = CountVectorizer(ngram_range=(1, 2))
    for what, steps in (
        ("polynomials", (TruncatedSVD(2), PolynomialFeatures(2))),
        ("a kernel", (TruncatedSVD(2), Nystroem(n_components=2))),
        ("a function", (FunctionTransformer(np.sqrt),)),
        ("n-grams", ()),
        ("a pattern", ()),
        ("names of files", ()),
    ):
        model = make_pipeline(words, *steps, LogisticRegression()).fit(texts, labels)
        parameters = {
            "polynomials": lambda m: setattr(m[2], "degree", 8),
            "n-grams": lambda m: setattr(m[0], "ngram_range", (1, 10**9)),
            "a pattern": lambda m: setattr(m[0], "token_pattern", r"(\w+\s?)+$"),
            "names of files": lambda m: setattr(m[0], "input", "filename"),
        }
        parameters.get(what, lambda _: None)(model)
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / MODEL).mkdir()
            skops.io.dump(model, Path(name) / MODEL / "model.skops")
            _meet(victim, f"model.skops: {what}", lambda name=name: make_ready(Path(name)))  # type: ignore[misc]


def damaged_entries(victim: Target) -> None:
    """The files of the answering model are damaged while it answers, and are mended again."""
    entry = victim.root / "models" / "reviews-v1"
    kept = Path(shutil.copytree(entry, victim.root / "kept"))
    for damage in (_truncate, _flip, _remove):
        damage(entry / "scorer.safetensors")
        _answers(victim)
        listed = _olens(victim, "models", "list")
        assert "reviews-v1 cannot be used" in listed.stderr, listed.stderr
        judged = _olens(victim, "predict", "any", "--model", "reviews-v1")
        assert judged.returncode == 1, judged.stdout
        assert "is damaged" in judged.stderr
        assert "Traceback" not in listed.stderr + judged.stderr
        shutil.rmtree(entry)
        shutil.copytree(kept, entry)
    shutil.rmtree(kept)
    _answers(victim)


def unreadable_pointers(victim: Target) -> None:
    """``active.json`` becomes all kinds of things; who answers, goes on answering."""
    active = victim.root / "models" / "active.json"

    def write(content: bytes) -> Callable[[], object]:
        return lambda: active.write_bytes(content)

    for make in (
        write(b""),
        write(b"\xff"),
        write(b'{"id": "' + b"x" * 300 + b'-v1"}'),
        write(b"[" * 100_000),
        active.mkdir,
        lambda: os.mkfifo(active),
        lambda: active.symlink_to(active),
        lambda: active.symlink_to("nowhere"),
    ):
        active.unlink()
        make()
        time.sleep(0.7)
        _answers(victim)
        _is_not_ready(victim)
        judged = _olens(victim, "predict", "any")
        assert judged.returncode == 1, judged.stdout
        assert "Traceback" not in judged.stderr
        shutil.rmtree(active) if active.is_dir() else active.unlink()
        victim.cache.activate("reviews-v1")
        wait_for(lambda: _ready(victim) == 200)


def a_folder_that_goes_and_comes(victim: Target) -> None:
    """The folder of the models disappears; who answers, goes on answering."""
    folder = victim.root / "models"
    folder.rename(victim.root / "away")
    time.sleep(1)
    _answers(victim)
    connection = victim.connect()
    connection.request("GET", "/health/ready")
    assert b"not mounted" in connection.getresponse().read()
    (victim.root / "away").rename(folder)
    wait_for(lambda: _ready(victim) == 200)


def _shared_lists() -> dict[str, object]:
    """A list of lists of lists: skops would look at it 3 ** 40 times."""
    kind = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode"}
    node: dict[str, object] = {**kind, "__id__": 1, "content": []}
    for number in range(2, 40):
        again = {"__id__": number - 1}
        node = {**kind, "__id__": number, "content": [node, again, again]}
    return node


def _empty_texts() -> bytes:
    file = io.BytesIO()
    header = {"descr": "|S0", "fortran_order": False, "shape": (10**9,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _meet(victim: Target, what: str, use: Callable[[], object]) -> None:
    """Refuse a bomb in this process."""

    def refuse() -> str:
        try:
            use()
        except ModelError as error:
            return str(error)
        raise AssertionError(f"{what} was accepted")

    victim.meet(what, refuse, [os.getpid()])


def _is_refused(what: str, use: Callable[[], object]) -> None:
    try:
        use()
    except ModelError:
        return
    raise AssertionError(f"a model with {what} was accepted")


def _answers(victim: Target) -> None:
    for _ in range(10):
        connection = victim.connect()
        status, answer = post(connection, PREDICT, {"text": "any"})
        connection.close()
        assert status == 200, answer
        assert is_consistent(answer), answer


def _is_not_ready(victim: Target) -> None:
    wait_for(lambda: _ready(victim) == 503, seconds=30)


def _ready(victim: Target) -> int:
    connection = victim.connect()
    connection.request("GET", "/health/ready")
    status = connection.getresponse().status
    connection.close()
    return status


def _olens(victim: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opinionlens_cli.main", *arguments],
        cwd=victim.root,
        env=environment(victim.root),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _truncate(table: Path) -> None:
    os.truncate(table, 5_000)


def _flip(table: Path) -> None:
    content = bytearray(table.read_bytes())
    content[-1] ^= 1
    table.write_bytes(content)


def _remove(table: Path) -> None:
    table.unlink()


MODELS: Final[dict[str, Attack]] = {
    "models with impossible numbers": impossible_numbers,
    "models that are bombs": bombs,
    "models of dear estimators": dear_estimators,
    "damaged files of the answering model": damaged_entries,
    "active.json that is something else": unreadable_pointers,
    "a folder of models that goes and comes": a_folder_that_goes_and_comes,
}
