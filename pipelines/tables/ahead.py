"""Work that goes on in a thread of its own while its results are used."""

from __future__ import annotations

from collections.abc import Generator
from queue import Empty, Queue
from threading import Event, Thread
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_DEPTH: Final = 1


class _End(Generic[T]):
    """Behind the last item; with what was raised, if anything was."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Generator[T, None, None], depth: int = _DEPTH) -> Generator[T, None, None]:
    """The same items, up to `depth` of which are made before they are asked for.

    What is raised while they are made is raised here. When nobody wants more of them, `items` is
    closed and its thread ends.
    """
    queue: Queue[T | _End[T]] = Queue(depth)
    unwanted = Event()
    thread = Thread(target=_fill, args=(queue, items, unwanted), daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        unwanted.set()
        while thread.is_alive():
            _empty(queue)  # it may wait for room
            thread.join(0.01)


def _fill(queue: Queue[T | _End[T]], items: Generator[T, None, None], unwanted: Event) -> None:
    end = _End[T]()
    try:
        for item in items:
            queue.put(item)
            if unwanted.is_set():
                break
    except BaseException as error:
        end = _End(error)
    finally:
        items.close()
        queue.put(end)


def _empty(queue: Queue[T]) -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        pass
