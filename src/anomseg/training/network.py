"""The network that a stage begins with: random, from an encoder's checkpoint, or one trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import sha256_of_file
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter, load_segmenter
from anomseg.segmenters.catalog import BUNDLED
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.segmenters.saved import WEIGHTS
from anomseg.segmenters.trainable import EncoderNetwork, StartableEncoder
from anomseg.training.label_table import TaughtClasses
from anomseg.training.options import NetworkConfig


def check_network(config: NetworkConfig, stage: str, batch_size: int) -> None:
    """Refuse a network that cannot be trained as it is asked to, before it is built.

    Args:
        config: The network.
        stage: The stage's name, for messages.
        batch_size: Crops a step.

    Raises:
        ConfigError: What is asked does not fit the kind of network.
    """
    kind = SEGMENTERS.get(config.network).factory
    # What a function builds is asked once it is built.
    encoder = not isinstance(kind, type) or issubclass(kind, EncoderNetwork)
    asked = [name for name in ("encoder_start", "freeze_encoder") if getattr(config, name)]
    if asked and not encoder:
        raise ConfigError(
            f"{stage}.module: {asked[0]} is for networks on a published encoder, which {config.network} is not"
        )
    if config.start and config.encoder_start:
        raise ConfigError(f"{stage}.module: give start or encoder_start, not both")
    smallest = getattr(kind, "smallest_batch", 1)
    if batch_size < smallest:
        raise ConfigError(
            f"{stage}.data: {config.network} normalises over the crops of a step; batch_size must be at least "
            f"{smallest}"
        )


def build_network(config: NetworkConfig, stage: str, taught: TaughtClasses, seed: int) -> Segmenter:
    """The network, with the weights that its configuration names.

    Args:
        config: The network.
        stage: The stage's name, for messages.
        taught: The classes that it is to know.
        seed: Of its random weights.

    Raises:
        CompatibilityError: ``start`` is another kind of network, or knows other classes.
        ConfigError: The network has no encoder that ``encoder_start`` could set.
        DataError: A file is missing.
    """
    if config.start:
        return trained_network(config.start, stage, taught, config.network)
    torch.manual_seed(seed)
    segmenter = SEGMENTERS.create(
        config.network, classes=taught.names, palette=taught.palette or None, **dict(config.options)
    )
    start = config.encoder_start
    if start:
        if not isinstance(segmenter, StartableEncoder):
            raise ConfigError(f"{stage}.module: {config.network} has no encoder that encoder_start sets")
        segmenter.load_encoder(load_checkpoint(encoder_checkpoint(start)), start)
    return segmenter


def trained_network(start: str, stage: str, taught: TaughtClasses, kind: str | None = None) -> Segmenter:
    """A network that is trained already.

    Args:
        start: What `load_segmenter` takes.
        stage: The stage's name, for messages.
        taught: The classes that it has to know.
        kind: Registered name that it has to be of; any will do where not given.

    Raises:
        CompatibilityError: It is another kind of network, or knows other classes.
    """
    segmenter = load_segmenter(start)
    if kind is not None and segmenter.registry_name != kind:
        raise CompatibilityError(
            f"{start} is of the network {segmenter.registry_name}, not {kind}; set {stage}.module.network"
        )
    if segmenter.classes != taught.names:
        raise CompatibilityError(
            f"{start} knows other classes ({', '.join(segmenter.classes)}) than {stage} "
            f"teaches ({', '.join(taught.names)})"
        )
    return segmenter


def start_of(config: NetworkConfig, segmenter: Segmenter) -> dict[str, Any]:
    """What a network, not yet trained here, starts from, for its record."""
    found: dict[str, Any] = {}
    frozen = config.freeze_encoder
    if config.encoder_start:
        path = encoder_checkpoint(config.encoder_start)
        name = "bundled" if config.encoder_start == "bundled" else path.name
        found["encoder"] = {"file": name, "sha256": sha256_of_file(path), "frozen": frozen}
    if config.start:
        name = Path(config.start).name
        found["start"] = {"name": name, "sha256": segmenter.fingerprint(), "frozen_encoder": frozen}
    return found


def encoder_checkpoint(start: str) -> Path:
    """The file behind ``encoder_start``.

    Raises:
        DataError: There is none.
    """
    path = BUNDLED / WEIGHTS if start == "bundled" else Path(start)
    if not path.is_file():
        raise DataError(f"no checkpoint at {start}; give the path of a .safetensors or .pth file, or 'bundled'")
    return path
