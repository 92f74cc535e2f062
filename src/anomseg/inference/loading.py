"""Decoding ahead: a background thread loads the next images while the network works on the present ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from anomseg.errors import FrameError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class _End:
    """Last entry of the queue; carries what stopped the thread."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Prefetch(Generic[Item, Loaded]):
    """Load items in order on one background thread, at most ``depth`` ahead.

    Use it as a context manager (or call `close`), so that the thread ends when the consumer stops early.

    Args:
        items: What to load; iterated on the thread.
        load: Called with each item on the thread.
        depth: How many loaded items may wait, which bounds the memory.

    Example:
        >>> with Prefetch([1, 2], lambda number: number * 10) as loaded:
        ...     list(loaded)
        [(1, 10), (2, 20)]
    """

    def __init__(self, items: Iterable[Item], load: Callable[[Item], Loaded], depth: int = 2) -> None:
        self._queue: queue.Queue[tuple[Item, Loaded | FrameError] | _End] = queue.Queue(max(1, depth))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items, load), name="anomseg-prefetch", daemon=True)
        self._thread.start()

    def _run(self, items: Iterable[Item], load: Callable[[Item], Loaded]) -> None:
        try:
            for item in items:
                loaded: Loaded | FrameError
                try:
                    loaded = load(item)
                except FrameError as error:
                    loaded = error
                if not self._put((item, loaded)):
                    return
        except BaseException as error:  # handed to the consumer, who raises it
            self._put(_End(error))
        else:
            self._put(_End())

    def _put(self, entry: tuple[Item, Loaded | FrameError] | _End) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[tuple[Item, Loaded | FrameError]]:
        """Yield ``(item, loaded)`` in order; an item that raised `FrameError` yields that error instead.

        Raises:
            BaseException: Whatever else stopped the thread.
        """
        while not self._stop.is_set():
            entry = self._queue.get()
            if isinstance(entry, _End):
                self._stop.set()
                if entry.error is not None:
                    raise entry.error
                return
            yield entry

    def close(self) -> None:
        """Stop the thread and wait for it; what was loaded ahead is dropped."""
        self._stop.set()
        # A source that blocks (a camera, a socket) must not block the caller too; the thread is a daemon.
        self._thread.join(timeout=5.0)

    def __enter__(self) -> Prefetch[Item, Loaded]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
