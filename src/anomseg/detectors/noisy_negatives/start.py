"""A network that is trained already, with the outputs that negatives are learned with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter
from anomseg.segmenters.outlier_head import NegativesNetwork

OWN = ("outlier_layers", "outlier_width", "extra_class")
SIZE = "size"
"""Working size; weights do not depend on it."""
_HEADS = ("outlier.", "outlier_auxiliary.")


def with_outlier_outputs(network: Segmenter, options: Mapping[str, Any], seed: int) -> NegativesNetwork:
    """The same network with other outputs for outliers; all weights that both have are kept.

    Args:
        network: One of our trainable kinds.
        options: Its options; only `OWN` and `SIZE` may say something new.
        seed: Of the new outputs' random weights.

    Raises:
        CompatibilityError: This kind of network has no such outputs.
        ConfigError: Another option is not the network's.
    """
    if not isinstance(network, NegativesNetwork):
        name = network.title or network.registry_name
        raise CompatibilityError(
            f"{name} cannot be given an outlier head; start from a network that 'anomseg train' wrote"
        )
    config = network.config()
    for name, value in options.items():
        if name not in (*OWN, SIZE) and name in config and _plain(config[name]) != _plain(value):
            raise ConfigError(
                f"options.{name} of the network to start from is {config[name]}, not {value}; leave it out"
            )
    torch.manual_seed(seed)
    kept = {name: value for name, value in config.items() if name not in OWN}
    new = {name: value for name, value in options.items() if name in (*OWN, SIZE) or name not in config}
    grown = SEGMENTERS.create(network.registry_name, **{**kept, **new})
    assert isinstance(grown, NegativesNetwork)  # noqa: S101 - it is of the same kind
    old, state = network.state_dict(), grown.state_dict()
    for name, value in state.items():
        given = old.get(name)
        if given is not None and given.shape == value.shape:
            value.copy_(given)
        elif given is not None and given.shape[1:] == value.shape[1:] and not name.startswith(_HEADS):
            count = min(len(given), len(value))  # a class more, or less, which comes last
            value[:count] = given[:count]
    return grown


def _plain(value: Any) -> Any:
    """An option as it would be written: sequences are lists."""
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
