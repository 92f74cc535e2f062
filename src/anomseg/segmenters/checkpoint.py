"""Reading weights safely: tensors only, never unpickled code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from anomseg.errors import CompatibilityError, DataError


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors or from a ``.pth``/``.pt`` that holds tensors only.

    A ``state_dict`` or ``model`` wrapper and a ``module.`` prefix (data-parallel training) are taken off.

    Args:
        path: The file.

    Returns:
        Tensors by name, floating-point ones as float32.

    Raises:
        DataError: The file is missing, damaged, or would need unpickling.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"no checkpoint at {file}; give the path of a .safetensors or .pth file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - kept out of start-up

            state: object = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{file} holds more than tensors and is not unpickled; save its state dict as safetensors"
        ) from error
    except Exception as error:  # safetensors and torch raise many kinds for damaged files
        raise DataError(f"{file} cannot be read as a checkpoint: {' '.join(str(error).split())[:200]}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{file} holds no state dict of tensors")
    return {
        str(name).removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in state.items()
    }


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict with no key missing, unexpected or of another shape.

    The counters that batch norms keep of their training steps may be absent; nothing reads them.

    Raises:
        CompatibilityError: It does not fit; the message names the first differences.
    """
    wanted = module.state_dict()
    given = dict(state)
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):
            given.setdefault(name, value)
    missing = sorted(set(wanted) - set(given))
    unexpected = sorted(set(given) - set(wanted))
    shapes = [
        f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    problems = [
        f"{label} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for label, names in (("missing", missing), ("unexpected", unexpected), ("shape:", shapes))
        if names
    ]
    if problems:
        raise CompatibilityError(f"{what} is of another network: {'; '.join(problems)}")
    module.load_state_dict(given)
