"""Optimiser and schedule of a network, as a recipe names them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, Adamax, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from anomseg.segmenters.outlier_head import NegativesNetwork
from anomseg.segmenters.trainable import StartableEncoder
from anomseg.training.options import OptimiserConfig


def parameter_groups(network: nn.Module, config: OptimiserConfig) -> list[dict[str, Any]]:
    """Trained parameters by learning rate and weight decay; frozen ones are left out.

    Args:
        network: What is trained.
        config: What to do.

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``.
    """
    encoder = set(network.encoder.parameters()) if isinstance(network, StartableEncoder) else set()
    outlier = (
        {*network.outlier.parameters(), *network.outlier_auxiliary.parameters()}
        if isinstance(network, NegativesNetwork) and network.outlier is not None
        else set()
    )
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            factor = config.encoder_rate if parameter in encoder else 1.0
            rate = config.learning_rate * (config.outlier_rate if parameter in outlier else factor)
            decay = config.weight_decay if parameter.ndim > 1 or config.decay_all else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def build_optimiser(network: nn.Module, config: OptimiserConfig) -> tuple[Optimizer, LRScheduler]:
    """The optimiser of a network and its schedule, to be stepped each iteration."""
    groups = parameter_groups(network, config)
    optimiser: Optimizer
    if config.optimiser == "sgd":
        optimiser = SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)
    else:
        kind = {"adam": Adam, "adamax": Adamax, "adamw": AdamW}[config.optimiser]
        optimiser = kind(groups, lr=config.learning_rate)
    if config.schedule == "constant":
        return optimiser, LambdaLR(optimiser, lambda _: 1.0)
    if config.schedule == "poly":
        return optimiser, LambdaLR(optimiser, lambda step: max(1 - step / config.steps, 0.0) ** config.power)
    return optimiser, OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in groups],
        total_steps=config.steps + 1,
        pct_start=config.warmup,
        cycle_momentum=False,
    )


def scale_rates(checkpoint: dict[str, Any], factor: float) -> None:
    """Multiply every learning rate in the saved states of optimisers and schedules.

    Args:
        checkpoint: Lightning's, changed in place.
        factor: New rate over old one.
    """
    for state in checkpoint.get("optimizer_states", ()):
        for group in state["param_groups"]:
            group.update({key: group[key] * factor for key in ("lr", "initial_lr", "max_lr", "min_lr") if key in group})
    for state in checkpoint.get("lr_schedulers", ()):
        state.update({key: [one * factor for one in state[key]] for key in ("base_lrs", "_last_lr") if key in state})
