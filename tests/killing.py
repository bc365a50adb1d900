"""Killing a process at each of its steps on disk, one after the other."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_STEPS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "ctypes.dlsym", "shutil.rmtree")


def killed_at_every_step(folder: Path, action: Callable[[], object]) -> Iterator[int]:
    """Run `action` in a child process again and again; kill it before its first, second ... step.

    A step is an event of Python's audit hooks about a path below `folder`. Yields the number of the
    step after each kill, and ends when a child has come to its end.
    """
    step = 0
    while not _survives(folder, action, step):
        yield step
        step += 1
    assert step > 3, "the action has hardly touched the folder"


def _survives(folder: Path, action: Callable[[], object], step: int) -> bool:
    child = os.fork()
    if child == 0:
        left = step

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in _STEPS and any(str(folder) in str(each) for each in arguments):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(watch)
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True
