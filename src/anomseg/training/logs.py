"""Where a training writes its figures: a CSV file, and TensorBoard's where that is installed."""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

LOG = "log"
"""Folder of the logs, in a stage's folder."""


def loggers(folder: Path) -> list[Logger]:
    """Loggers into a fresh folder ``log/start-<n>``; each start has its own, as Lightning deletes what it finds.

    Args:
        folder: The stage's folder.
    """
    name = f"start-{sum(1 for _ in (folder / LOG).glob('start-*')) + 1}"
    found: list[Logger] = [CSVLogger(folder, name=LOG, version=name)]
    if _has_tensorboard():
        found.append(TensorBoardLogger(folder, name=LOG, version=name))
    return found


@cache
def _has_tensorboard() -> bool:
    """Whether it can be written to; where not, this is said once."""
    if importlib.util.find_spec("tensorboard") is not None:
        return True
    warnings.warn(
        "tensorboard is not installed, so figures are logged as CSV alone (pip install 'anomseg[train]')", stacklevel=2
    )
    return False
