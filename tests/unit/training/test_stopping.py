"""Ctrl-C while something computes: what computes is never interrupted, it is asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.sparse import random as random_matrix

from pipelines.training import stopping
from pipelines.training.linear import BaggedLinearSVM, LinearSVM
from pipelines.training.stopping import Stop, stop_flag

ROWS = random_matrix(4000, 500, density=0.05, format="csr", dtype=np.float32, random_state=0)
LABELS = np.arange(4000) % 2
ENDLESS = {"tol": 1e-300, "max_iter": 10**9}


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Shells let what they start in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_after(seconds: float, times: int = 1) -> None:
    def press() -> None:
        for _ in range(times):
            time.sleep(seconds)
            signal.raise_signal(signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


def test_returns_what_was_computed_and_raises_what_was_raised() -> None:
    with Stop() as stop:
        assert stop.run(lambda: 3) == 3
        with pytest.raises(ZeroDivisionError):
            stop.run(lambda: 1 // 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("press", range(5))
@pytest.mark.parametrize("machine", [LinearSVM, BaggedLinearSVM])
def test_a_compiled_fit_ends_when_it_is_asked_to(machine: type[LinearSVM], press: int) -> None:
    LinearSVM().fit(ROWS, LABELS)  # compiled before
    endless = machine(**ENDLESS)
    before = threading.active_count()
    with Stop() as stop:
        press_after(0.1 + 0.03 * press)
        with pytest.raises(KeyboardInterrupt):
            stop.run(lambda: endless.fit(ROWS, LABELS))
        assert stop.pressed
    assert not hasattr(endless, "coef_")
    assert threading.active_count() <= before + 1


def test_computations_that_ignore_the_flag_run_to_their_end() -> None:
    told = []
    with Stop(lambda: told.append("stopping")) as stop:
        press_after(0.1)
        assert stop.run(lambda: time.sleep(0.4) or "kept") == "kept"
        assert told == ["stopping"]
        with pytest.raises(KeyboardInterrupt):
            stop.run(lambda: pytest.fail("Ctrl-C was pressed before"))
        with pytest.raises(KeyboardInterrupt):
            stop.check()


def test_a_computation_that_ignores_the_flag_for_long_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "PATIENCE", 0.2)
    started = time.monotonic()
    with Stop() as stop:
        press_after(0.1)
        with pytest.raises(KeyboardInterrupt):
            stop.run(lambda: time.sleep(30))
        stop.taken()
        assert stop.run(lambda: "the best so far") == "the best so far"
    assert time.monotonic() - started < 20


def test_a_second_press_ends_at_once() -> None:
    started = time.monotonic()
    with Stop() as stop:
        press_after(0.1, times=2)
        with pytest.raises(KeyboardInterrupt):
            stop.run(lambda: time.sleep(30))
    assert time.monotonic() - started < 20


def test_between_computations_it_raises_only_when_pressed_three_times() -> None:
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.pressed


def test_after_a_press_was_taken_computing_goes_on() -> None:
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        stop.taken()
        assert not stop.pressed
        assert stop.run(lambda: int(stop_flag()[0])) == 0
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stop.run(lambda: None)


def test_in_other_threads_it_computes_as_well() -> None:
    with Stop() as stop, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda n: stop.run(lambda: n * 2), range(4))) == [0, 2, 4, 6]


def test_somebody_elses_handler_stays() -> None:
    def theirs(number: int, frame: object) -> None:
        pass

    before = signal.signal(signal.SIGINT, theirs)
    try:
        with Stop() as stop:
            assert stop.run(lambda: 1) == 1
            assert signal.getsignal(signal.SIGINT) is theirs
        assert signal.getsignal(signal.SIGINT) is theirs
    finally:
        signal.signal(signal.SIGINT, before)
