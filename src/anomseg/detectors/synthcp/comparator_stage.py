"""The stage ``comparator``: learns on out-of-fold predictions where a segmentation is wrong, and writes a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from anomseg.detectors.base import Detector
from anomseg.detectors.options import one_of
from anomseg.detectors.saved import check_writable, save_detector
from anomseg.detectors.synthcp.class_match import require_classes
from anomseg.detectors.synthcp.comparator import BRANCHES, Branches, Comparator
from anomseg.detectors.synthcp.comparator_branch import Norm
from anomseg.detectors.synthcp.comparator_data import (
    ComparatorSamples,
    Renderer,
    SampleList,
    SampleStream,
    last_part,
)
from anomseg.detectors.synthcp.comparator_module import ComparatorModule
from anomseg.detectors.synthcp.comparator_saved import save_comparator
from anomseg.detectors.synthcp.detector import SynthCP
from anomseg.detectors.synthcp.direct import DirectPrediction
from anomseg.detectors.synthcp.generator import SPADEGenerator, load_generator
from anomseg.detectors.synthcp.rendering import generator_classes
from anomseg.detectors.trained import trained_on
from anomseg.errors import ConfigError
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.training.bounds import check_bounds
from anomseg.training.folds import Folds
from anomseg.training.folds_frames import predicted_frames
from anomseg.training.loop import run_training
from anomseg.training.options import OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure
from anomseg.types import Frame

SAMPLES, NETWORK = "samples", "comparator"


@dataclass(frozen=True)
class ComparatorConfig:
    """A comparator, and what it learns from.

    Attributes:
        folds: A directory of out-of-fold predictions; not given where an earlier stage makes them.
        generator: A directory of a generator; not given where an earlier stage trains it, or with ``branches: image``.
        start: A checkpoint of an ImageNet network that the branches start from, for the published widths.
        branches: ``both``, or ``image`` for the baseline without a rendering.
        size: Of `Comparator`, as are the following.
        widths: Channels of the four stages.
        blocks: Residual blocks of the four stages.
        hidden: Channels that the pixel head makes of each stage.
        stem: Side of the first convolution.
        pool: The stem pools.
        norm: ``batch`` or ``group``.
        quality: Weight of the loss on the classes' overlap.
        confidence: Weight of the loss on the pixels' confidence.
        flip: Share of mirrored samples.
        validation: Share of the frames, the last ones, that are validated on.
        cache: Folder for the samples, shared by runs that need the same ones; the stage's own where not given.
        detector: Further options of the detector ``synthcp`` that is written.
    """

    folds: str | None = None
    generator: str | None = None
    start: str | None = None
    branches: Branches = "both"
    size: Sequence[int] = (96, 192)
    widths: Sequence[int] = (64, 128, 256, 512)
    blocks: Sequence[int] = (2, 2, 2, 2)
    hidden: int = 64
    stem: int = 7
    pool: bool = True
    norm: Norm = "batch"
    quality: float = 1.0
    confidence: float = 1.0
    flip: float = 0.5
    validation: float = 0.1
    cache: str | None = None
    detector: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("branches", self.branches, BRANCHES)
        for name in ("quality", "confidence"):
            check_bounds(name, getattr(self, name), 0)
        for name in ("flip", "validation"):
            check_bounds(name, getattr(self, name), 0, 1)
        with torch.device("meta"):  # neither memory nor time
            self.build(2)

    def build(self, classes: int) -> Comparator:
        """A new comparator with random weights."""
        names = ("size", "branches", "widths", "blocks", "hidden", "stem", "pool", "norm")
        return Comparator(classes, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class SampleLoaderConfig:
    """How samples are loaded.

    Attributes:
        batch_size: Samples a step.
        workers: Loader processes; results are the same for any number.
    """

    batch_size: int = 4
    workers: int = 0

    def __post_init__(self) -> None:
        check_bounds("batch_size", self.batch_size, 1)
        check_bounds("workers", self.workers, 0)


class ComparatorStage:
    """Trains a `Comparator` and writes ``synthcp`` with its generator, or ``direct_prediction``.

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
        self.comparator = configure(ComparatorConfig, config.module, f"{self.name}.module")
        self.loader = configure(SampleLoaderConfig, config.data, f"{self.name}.data")
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{self.name}.trainer")
        if self.loader.batch_size < 2 and self.comparator.norm == "batch":
            raise ConfigError(f"{self.name}.data.batch_size: batch norms need two samples a step; or set norm to group")
        kinds = {stage.name: stage.stage for stage in recipe.stages}
        self._taken = {kinds[name]: name for name in config.takes}
        if self.comparator.branches == "image":
            if self.comparator.generator or "synthesis" in self._taken or self.comparator.detector:
                raise ConfigError(f"{self.name}: with branches: image nothing is rendered; leave the generator out")
        else:
            SynthCP(**self.comparator.detector)  # its options are told now

    @property
    def renders(self) -> bool:
        """Whether renderings are compared with."""
        return self.comparator.branches == "both"

    def check(self) -> None:
        """Find predictions, generator and frames, before any training starts."""
        wanted = [
            ("folds", "folds", "predictions of frames that their network did not see ('anomseg train camvid-folds')")
        ]
        if self.renders:
            wanted.append(("generator", "synthesis", "a generator ('anomseg train camvid-synthesis')"))
        for option, kind, what in wanted:
            given = getattr(self.comparator, option)
            if not given and kind not in self._taken:
                raise ConfigError(f"{self.name} works on {what}: add --stages.{self.name}.module.{option} DIR")
            if given and kind in self._taken:
                raise ConfigError(f"{self.name}.module.{option}: it takes {self._taken[kind]} already; leave one out")
        generator = load_generator(self.comparator.generator) if self.comparator.generator else None
        if self.comparator.folds:
            folds = Folds(self.comparator.folds)
            frames, _ = predicted_frames(folds, self.recipe.roots)
            last_part(len(frames), self.comparator.validation)
            if generator is not None:
                self._renderer(folds, generator)
        if self.comparator.start:
            self._build(2)

    def _build(self, classes: int) -> Comparator:
        torch.manual_seed(self.recipe.seed)
        comparator = self.comparator.build(classes)
        if self.comparator.start:
            comparator.load_imagenet(load_checkpoint(self.comparator.start), self.comparator.start)
        return comparator

    def _renderer(self, folds: Folds, generator: SPADEGenerator) -> Renderer:
        known = generator_classes(generator, self.name)
        return Renderer(generator, require_classes(folds.classes, known, self.name))

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Make the samples, train, or go on where a stopped run left off; see `Stage.run`."""
        check_writable(out)
        config = self.comparator
        folds = Folds(config.folds or taken[self._taken["folds"]])
        generator = load_generator(config.generator or taken[self._taken["synthesis"]]) if self.renders else None
        frames, lookup = predicted_frames(folds, self.recipe.roots)
        size = (config.size[0], config.size[1])
        renderer = None if generator is None else self._renderer(folds, generator)
        place = folder / SAMPLES if config.cache is None else Path(config.cache)
        samples = ComparatorSamples(place, folds, frames, lookup, size, renderer)
        samples.make(quiet)
        learned, held = last_part(len(samples), config.validation)
        comparator = self._build(len(folds.classes))
        if self.optimiser.channels_last:
            comparator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        trained = run_training(
            ComparatorModule(comparator, config.quality, config.confidence, self.optimiser, self.recipe.seed),
            SampleStream(samples, learned, config.flip, self.recipe.seed),
            SampleList(samples, held),
            folder=folder,
            batch_size=self.loader.batch_size,
            workers=self.loader.workers,
            quiet=quiet,
        )
        source = folds.record["source"]
        summary = {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            **trained,
            "data": {f"{source['benchmark']}/{source['split']}": len(learned), "validation": len(held)},
            "folds": {key: folds.record[key] for key in ("rule", "gap", "seed", "miou")},
            "branches": config.branches,
        }
        detector = self._detector(comparator.cpu().eval(), generator, folds, frames, summary)
        save_comparator(comparator, folder / NETWORK, comparator.meta)
        save_detector(detector, out)
        return summary

    def _detector(
        self,
        comparator: Comparator,
        generator: SPADEGenerator | None,
        folds: Folds,
        frames: Sequence[Frame],
        summary: Mapping[str, Any],
    ) -> Detector:
        name = SynthCP.registry_name if generator is not None else DirectPrediction.registry_name
        comparator.meta = {
            "classes": list(folds.classes),
            "measure": "iou",
            "fitted_on": trained_on(name, frames, None, summary),
        }
        if generator is None:
            return DirectPrediction.of(comparator)
        return SynthCP.of(generator, comparator, **self.comparator.detector)
