"""Networks that are no segmenters, carried in the state of a detector: weights, and options and record as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError, DataError

CONFIG = "config"
WEIGHTS = "weights"


class Carried(Protocol):
    """A network that a state can carry."""

    options: dict[str, Any]
    """Constructor arguments, JSON-ready."""
    meta: dict[str, Any]
    """The record that it was saved with, JSON-ready."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Its weights by name."""
        ...


Network = TypeVar("Network", bound=Carried)


def packed(role: str, network: Carried) -> dict[str, Tensor]:
    """A network as tensors of a state.

    Args:
        role: What it is to the detector, such as ``generator``; names begin with it.
        network: The network.
    """
    text = json.dumps({"options": network.options, "meta": network.meta}, sort_keys=True)
    config = torch.tensor(list(text.encode()), dtype=torch.uint8)
    weights = {f"{role}.{WEIGHTS}.{name}": tensor for name, tensor in network.state_dict().items()}
    return {f"{role}.{CONFIG}": config, **weights}


def unpacked(
    role: str,
    state: Mapping[str, Tensor],
    build: Callable[[Mapping[str, Any], Mapping[str, Tensor], str], Network],
    who: str,
) -> Network | None:
    """Take back what `packed` gave.

    Args:
        role: As it was packed.
        state: A state, of which only tensors of this role are read.
        build: Makes the network of options, weights and a word on where they are from.
        who: Name of the detector, for messages.

    Returns:
        The network; None where the state carries none of this role.

    Raises:
        CompatibilityError: Options, record or weights are missing or damaged.
    """
    own = {name.removeprefix(f"{role}."): tensor for name, tensor in state.items() if name.startswith(f"{role}.")}
    if not own:
        return None
    where = f"the {role} in the state of {who}"
    try:
        told = json.loads(bytes(own[CONFIG].to(torch.uint8).tolist()))
        options, meta = dict(told["options"]), dict(told["meta"])
    except (KeyError, ValueError, TypeError) as error:
        raise CompatibilityError(f"{where} is damaged: its options cannot be read; save the detector again") from error
    prefix = f"{WEIGHTS}."
    weights = {name.removeprefix(prefix): tensor for name, tensor in own.items() if name.startswith(prefix)}
    try:
        network = build(options, weights, where)
    except DataError as error:
        raise CompatibilityError(str(error)) from error
    network.meta = meta
    return network
