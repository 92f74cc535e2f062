"""Comparator directories: ``comparator.json`` (options, how it was trained) and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from anomseg.detectors.part_files import PartFiles
from anomseg.detectors.synthcp.comparator import Comparator

FILES = PartFiles(
    "comparator", "network", Comparator.kind, "give the directory of a comparator that 'anomseg train' wrote"
)


def save_comparator(comparator: Comparator, folder: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write a comparator so that `load_comparator` gives it back bit for bit.

    Args:
        comparator: The comparator.
        folder: Made if missing; an earlier comparator in it is replaced.
        meta: JSON-ready record: ``classes`` (the names, in the order of the channels), ``measure`` (what its quality
            estimates: ``iou`` or ``dice``), and how it was trained.
    """
    FILES.save(folder, comparator.options, comparator.state_dict(), meta)


def is_comparator_directory(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_comparator`."""
    return FILES.is_directory(path)


def load_comparator(folder: str | Path) -> Comparator:
    """Take back what `save_comparator` wrote, in evaluation mode, its record as ``meta``.

    Raises:
        DataError: A file is missing or damaged.
        CompatibilityError: The weights do not fit the options.
    """
    comparator = rebuild_comparator(*FILES.read(folder), str(folder))
    comparator.meta = comparator_meta(folder)
    return comparator


def comparator_meta(folder: str | Path) -> dict[str, Any]:
    """What `save_comparator` was told of a comparator."""
    return FILES.meta(folder)


def rebuild_comparator(options: Mapping[str, Any], state: Mapping[str, Tensor], where: str) -> Comparator:
    """A comparator of its options and weights, in evaluation mode; see `PartFiles.rebuild`."""
    return FILES.rebuild(Comparator, options, state, where)
