"""Runs steps: finished ones are skipped, and one that another process is at is left to it."""

from __future__ import annotations

import fcntl
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from learned_plan import Step

Command = Callable[[Sequence[str]], int]
Plan = Callable[[], Sequence[Step]]
WAIT = 10.0
"""Seconds between two looks at steps that another process is at."""


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a lock while it lasts; false where another process holds it. The system frees it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def locks(step: Step, folder: Path) -> list[Path]:
    """Files that a step holds while it runs."""
    names = [step.name.replace("/", "."), *([f"cache.{step.cache}"] if step.cache else [])]
    return [folder / f"{name}.lock" for name in names]


def shown(step: Step) -> str:
    """A step as a user would type it."""
    return "anomseg " + shlex.join(step.words)


def run_all(plan: Plan, folder: Path, command: Command, *, wait: float = WAIT) -> list[str]:
    """Run steps in order as far as they can be run; several processes may do so at the same time.

    A step whose needs are not there yet is passed over, and so is one that another process is at; both are come back
    to. What fails is noted, and what needs it is left.

    Args:
        plan: Gives the steps; asked anew before each, because where a network lies may change.
        folder: Where locks are kept.
        command: Runs one command and returns its exit code; 0 and 1 (some frames skipped) are success.
        wait: Seconds between two looks where everything left is at another process.

    Returns:
        Names of the steps that failed or could not be begun.
    """
    failed: list[str] = []
    while True:
        left = [step for step in plan() if step.name not in failed and not step.finished]
        if not left:
            return failed
        outcomes = []
        for step in left:
            outcomes.append(_attempt(step, folder, command))
            if outcomes[-1] == "failed":
                failed.append(step.name)
            if outcomes[-1] in ("done", "failed"):
                break  # from the first again: what was just finished may be what an earlier one needs
        else:
            if "busy" not in outcomes:
                return [*failed, *(step.name for step in left)]
            time.sleep(wait)


def _attempt(step: Step, folder: Path, command: Command) -> str:
    with ExitStack() as stack:
        if not all(stack.enter_context(held(path)) for path in locks(step, folder)):
            return "busy"
        if step.finished:
            return "done"
        if not step.ready:
            return "waits"
        sys.stdout.write(f"$ {shown(step)}\n")
        sys.stdout.flush()
        code = command(step.words)
        if code in (0, 1) and step.finished:
            return "done"
        sys.stdout.write(f"{step.name} ended with {code}\n")
        return "failed"
