"""The stage ``noisy_negatives``: classes and outliers are learned together, and written as a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from anomseg.detectors.noisy_negatives.detector import MEASURE_OF, NoisyNegatives
from anomseg.detectors.noisy_negatives.module import NoisyNegativesModule
from anomseg.detectors.noisy_negatives.options import NoisyNegativesConfig
from anomseg.detectors.noisy_negatives.start import with_outlier_outputs
from anomseg.detectors.saved import save_detector
from anomseg.detectors.trained import trained_on
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter
from anomseg.segmenters.outlier_head import NegativesNetwork
from anomseg.segmenters.trainable import EncoderNetwork
from anomseg.training.base_module import TrainingModule
from anomseg.training.network import start_of, trained_network
from anomseg.training.options import NetworkConfig
from anomseg.training.recipe import Recipe, StageConfig
from anomseg.training.segmentation import SegmentationStage


class NoisyNegativesStage(SegmentationStage):
    """Trains the network of `NoisyNegatives` on images, or cached features, with pasted negatives.

    Its options are a segmentation stage's and those of `NoisyNegativesConfig`.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid, or there are no negatives.
    """

    network: NoisyNegativesConfig
    network_config: ClassVar[type[NetworkConfig]] = NoisyNegativesConfig
    learns_outliers: ClassVar[bool] = True

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        kind = config.module.get("network", NoisyNegativesConfig.network)
        if config.module.get("freeze", NoisyNegativesConfig.freeze) == "encoder" and not _has_encoder(kind):
            raise ConfigError(
                f"{config.name}.module: {kind} has no encoder to freeze; choose freeze: segmentation or nothing"
            )
        super().__init__(recipe, config)
        if config.gives != "detector":
            raise ConfigError(f"{self.name} gives a detector; write gives: detector")
        source = self.data.features_stage or config
        if not source.data.get("negatives"):
            raise ConfigError(f"{self.name} learns from negatives; name some in {source.name}.data.negatives")
        factory = SEGMENTERS.get(self.network.network).factory
        if not isinstance(factory, type) or not issubclass(factory, NegativesNetwork):
            raise ConfigError(
                f"{self.name}.module: {self.network.network} has no outputs for outliers; choose one of "
                f"{', '.join(_trainable())}"
            )
        self._kind = factory
        self._started: Segmenter | None = None
        freeze = self.network.freeze
        if freeze == "segmentation" and not (self.network.start or self.data.cached):
            raise ConfigError(
                f"{self.name} gives a trained network an outlier head: add --stages.{self.name}.module.start DIR"
            )
        if freeze == "nothing" and self.data.cached:
            raise ConfigError(
                f"{self.name} reads features that are computed once; choose freeze: encoder or segmentation"
            )
        if self.data.cached:
            self._require_outlier_layers(self.network.options.get("outlier_layers", ()))

    def _check_cached(self) -> None:
        if self.network.freeze != "segmentation":
            super()._check_cached()
        elif self.network.start or self.network.encoder_start:
            raise ConfigError(f"{self.name}.module: its network is that of the features; leave start out")

    def _require_outlier_layers(self, names: Sequence[str]) -> None:
        """Refuse a features stage from whose layers an outlier head could not be computed."""
        layers, made = set(self.data.layers), False
        if issubclass(self._kind, EncoderNetwork):
            made = set(self._kind.complete_reads) <= layers
            names = [name for name in names if name in self._kind.encoder_layers or not made]
        self.data.require_layers([name for name in names if name not in layers], "the outlier head")

    def _segmenter(self) -> Segmenter:
        options, seed = self.network.options, self.recipe.seed
        if self.network.start:
            self._started = trained_network(self.network.start, self.name, self.data.taught, self.network.network)
            return with_outlier_outputs(self._started, options, seed)
        if self.data.cached and self.network.freeze == "segmentation":
            self._started = self.data.host()
            if self._started is None or self._started.registry_name != self.network.network:
                found = self._started.registry_name if self._started else "no network"
                raise CompatibilityError(
                    f"{self.name} gives {self.network.network} a head on the features of {found}; set "
                    f"{self.name}.module.network"
                )
            return with_outlier_outputs(self._started, options, seed)
        return super()._segmenter()

    def _origin(self, segmenter: Segmenter) -> dict[str, Any]:
        """As that of a segmentation stage; what it starts from is told as it was, without the new head."""
        if self.data.cached or self._started is None:
            return super()._origin(segmenter)
        return {**self.data.labelled.withheld(), **start_of(self.network, self._started)}

    def _take_encoder(self, segmenter: Segmenter) -> dict[str, Any]:
        if self.network.freeze == "segmentation":
            assert self._started is not None  # noqa: S101 - the network was made from it
            return dict(self._started.origin)
        return super()._take_encoder(segmenter)

    def _module(self, segmenter: Segmenter, weights: Tensor) -> TrainingModule:
        assert isinstance(segmenter, NegativesNetwork)  # noqa: S101 - the kind was looked at
        frozen = self.network.freeze_encoder or self.data.cached
        sets, seed = self.data.table.sets, self.recipe.seed
        return NoisyNegativesModule(segmenter, sets, weights, self.network, self.optimiser, seed, frozen)

    def train(self, folder: Path, taken: Mapping[str, Path], quiet: bool) -> tuple[Segmenter, dict[str, Any]]:
        """The trained network and the record of its training, which says how."""
        segmenter, summary = super().train(folder, taken, quiet)
        return segmenter, {**summary, "variant": self.network.variant, "freeze": self.network.freeze}

    def write(self, segmenter: Segmenter, out: Path, summary: dict[str, Any]) -> None:
        """Write the detector; what was not trained is not rounded to ``half`` either."""
        if self.network.half:
            trained = segmenter
            if self.network.freeze == "segmentation":
                assert isinstance(segmenter, NegativesNetwork)  # noqa: S101 - the kind was looked at
                assert segmenter.outlier is not None  # noqa: S101 - it has just been trained
                segmenter.outlier.half().float()
            else:
                trained.half().float()
        detector = NoisyNegatives.of(segmenter, measure=MEASURE_OF[self.network.variant])
        frames = self.data.labelled.training_frames()
        detector.fitted_on = trained_on(NoisyNegatives.registry_name, frames, segmenter, summary)
        save_detector(detector, out)


def _has_encoder(name: str) -> bool:
    kind = SEGMENTERS.get(name).factory
    return not (isinstance(kind, type) and issubclass(kind, NegativesNetwork)) or issubclass(kind, EncoderNetwork)


def _trainable() -> list[str]:
    kinds = {name: SEGMENTERS.get(name).factory for name in SEGMENTERS.names("trainable")}
    return [name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, NegativesNetwork)]
