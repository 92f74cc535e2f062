"""Flow directories: ``flow.json`` (kind, options, how it was trained) and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from anomseg.detectors.part_files import PartFiles
from anomseg.detectors.synthetic_outliers.flow.real_nvp import RealNVP

FILES = PartFiles("flow", "flow", RealNVP.registry_name, "give a directory that 'anomseg train camvid-flow' wrote")


def save_flow(flow: RealNVP, folder: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write a flow so that `load_flow` gives it back bit for bit.

    Args:
        flow: The flow.
        folder: Made if missing; an earlier flow in it is replaced.
        meta: JSON-ready record of its training.
    """
    FILES.save(folder, flow.options(), flow.state_dict(), meta)


def is_flow_directory(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_flow`."""
    return FILES.is_directory(path)


def load_flow(folder: str | Path) -> RealNVP:
    """Take back what `save_flow` wrote, in evaluation mode.

    Raises:
        DataError: A file is missing or damaged, or the flow in it has diverged.
        CompatibilityError: The weights do not fit the options.
    """
    return rebuild_flow(*FILES.read(folder), str(folder))


def flow_meta(folder: str | Path) -> dict[str, Any]:
    """What `save_flow` was told of the flow's training."""
    return FILES.meta(folder)


def rebuild_flow(options: Mapping[str, Any], state: Mapping[str, Tensor], where: str) -> RealNVP:
    """A flow of its options and weights, in evaluation mode; see `PartFiles.rebuild`."""
    return FILES.rebuild(RealNVP, options, state, where)
