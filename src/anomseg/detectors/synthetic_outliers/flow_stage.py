"""The stage ``flow``: a Real NVP learns the density of in-distribution patches; labels are not looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomseg.detectors.synthetic_outliers.flow import RealNVP, save_flow
from anomseg.detectors.synthetic_outliers.flow.baselines import gaussian_bits, histogram_bits
from anomseg.detectors.synthetic_outliers.flow_data import FixedPatches, SizedCrops, require_inliers
from anomseg.detectors.synthetic_outliers.flow_module import FlowModule
from anomseg.detectors.trained import trained_on
from anomseg.errors import ConfigError
from anomseg.training.bounds import check_bounds
from anomseg.training.labelled import FrameStore
from anomseg.training.labelled_data import LabelledData
from anomseg.training.loop import run_training
from anomseg.training.options import OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure

GIVES = "flow"
DETECTOR = "flow_likelihood"
_COUNTED = 64
"""Images of each set that the trivial coders look at."""


@dataclass(frozen=True)
class FlowConfig:
    """A flow and the patches that it learns.

    Attributes:
        sizes: Sides of the square crops, one of them drawn for each step; multiples of what the flow divides by.
        scales: Of `RealNVP`, as are the following.
        width: Channels of the couplings' networks.
        blocks: Residual blocks of them.
        checkerboards: Checkerboard couplings of a scale.
        channelwise: Couplings of channel halves of a scale.
        last: Checkerboard couplings of the last scale.
        constraint: Of the logit transform.
        patches: Patches of each size that every validation image gives.
    """

    sizes: Sequence[int] = (32, 48, 64)
    scales: int = 2
    width: int = 32
    blocks: int = 2
    checkerboards: int = 3
    channelwise: int = 3
    last: int = 4
    constraint: float = 0.9
    patches: int = 2

    def __post_init__(self) -> None:
        check_bounds("patches", self.patches, 1)
        if not self.sizes:
            raise ConfigError("sizes is empty; name at least one side of a crop")
        for side in self.sizes:
            self.build().check_size((side, side))

    def build(self) -> RealNVP:
        """A new flow with random weights, the identity on logits."""
        return RealNVP(
            scales=self.scales,
            width=self.width,
            blocks=self.blocks,
            checkerboards=self.checkerboards,
            channelwise=self.channelwise,
            last=self.last,
            constraint=self.constraint,
        )


class FlowStage:
    """Trains a `RealNVP` by maximum likelihood on crops of the training images, held-out classes left out.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        config.require_gives(GIVES)
        config.require_no_takes()
        self.flow = configure(FlowConfig, config.module, f"{config.name}.module")
        self.data = LabelledData(recipe, config)
        require_inliers(self.data, self.name)
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{config.name}.trainer")
        largest = max(self.flow.sizes)
        if min(self.data.augment.crop) < largest:
            raise ConfigError(
                f"{self.name}.module.sizes asks for {largest}, and crops are {list(self.data.augment.crop)}; set "
                f"{self.name}.data.augment.crop to [{largest}, {largest}]"
            )

    def check(self) -> None:
        """Find the data, before any training starts."""
        self.data.stores  # noqa: B018 - found now, so that a wrong folder is told now

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off; see `Stage.run`.

        Returns:
            What was trained, and under ``baselines`` the bits per dimension of coders that see single pixels only.
        """
        del taken
        torch.manual_seed(self.recipe.seed)
        flow, sizes, data = self.flow.build(), self.flow.sizes, self.data
        batch_size = data.config.batch_size
        trained = run_training(
            FlowModule(flow, sizes, self.optimiser, self.recipe.seed, folder),
            SizedCrops(data.crops(), sizes, batch_size, data.seed),
            FixedPatches(data.stores[-1], sizes, self.flow.patches, data.seed),
            folder=folder,
            batch_size=batch_size,
            workers=data.config.workers,
            quiet=quiet,
        )
        known, told = _pixels(data.stores[:-1]), _pixels(data.stores[-1:])
        summary = {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            **trained,
            **data.record(),
            "baselines": {
                "uniform": 8.0,
                "histogram": round(histogram_bits(known, told), 4),
                "gaussian": round(gaussian_bits(known, told), 4),
            },
        }
        fitted_on = trained_on(DETECTOR, data.training_frames(), None, summary)
        save_flow(flow.cpu().eval(), out, {"fitted_on": fitted_on})
        return summary


def _pixels(stores: Sequence[FrameStore]) -> np.ndarray:
    """Every seventh pixel ``(N, 3)`` uint8 of some of the images, evenly drawn from each store."""
    found = []
    for store in stores:
        for index in np.linspace(0, len(store) - 1, min(len(store), _COUNTED)).astype(int):
            found.append(store[int(index)][0].reshape(-1, 3)[::7])
    return np.concatenate(found)
