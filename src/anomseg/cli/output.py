"""What the commands print: progress with throughput and time left, plain lines off a terminal."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from anomseg.errors import FrameError
    from anomseg.types import Frame


def say(text: str, quiet: bool = False) -> None:
    """Print a line on standard output unless told to be quiet."""
    if not quiet:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def warn(text: str) -> None:
    """Print a warning on standard error; warnings are never silenced."""
    sys.stderr.write(f"anomseg: {text}\n")
    sys.stderr.flush()


class Progress:
    """A progress bar on a terminal, a plain line every ten seconds elsewhere, nothing when quiet.

    Args:
        text: What is being done.
        quiet: Show nothing.
    """

    def __init__(self, text: str, quiet: bool = False) -> None:
        self.text, self.quiet = text, quiet
        self.started = self.last = time.monotonic()
        self._first: int | None = None
        self._phase = ""
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.text, total=None, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Report that ``done`` of ``total`` items are finished."""
        if self.quiet:
            return
        phase = text.split(maxsplit=1)[0] if text else ""
        if phase != self._phase:
            if self._phase:  # the item that opens a later phase started before we knew of it
                self.started, self._first = time.monotonic(), done
            self._phase = phase
        if self._first is None:
            self._first = max(done - 1, 0)  # a resumed run must not count earlier work as its own speed
        seconds = max(time.monotonic() - self.started, 1e-9)
        rate = (done - self._first) / seconds
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.2f}/s {text}"[:60])
        elif time.monotonic() - self.last >= 10 or done == total:
            self.last = time.monotonic()
            left = (total - done) / rate if rate > 0 else 0.0
            named = f" ({phase})" if phase else ""
            sys.stderr.write(f"{self.text}{named}: {done}/{total}, {rate:.2f}/s, {left:.0f} s left\n")
            sys.stderr.flush()

    def over_frames(self, total: int) -> Callable[[Frame, FrameError | None], None]:
        """What a pass over frames calls after each: it counts them, and warns of those that were skipped.

        Args:
            total: How many there are.
        """
        done = itertools.count(1)

        def report(frame: Frame, error: FrameError | None) -> None:
            self(next(done), total)
            if error is not None:
                warn(f"skipped {frame.id}: {error}")

        return report
