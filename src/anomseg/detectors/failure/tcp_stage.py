"""The stage ``tcp``: a head learns what probability a network gives to the true class."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.failure.tcp import TCP
from anomseg.detectors.failure.tcp_head import TCPHead
from anomseg.detectors.features import AUTO, default_feature
from anomseg.detectors.saved import check_writable, save_detector
from anomseg.detectors.targets import ClassTargets, cells_inside
from anomseg.detectors.trained import trained_on
from anomseg.errors import CompatibilityError, ConfigError, DataError, unknown_name
from anomseg.segmenters import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import make_scene
from anomseg.training.base_module import FEATURES, Sample, TrainingModule, features_of
from anomseg.training.bounds import check_bounds
from anomseg.training.feature_cache import CachedCrops, CachedImages, FeatureCache, Kind
from anomseg.training.folds import Folds
from anomseg.training.labelled import FrameStore
from anomseg.training.labelled_data import LabelledData
from anomseg.training.loop import run_training
from anomseg.training.network import trained_network
from anomseg.training.options import OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure
from anomseg.types import VOID, Frame

TARGET = "target"
NOWHERE = -1.0
"""Target of a cell whose class is not known."""


@dataclass(frozen=True)
class TCPConfig:
    """A network, and the head that learns of it.

    Attributes:
        start: The saved segmenter whose failures are to be found; it is not trained.
        feature: Name of the feature map that the head reads, ``auto`` as `default_feature`.
        hidden: Channels of the head.
        side: Side of its convolutions.
        folds: A directory of out-of-fold predictions of the training images, whose probabilities are then learned
            instead of the network's own; not given where an earlier stage makes them.
    """

    start: str | None = None
    feature: str = AUTO
    hidden: int = 64
    side: int = 3
    folds: str | None = None

    def __post_init__(self) -> None:
        check_bounds("hidden", self.hidden, 1)
        check_bounds("side", self.side, 1)
        if self.side % 2 == 0:
            raise ConfigError(f"side must be odd, got {self.side}")


class TCPModule(TrainingModule):
    """The mean squared error over the cells whose class is known.

    Args:
        head: What is trained.
        optimiser: How to train.
        seed: Seed of whatever is drawn while training.
    """

    def __init__(self, head: TCPHead, optimiser: OptimiserConfig, seed: int) -> None:
        super().__init__(optimiser, seed)
        self.head = head

    @property
    def trained(self) -> nn.Module:
        """The head."""
        return self.head

    def loss_of(self, batch: Sample) -> Tensor:
        """The mean squared error of a batch."""
        (features,) = features_of(batch).values()
        target = batch[TARGET].float()
        known = target != NOWHERE
        wrong = (self.head(features).float() - target) ** 2
        return (wrong * known).sum() / known.sum().clamp_min(1)

    def validation_step(self, batch: Sample, index: int) -> None:
        """The mean squared error of one image."""
        del index
        self.tell("val_loss", self.loss_of(batch))


class TCPStage:
    """Trains a `TCPHead` on whole images and writes the detector ``tcp``.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        if config.gives != "detector":
            raise ConfigError(f"{self.name} gives a detector; write gives: detector")
        self.tcp = configure(TCPConfig, config.module, f"{self.name}.module")
        self.data = LabelledData(recipe, config)
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{self.name}.trainer")
        if len(self.data.sources) != 1 or self.data.negatives is not None or config.data.get("augment"):
            raise ConfigError(f"{self.name}.data: the head learns on the whole images of one source, as they are")
        kinds = {stage.name: stage.stage for stage in recipe.stages}
        self._folds_stage = next((name for name in config.takes if kinds[name] == "folds"), None)

    def check(self) -> None:
        """Find network, predictions and data, before any training starts."""
        if not self.tcp.start:
            raise ConfigError(
                f"{self.name} learns where a trained network fails: add --stages.{self.name}.module.start DIR"
            )
        self._network()
        if self.tcp.folds:
            self._matched(Folds(self.tcp.folds))
        self.data.stores  # noqa: B018 - found now, so that a wrong folder is told now

    def _network(self) -> tuple[Segmenter, str]:
        assert self.tcp.start is not None  # noqa: S101 - asked for before
        segmenter = trained_network(self.tcp.start, self.name, self.data.taught).eval()
        feature = default_feature(segmenter) if self.tcp.feature == AUTO else self.tcp.feature
        if feature is None or feature not in segmenter.feature_info:
            kind = f"feature of {segmenter.registry_name}"
            raise unknown_name(kind, feature or AUTO, segmenter.feature_info, "segmenter.feature_info")
        if segmenter.size is None and self.data.config.batch_size > 1:
            raise ConfigError(
                f"{self.name}.data.batch_size: this network keeps each image's own size, so that images may not batch; "
                "set it to 1"
            )
        return segmenter, feature

    def _matched(self, folds: Folds) -> Folds:
        if folds.classes != self.data.taught.names:
            raise CompatibilityError(
                f"{folds.folder} predicts other classes ({', '.join(folds.classes)}) than {self.name} teaches "
                f"({', '.join(self.data.taught.names)})"
            )
        folds.match(self.data.stores[0].frames)
        missing = [frame.id for frame in self.data.stores[0].frames if frame.id not in set(folds.ids)]
        if missing:
            raise DataError(f"{folds.folder} does not predict frame {missing[0]}; give the data that it was made of")
        return folds

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Compute features and targets, train, or go on where a stopped run left off; see `Stage.run`."""
        check_writable(out)
        began = time.perf_counter()
        segmenter, feature = self._network()
        place = taken[self._folds_stage] if self._folds_stage else self.tcp.folds
        folds = self._matched(Folds(place)) if place else None
        cache = FeatureCache(folder / "samples")
        train, validation = self.data.stores
        self._fill(cache, "crops", train, segmenter, feature, folds, quiet)
        self._fill(cache, "validation", validation, segmenter, feature, None, quiet)
        prepared = time.perf_counter() - began
        torch.manual_seed(self.recipe.seed)
        head = TCPHead(segmenter.feature_info[feature].channels, self.tcp.hidden, self.tcp.side)
        trained = run_training(
            TCPModule(head, self.optimiser, self.recipe.seed),
            CachedCrops(cache, range(len(train)), self.recipe.seed),
            CachedImages(cache, len(validation)),
            folder=folder,
            batch_size=self.data.config.batch_size,
            workers=self.data.config.workers,
            quiet=quiet,
        )
        summary = {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            **trained,
            "preparing_seconds": round(prepared, 1),
            **self.data.record(),
            "feature": feature,
            "out_of_fold": folds is not None,
        }
        detector = TCP.of(head.cpu(), feature)
        detector.fitted_on = trained_on(TCP.registry_name, self.data.training_frames(), segmenter, summary)
        detector.segmenter_identity = detector.fitted_on["segmenter"]
        save_detector(detector, out)
        return summary

    def _fill(
        self,
        cache: FeatureCache,
        kind: Kind,
        store: FrameStore,
        segmenter: Segmenter,
        feature: str,
        folds: Folds | None,
        quiet: bool,
    ) -> None:
        """Compute the samples that are not there yet."""
        from rich.progress import track  # noqa: PLC0415 - kept out of start-up

        targets = ClassTargets(segmenter, "dataset", self.name)
        missing = [index for index in range(len(store)) if not cache.path(kind, index).is_file()]
        for index in track(missing, f"{self.name}: {kind}", disable=quiet or not missing):
            frame = store.frames[index]
            with torch.inference_mode():
                cache.write(kind, index, _sample(frame, segmenter, feature, targets, folds))


def _sample(
    frame: Frame, segmenter: Segmenter, feature: str, targets: ClassTargets, folds: Folds | None
) -> dict[str, Tensor]:
    """The feature map of a frame, and at each cell the probability of its true class."""
    scene = make_scene([frame.image()], [frame.id], segmenter, features=(feature,))
    features = scene.output.features[feature]
    grid = (features.shape[-2], features.shape[-1])
    truth = targets.at(frame, scene, grid)
    probabilities = _at_cells(scene.output if folds is None else folds.output(frame.id), scene.output, grid)
    known = truth != VOID
    guessed = probabilities.gather(0, truth.masked_fill(~known, 0)[None])[0].masked_fill(~known, NOWHERE)
    target = torch.full(grid, NOWHERE)
    target[: guessed.shape[0], : guessed.shape[1]] = guessed
    return {FEATURES + feature: features[0], TARGET: target}


def _at_cells(output: SegmentationOutput, seen: SegmentationOutput, grid: tuple[int, int]) -> Tensor:
    """Probabilities ``(C, rows, columns)`` at the middle of those cells of a grid that lie inside the image.

    Args:
        output: The prediction, whose image may have been padded otherwise than for ``seen``.
        seen: The pass whose padded input the grid divides.
        grid: Its rows and columns.
    """
    whole = output.upsample(output.logits.float(), seen.input_size)
    below, right = (padded - inside for padded, inside in zip(seen.padded_size, seen.input_size, strict=True))
    padded = F.pad(whole, (0, right, 0, below), mode="replicate")
    rows, columns = cells_inside(seen, grid)
    cells = F.interpolate(padded, grid, mode="bilinear", align_corners=False)[0, :, :rows, :columns]
    return cells.softmax(0).cpu()
