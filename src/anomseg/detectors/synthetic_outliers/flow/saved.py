"""Flow directories: ``flow.json`` (kind, options, how it was trained) and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomseg._version import __version__
from anomseg.detectors.synthetic_outliers.flow.real_nvp import RealNVP
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import atomic_write, read_json, sha256_of_file, write_json
from anomseg.registry import convert_options
from anomseg.segmenters.checkpoint import load_checkpoint

CONFIG, WEIGHTS = "flow.json", "model.safetensors"
SCHEMA = 1


def save_flow(flow: RealNVP, folder: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write a flow so that `load_flow` gives it back bit for bit.

    Args:
        flow: The flow.
        folder: Made if missing; an earlier flow in it is replaced.
        meta: JSON-ready record of its training.
    """
    from safetensors.torch import save  # noqa: PLC0415 - kept out of start-up

    target = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in flow.state_dict().items()}
    with atomic_write(target / WEIGHTS) as stream:
        stream.write(save(state, metadata={"format": "pt"}))
    write_json(
        target / CONFIG,
        {
            "schema": SCHEMA,
            "flow": flow.registry_name,
            "options": flow.options(),
            "sha256": sha256_of_file(target / WEIGHTS),
            "library_version": __version__,
            "meta": dict(meta or {}),
        },
    )


def is_flow_directory(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_flow`."""
    return (Path(path) / CONFIG).is_file()


def load_flow(folder: str | Path) -> RealNVP:
    """Take back what `save_flow` wrote, in evaluation mode.

    Raises:
        DataError: A file is missing or damaged, or the flow in it has diverged.
        CompatibilityError: The weights do not fit the options.
    """
    place = Path(folder)
    if not is_flow_directory(place):
        raise DataError(f"{place} holds no {CONFIG}; give a directory that 'anomseg train camvid-flow' wrote")
    config = _read_config(place / CONFIG)
    if not (place / WEIGHTS).is_file():
        raise DataError(f"{place / WEIGHTS} is missing; copy the whole directory, or train the flow again")
    if sha256_of_file(place / WEIGHTS) != config.get("sha256"):
        raise DataError(f"{place / WEIGHTS} is damaged: its sha256 is not the one in {CONFIG}; train the flow again")
    return rebuild_flow(config["options"], load_checkpoint(place / WEIGHTS), str(place))


def flow_meta(folder: str | Path) -> dict[str, Any]:
    """What `save_flow` was told of the flow's training."""
    meta = _read_config(Path(folder) / CONFIG).get("meta")
    return meta if isinstance(meta, dict) else {}


def rebuild_flow(options: Mapping[str, Any], state: Mapping[str, Tensor], where: str) -> RealNVP:
    """A flow of its options and weights, in evaluation mode.

    Args:
        options: Of `RealNVP`.
        state: Its weights.
        where: Where they come from, for messages.

    Raises:
        DataError: An unknown option or one of another type, or weights that are not finite.
        CompatibilityError: The weights do not fit the options.
    """
    try:
        flow = RealNVP(**convert_options(RealNVP, options, where))
    except (ConfigError, TypeError) as error:
        raise DataError(f"{where}: the flow's options are damaged ({error}); train the flow again") from error
    own = flow.state_dict()
    wrong = sorted(name for name in own.keys() | state.keys() if _shape(own, name) != _shape(state, name))
    if wrong:
        raise CompatibilityError(f"{where}: the weights do not fit the flow's options (first: {wrong[0]})")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise DataError(f"{where}: the flow's weights are not finite, it has diverged; train it again")
    flow.load_state_dict(dict(state))
    return flow.eval()


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path)
    if not isinstance(config, dict) or config.get("flow") != RealNVP.registry_name:
        raise DataError(f"{path} names no flow; was it written by anomseg?")
    if config.get("schema") != SCHEMA:
        raise DataError(f"{path} has schema {config.get('schema')!r}, this version reads {SCHEMA}; update anomseg")
    if not isinstance(config.get("options"), dict):
        raise DataError(f"{path} is damaged: its options are no JSON object; train the flow again")
    return config
