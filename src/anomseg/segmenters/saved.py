"""Segmenter directories: ``segmenter.json`` (name, options, label of what it is) and ``model.safetensors``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomseg._version import __version__
from anomseg.errors import CompatibilityError, DataError
from anomseg.files import atomic_write, read_json, write_json
from anomseg.registry import SEGMENTERS, convert_options, option_names, require_options
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.checkpoint import load_checkpoint, load_strictly

CONFIG, WEIGHTS = "segmenter.json", "model.safetensors"
_ORIGIN = ("start", "encoder")  # what training says of the weights that it started from

# Kinds that a directory of ours cannot hold, and what to keep instead.
_KEPT_BY_OWNER = {
    **dict.fromkeys(("module", "tiled", "accelerated"), "save the network it wraps"),
    "onnx": "keep its .onnx file and give onnx:NETWORK.onnx",
}


def save_segmenter(
    segmenter: Segmenter, directory: str | Path, *, half: bool = False, meta: dict[str, Any] | None = None
) -> None:
    """Write a segmenter so that `load_saved_segmenter` gives it back.

    Args:
        segmenter: A registered kind of network.
        directory: Made if missing; an earlier segmenter in it is replaced file by file, atomically.
        half: Store floating-point weights as float16, half the size.
        meta: Anything worth keeping beside it, such as how it was trained.

    Raises:
        CompatibilityError: The network cannot be rebuilt from options (a wrapped callable).
    """
    from safetensors.torch import save  # noqa: PLC0415 - kept out of start-up

    name = segmenter.registry_name
    if name not in SEGMENTERS or name in _KEPT_BY_OWNER:
        mend = _KEPT_BY_OWNER.get(name, "register its kind first")
        raise CompatibilityError(f"{name} segmenters cannot be saved; {mend}")
    target = Path(directory)
    state = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in segmenter.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_write(target / WEIGHTS) as stream:
        stream.write(save(state, metadata={"format": "pt"}))
    write_json(
        target / CONFIG,
        {
            "schema": 1,
            "segmenter": segmenter.registry_name,
            "options": segmenter.config(),
            "library_version": __version__,
            "meta": {**segmenter.origin, **(meta or {})},
        },
    )


def is_segmenter_directory(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_segmenter`."""
    return (Path(path) / CONFIG).is_file()


def load_saved_segmenter(directory: str | Path, **overrides: Any) -> Segmenter:
    """Rebuild a saved segmenter.

    Args:
        directory: What `save_segmenter` wrote.
        **overrides: Options that replace saved ones, such as ``size``.

    Raises:
        DataError: A file is missing or damaged.
        CompatibilityError: The weights do not fit the options.
        ConfigError: An unknown network or option.
    """
    folder = Path(directory)
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("segmenter"), str):
        raise DataError(f"{folder / CONFIG} names no segmenter; was it written by anomseg?")
    entry = SEGMENTERS.get(config["segmenter"])
    if entry.name in _KEPT_BY_OWNER:
        raise DataError(f"{folder / CONFIG} names {entry.name!r}, which holds no network of its own")
    saved = config.get("options", {})
    if not isinstance(saved, dict):
        raise DataError(f"the options in {folder / CONFIG} are no JSON object; was it written by anomseg?")
    options = {**saved, **overrides}
    known = option_names(entry.factory) or []
    # A path in a file must never make us read other files, so only shape options pass.
    options = {key: value for key, value in options.items() if key != entry.path_option}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise DataError(
            f"{folder / CONFIG} has the unknown option {unknown[0]!r} for {entry.name}; known: {', '.join(known)}"
        )
    require_options(entry.factory, options, f"{folder / CONFIG}")
    segmenter = entry.factory(**convert_options(entry.factory, options, f"{folder / CONFIG}"))
    load_strictly(segmenter, load_checkpoint(folder / WEIGHTS), str(folder / WEIGHTS))
    meta = config.get("meta")
    told = meta if isinstance(meta, dict) else {}
    segmenter.origin = {key: told[key] for key in _ORIGIN if isinstance(told.get(key), dict)}
    return segmenter.eval()
