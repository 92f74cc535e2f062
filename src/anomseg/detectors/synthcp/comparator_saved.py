"""Comparator directories: ``comparator.json`` (options, how it was trained) and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomseg._version import __version__
from anomseg.detectors.synthcp.comparator import Comparator
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import atomic_write, read_json, sha256_of_file, write_json
from anomseg.registry import convert_options
from anomseg.segmenters.checkpoint import load_checkpoint

CONFIG, WEIGHTS = "comparator.json", "model.safetensors"
SCHEMA = 1


def save_comparator(comparator: Comparator, folder: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write a comparator so that `load_comparator` gives it back bit for bit.

    Args:
        comparator: The comparator.
        folder: Made if missing; an earlier comparator in it is replaced.
        meta: JSON-ready record: ``classes`` (the names, in the order of the channels), ``measure`` (what its quality
            estimates: ``iou`` or ``dice``), and how it was trained.
    """
    from safetensors.torch import save  # noqa: PLC0415 - kept out of start-up

    target = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in comparator.state_dict().items()}
    with atomic_write(target / WEIGHTS) as stream:
        stream.write(save(state, metadata={"format": "pt"}))
    write_json(
        target / CONFIG,
        {
            "schema": SCHEMA,
            "network": comparator.kind,
            "options": comparator.options,
            "sha256": sha256_of_file(target / WEIGHTS),
            "library_version": __version__,
            "meta": dict(meta or {}),
        },
    )


def is_comparator_directory(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_comparator`."""
    return (Path(path) / CONFIG).is_file()


def load_comparator(folder: str | Path) -> Comparator:
    """Take back what `save_comparator` wrote, in evaluation mode, its record as ``meta``.

    Raises:
        DataError: A file is missing or damaged.
        CompatibilityError: The weights do not fit the options.
    """
    place = Path(folder)
    config = _read_config(place)
    if not (place / WEIGHTS).is_file():
        raise DataError(f"{place / WEIGHTS} is missing; copy the whole directory, or train the comparator again")
    if sha256_of_file(place / WEIGHTS) != config.get("sha256"):
        raise DataError(f"{place / WEIGHTS} is damaged: its sha256 is not the one in {CONFIG}; copy it again")
    comparator = rebuild_comparator(config["options"], load_checkpoint(place / WEIGHTS), str(place))
    comparator.meta = comparator_meta(place)
    return comparator


def comparator_meta(folder: str | Path) -> dict[str, Any]:
    """What `save_comparator` was told of a comparator."""
    meta = _read_config(Path(folder)).get("meta")
    return meta if isinstance(meta, dict) else {}


def rebuild_comparator(options: Mapping[str, Any], state: Mapping[str, Tensor], where: str) -> Comparator:
    """A comparator of its options and weights, in evaluation mode.

    Args:
        options: Of `Comparator`.
        state: Its weights.
        where: Where they come from, for messages.

    Raises:
        DataError: An unknown option or one of another type, or weights that are not finite.
        CompatibilityError: The weights do not fit the options.
    """
    try:
        comparator = Comparator(**convert_options(Comparator, options, where))
    except (ConfigError, TypeError) as error:
        raise DataError(f"{where}: the comparator's options are damaged ({error}); train it again") from error
    own = comparator.state_dict()
    wrong = sorted(name for name in own.keys() | state.keys() if _shape(own, name) != _shape(state, name))
    if wrong:
        raise CompatibilityError(f"{where}: the weights do not fit the comparator's options (first: {wrong[0]})")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise DataError(f"{where}: the comparator's weights are not finite, it has diverged; train it again")
    comparator.load_state_dict(dict(state))
    return comparator.eval()


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise DataError(f"{folder} holds no {CONFIG}; give the directory of a comparator that 'anomseg train' wrote")
    config = read_json(path)
    if not isinstance(config, dict) or config.get("network") != Comparator.kind:
        raise DataError(f"{path} names no comparator; was it written by anomseg?")
    if config.get("schema") != SCHEMA:
        raise DataError(f"{path} has schema {config.get('schema')!r}, this version reads {SCHEMA}; update anomseg")
    if not isinstance(config.get("options"), dict):
        raise DataError(f"{path} is damaged: its options are no JSON object; train the comparator again")
    return config
