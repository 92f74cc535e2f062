"""The stage ``pans``: a segmenter with a cosine classifier is trained as ever, and written as a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomseg.detectors.pans.detector import PAnS
from anomseg.detectors.saved import save_detector
from anomseg.detectors.trained import trained_on
from anomseg.errors import ConfigError
from anomseg.segmenters import Segmenter
from anomseg.training.recipe import Recipe, StageConfig
from anomseg.training.segmentation import SegmentationStage


class PAnSStage(SegmentationStage):
    """Trains the network of `PAnS`: ``CE(up(z), y) + 0.4 CE(up(z_aux), y)``, z the cosines times 10, void left out.

    All of its options are a segmentation stage's, see `SegmentationStage`; the network's classifier must be a cosine
    one.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid, or the network has no prototypes.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        super().__init__(recipe, config)
        if config.gives != "detector":
            raise ConfigError(f"{self.name} gives a detector; write gives: detector")

    def check(self) -> None:
        """Find the data and build the network, before any training starts."""
        super().check()
        if "prototypes" not in self._segmenter().provides:
            raise ConfigError(
                f"{self.name}.module: PAnS needs a network with prototypes, and the classifier of this "
                f"{self.network.network} is not a cosine one; add --stages.{self.name}.module.options.classifier cosine"
            )

    def write(self, segmenter: Segmenter, out: Path, summary: dict[str, Any]) -> None:
        """Write the detector, its network in float32 or rounded to ``half``, as a segmenter is."""
        if self.network.half:
            segmenter.half().float()
        detector = PAnS.of(segmenter)
        frames = self.data.labelled.training_frames()
        detector.fitted_on = trained_on(PAnS.registry_name, frames, segmenter, summary)
        save_detector(detector, out)
