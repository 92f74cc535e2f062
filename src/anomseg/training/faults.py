"""What ends a training before its time, told in one line with what to lower."""

from __future__ import annotations

from pathlib import Path

import torch

from anomseg.errors import AnomsegError
from anomseg.training.base_module import DivergenceError

# How allocators, kernels and loader processes say that memory is short.
_MEMORY = (
    "out of memory",
    "OutOfMemoryError",
    "not enough memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "ALLOC_FAILED",
    "SIGKILL",
    "killed by signal: Killed",
)


def explain(error: BaseException, *, folder: Path, resumes: bool, validating: bool) -> AnomsegError | None:
    """The error that a user is told.

    Args:
        error: What was raised, here or in a process that trains on another device.
        folder: The stage's folder, named after the stage.
        resumes: Whether there is a checkpoint to go on from.
        validating: Whether a whole image was being looked at.

    Returns:
        An error to raise in its place; None where it is not one of training too much.
    """
    text = f"{type(error).__name__}: {error}"
    stage = f"--stages.{folder.name}"
    after = "goes on from the last checkpoint" if resumes else "begins anew, since there is no checkpoint yet"
    told = _told_elsewhere(text)
    if isinstance(error, DivergenceError) or (told and told[0] == DivergenceError.__name__):
        reason = str(error) if told is None else told[1]
        return DivergenceError(
            f"{reason}: the training diverged; run the same command again with a lower {stage}.trainer.learning_rate "
            f"or {stage}.trainer.clip, and it {after}"
        )
    if isinstance(error, AnomsegError):
        return error
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(sign in text for sign in _MEMORY):
        lower = (
            f"{stage}.module.options.size, since whole images do not fit"
            if validating
            else f"{stage}.data.batch_size or {stage}.data.augment.crop"
        )
        return AnomsegError(f"out of memory; run the same command again with a lower {lower}, and it {after}")
    return AnomsegError(told[1]) if told else None


def _told_elsewhere(text: str) -> tuple[str, str] | None:
    """Name and message of an error of ours at the end of another process's traceback."""
    last = text.strip().splitlines()[-1]
    name, _, message = last.partition(": ")
    return (name.rpartition(".")[2], message) if name.startswith("anomseg.") and message else None
