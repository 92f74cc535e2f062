"""Measuring: how long steps take and how much memory they need at their peak. Knows nothing of networks."""

from __future__ import annotations

import ctypes
import gc
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

MIB = 2**20


@dataclass
class Measured:
    """What is known of one step.

    Attributes:
        seconds: Duration of each timed repeat.
        peak_bytes: Memory at its peak above what stood before the step; None where it cannot be told.
        error: Why it stopped; None where it did not.
    """

    seconds: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    error: str | None = None

    def percentile(self, share: float) -> float | None:
        """Seconds below which ``share`` per cent of the repeats stayed, interpolated; None without repeats."""
        return float(np.percentile(self.seconds, share)) if self.seconds else None


def measure(
    steps: Mapping[str, Callable[[], object]],
    found: dict[str, Measured],
    *,
    repeats: int,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    peak: Callable[[Callable[[], object]], int | None] | None = None,
    on_step: Callable[[], None] | None = None,
) -> None:
    """Time steps in turn, so that whatever else the machine does hits all of them alike.

    Each round runs every step once: first the rounds that warm up, then one that measures memory, then the timed
    ones. A step that fails is not run again; the others go on.

    Args:
        steps: What to run, by name; on a GPU each has to wait for its own end.
        found: Filled as the rounds go by, so that an interrupted run keeps what it had.
        repeats: Timed rounds.
        warmup: Rounds before them that do not count.
        clock: Seconds since any moment.
        peak: Runs a step and gives its memory at the peak, such as `peak_memory`; None leaves memory out.
        on_step: Called after each run.

    Example:
        >>> found = {}
        >>> ticks = iter([0.0, 0.5, 2.0, 3.5])
        >>> measure({"a": lambda: None}, found, repeats=2, warmup=0, clock=lambda: next(ticks))
        >>> found["a"].seconds, found["a"].percentile(50)
        ([0.5, 1.5], 1.0)
    """
    for name in steps:
        found.setdefault(name, Measured())

    def once(name: str, kind: str) -> None:
        if kind == "memory":
            found[name].peak_bytes = peak(steps[name]) if peak else None
            return
        started = clock() if kind == "timed" else 0.0
        steps[name]()
        if kind == "timed":
            found[name].seconds.append(clock() - started)

    for kind in rounds(repeats, warmup, memory=peak is not None):
        for name in steps:
            if found[name].error is None:
                try:
                    once(name, kind)
                except Exception as error:
                    found[name].error = reason(error)
            if on_step is not None:
                on_step()


def rounds(repeats: int, warmup: int, *, memory: bool = True) -> list[str]:
    """What each round of `measure` is for: ``warmup``, ``memory`` or ``timed``.

    Example:
        >>> rounds(2, 1)
        ['warmup', 'memory', 'timed', 'timed']
    """
    return ["warmup"] * warmup + ["memory"] * memory + ["timed"] * repeats


def reason(error: BaseException) -> str:
    r"""Why a step failed, in one line.

    Example:
        >>> reason(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes"))
        'out of memory'
        >>> reason(ValueError("a\nb"))
        'ValueError: a b'
    """
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or re.search(
        r"out of memory|can't allocate memory|not enough memory", text
    ):
        return "out of memory"
    return f"{type(error).__name__}: {text}"[:200]


def peak_memory(step: Callable[[], object], device: torch.device) -> int | None:
    """Run a step and tell its memory at the peak, above what stood before.

    On a GPU that is what PyTorch allocated. On a CPU it is the resident memory of this process, whose high-water mark
    Linux lets a process reset; elsewhere there is no answer.

    Args:
        step: What to run.
        device: Where it runs.

    Returns:
        Bytes; None where the system does not tell.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # memory that was freed but kept would hide what the step takes
    started = _reset_high_water_mark() if device.type == "cpu" else None
    step()
    reached = _status_bytes("VmHWM") if started is not None else None
    return None if started is None or reached is None else max(reached - started, 0)


def _reset_high_water_mark() -> int | None:
    """Resident bytes now, from where the system's high-water mark starts anew; None where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return None
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int | None:
    with suppress(OSError):
        found = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text("ascii", "replace"), re.M)
        return int(found[1]) * 1024 if found else None
    return None
