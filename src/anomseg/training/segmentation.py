"""The stage that trains a segmenter: what it reads, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightning
import torch
from torch import Tensor

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter, save_segmenter
from anomseg.segmenters.trainable import EncoderNetwork, MaskSupervision
from anomseg.training.base_module import TrainingModule
from anomseg.training.data_of_stage import StageData
from anomseg.training.loop import run_training
from anomseg.training.mask_module import MaskModule
from anomseg.training.module import SegmentationModule
from anomseg.training.network import build_network, check_network, start_of
from anomseg.training.options import NetworkConfig, OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure


class SegmentationStage:
    """Trains one segmenter from labelled frames, or its head from the features of its frozen encoder.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.
    """

    network_config: ClassVar[type[NetworkConfig]] = NetworkConfig
    """What its ``module`` can be told."""
    learns_outliers: ClassVar[bool] = False
    """Whether its loss reaches an outlier head and an extra class."""

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        self.network = configure(self.network_config, config.module, f"{config.name}.module")
        self.data = StageData(recipe, config)
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{config.name}.trainer")
        check_network(self.network, self.name, self.data.batch_size)
        if self.data.cached:
            self._check_cached()
        options = self.network.options
        if not self.learns_outliers and (options.get("outlier_layers") or options.get("extra_class")):
            raise ConfigError(
                f"{self.name} teaches no outliers, so leave outlier_layers and extra_class out of its options; "
                "the stage noisy_negatives trains them"
            )

    def _check_cached(self) -> None:
        kind = SEGMENTERS.get(self.network.network).factory
        if not isinstance(kind, type) or not issubclass(kind, EncoderNetwork):
            raise ConfigError(f"{self.name}.module: {self.network.network} has no encoder whose features could be read")
        if self.network.start or self.network.encoder_start:
            raise ConfigError(
                f"{self.name}.module: its encoder is that of the features; leave start and encoder_start out"
            )
        self.data.require_layers(kind.head_reads, f"the head of {self.network.network}")

    def check(self) -> None:
        """Find the data, and what the network starts from, before any training starts."""
        start = self.network.encoder_start
        if self.network.freeze_encoder and not (start or self.network.start or self.data.cached):
            raise ConfigError(
                f"{self.recipe.name} trains a head on an encoder that is trained already: add "
                f"--stages.{self.name}.module.encoder_start FILE"
            )
        if start:
            self._segmenter()
        self.data.check()

    def _segmenter(self) -> Segmenter:
        """The network before training; its encoder is not set yet where features are read."""
        return build_network(self.network, self.name, self.data.taught, self.recipe.seed)

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off; see `Stage.run`.

        Returns:
            What was trained: steps, images seen, seconds, validation figures.
        """
        segmenter, summary = self.train(folder, taken, quiet)
        self.write(segmenter, out, summary)
        return summary

    def train(self, folder: Path, taken: Mapping[str, Path], quiet: bool) -> tuple[Segmenter, dict[str, Any]]:
        """The trained network, and the record of its training."""
        self.data.bind(taken)
        lightning.seed_everything(self.recipe.seed, verbose=False)
        segmenter = self._segmenter()
        origin = self._origin(segmenter)
        if self.data.cached:
            segmenter.origin = origin = self._take_encoder(segmenter)
        weights = self.data.row_weights(self.network.balance)
        if self.optimiser.channels_last:
            segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        trained = run_training(
            self._module(segmenter, weights),
            self.data.crops(),
            self.data.validation(segmenter),
            folder=folder,
            batch_size=self.data.batch_size,
            workers=self.data.workers,
            quiet=quiet,
        )
        summary = {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            **trained,
            **self.data.record(),
            **origin,
        }
        segmenter.random_weights = False  # they are learned now
        return segmenter.eval(), summary

    def _module(self, segmenter: Segmenter, weights: Tensor) -> TrainingModule:
        """Loss and figures of a network, given the weight of each row of the label table."""
        kind = MaskModule if isinstance(segmenter, MaskSupervision) else SegmentationModule
        frozen = self.network.freeze_encoder or self.data.cached
        return kind(segmenter, self.data.table.sets, weights, self.network, self.optimiser, self.recipe.seed, frozen)

    def write(self, segmenter: Segmenter, out: Path, summary: dict[str, Any]) -> None:
        """Write the result."""
        save_segmenter(segmenter, out, half=self.network.half, meta=summary)

    def _origin(self, segmenter: Segmenter) -> dict[str, Any]:
        """What the network, not yet trained here, is not taught, and what it starts from."""
        if self.data.cached:
            return {}
        return {**self.data.labelled.withheld(), **start_of(self.network, segmenter)}

    def _take_encoder(self, segmenter: Segmenter) -> dict[str, Any]:
        """Give the network the encoder whose features it is trained on, and say where that is from."""
        host = self.data.host()
        if not isinstance(host, EncoderNetwork) or not isinstance(segmenter, EncoderNetwork):
            raise CompatibilityError(f"{self.name} needs the features of a network with an encoder")
        if host.registry_name != segmenter.registry_name:
            raise CompatibilityError(
                f"{self.name} trains {segmenter.registry_name} on the features of {host.registry_name}; set "
                f"{self.name}.module.network"
            )
        segmenter.load_encoder(host.encoder.state_dict(), "the network behind the features")
        if segmenter.size != host.size or not _encode_alike(segmenter, host):
            raise CompatibilityError(
                f"{self.name} trains a network that sees images otherwise than the one behind its features (working "
                f"size {segmenter.size} and {host.size}); give {self.name}.module.options the encoder's options and "
                "the size of that one"
            )
        return dict(host.origin)


def _encode_alike(one: EncoderNetwork, other: EncoderNetwork) -> bool:
    """Whether two networks' encoders, of equal weights, also compute the same: strides and activations have none."""
    side = 8 * max(one.divisor, other.divisor)
    probe = torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side)
    training = one.training
    with torch.no_grad():
        maps = [network.eval().encoder_maps(probe) for network in (one, other)]
    one.train(training)
    return all(torch.equal(found, maps[1][name]) for name, found in maps[0].items())
