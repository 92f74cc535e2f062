"""The stage ``pgan``: prototypes from a support set, then training, then a probability; the host stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomseg.detectors.features import AUTO, feature_names
from anomseg.detectors.pgan.annotated import (
    Annotations,
    annotate,
    annotated_crops,
    annotated_frames,
    annotated_numbers,
    support_samples,
)
from anomseg.detectors.pgan.detector import PGAN
from anomseg.detectors.pgan.extractor import PrototypeExtractor
from anomseg.detectors.pgan.hierarchy import Tree, find_tree
from anomseg.detectors.pgan.initialise import initialise
from anomseg.detectors.pgan.levels import level_names
from anomseg.detectors.pgan.module import PGANModule, host_maps
from anomseg.detectors.pgan.objective import Labels
from anomseg.detectors.pgan.options import PGANConfig
from anomseg.detectors.pgan.probability import LeftOut
from anomseg.detectors.saved import check_writable, save_detector
from anomseg.detectors.trained import trained_on
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters import Segmenter, load_segmenter
from anomseg.training.data_of_stage import StageData
from anomseg.training.loop import run_training
from anomseg.training.options import OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure


class PGANStage:
    """Trains a `PrototypeExtractor` on the features of a network and writes the detector `PGAN`.

    The network is that of the features stage it takes, or of the segmenter stage it takes, or ``module.host``.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        self.config = configure(PGANConfig, config.module, f"{config.name}.module")
        self.data = StageData(recipe, config)
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{config.name}.trainer")
        if config.gives != "detector":
            raise ConfigError(f"{self.name} gives a detector; write gives: detector")
        if bool(self.config.host) is bool(config.takes):
            raise ConfigError(f"{self.name} reads one network: take a stage that gives one, or set module.host to one")
        self.tree = find_tree(self.config.tree, self.data.taught.names)
        self._annotations: Annotations | None = None

    @property
    def annotations(self) -> Annotations:
        """The images whose labels are used; chosen once.

        Raises:
            ConfigError: The support set does not show every class, and such classes are to be refused.
        """
        if self._annotations is None:
            found = annotate(self.data.labelled, self.config.support, self.config.annotated, self.recipe.seed)
            absent = [name for name, here in zip(self.data.taught.names, found.shown(), strict=True) if not here]
            if absent and (self.config.absent == "refuse" or len(absent) == len(self.data.taught.names)):
                raise ConfigError(
                    f"{self.name}: the support set of {found.support} images does not show {', '.join(absent)}, so "
                    f"there would be no prototype; raise {self.name}.module.support or annotated, or set absent: mask"
                )
            self._annotations = found
        return self._annotations

    def check(self) -> None:
        """Find the data, choose the support set and find the network, before any stage starts."""
        self.data.check()
        self.annotations  # noqa: B018 - a class without an image is told now
        if self.config.host:
            self._levels(load_segmenter(self.config.host))
        elif self.config.levels != AUTO:
            self.data.require_layers(feature_names(self.config.levels), "pgan")

    def _host(self) -> Segmenter:
        host = load_segmenter(self.config.host) if self.config.host else self.data.host()
        if host is None:
            raise ConfigError(f"{self.name} takes no stage that gives a network")
        if host.classes != self.data.taught.names:
            raise CompatibilityError(
                f"the network of {self.name} knows other classes ({', '.join(host.classes)}) than are taught "
                f"({', '.join(self.data.taught.names)}); give held_out as that network was trained"
            )
        return host.requires_grad_(False).eval()

    def _levels(self, host: Segmenter) -> tuple[str, ...]:
        names = level_names(self.config.levels, host, self.data.layers)
        self.data.require_layers(names, "pgan")
        if self.config.level_weights is not None and len(self.config.level_weights) != len(names):
            raise ConfigError(
                f"{self.name}.module.level_weights has {len(self.config.level_weights)} weights for the {len(names)} "
                f"levels {'+'.join(names)}"
            )
        return names

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off; see `Stage.run`."""
        check_writable(out)
        self.data.bind(taken)
        host = self._host()
        before, levels = host.fingerprint(), self._levels(host)
        extractor = self._extractor(host, levels)
        weights = self.data.table.weights
        if self.config.balance:
            weights = self.data.table.balance(self.annotations.frequencies())
        module = PGANModule(
            extractor, host, levels, self.data.table.sets, weights, self.config, self.optimiser, self.recipe.seed
        )
        validation = self.data.validation(host)
        trained = run_training(
            module,
            self._crops(),
            validation,
            folder=folder,
            batch_size=self.data.batch_size,
            workers=self.data.workers,
            quiet=quiet,
        )
        extractor = module.extractor.cpu().eval()
        curve, told = self._probability(module, validation)
        if host.cpu().fingerprint() != before:
            raise CompatibilityError("training changed the network whose features it read; this is a defect of ours")
        summary = {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            **trained,
            **self.data.record(),
            **self._told(levels, host),
            "probability": told,
        }
        detector = PGAN(
            "+".join(levels),
            self.config.similarity,
            self.config.parent_term,
            self.config.probability,
            self.config.attached,
        )
        frames = annotated_frames(self.data.labelled, self.annotations)
        if curve is not None:  # it was fitted on the labels of the validation images
            frames += self.data.labelled.stores[-1].frames
        detector.adopt(extractor, host, curve, trained_on("pgan", frames, host, summary))
        save_detector(detector, out)
        return summary

    def _extractor(self, host: Segmenter, levels: Sequence[str]) -> PrototypeExtractor:
        torch.manual_seed(self.recipe.seed)
        extractor = PrototypeExtractor(
            [host.feature_info[name].channels for name in levels],
            len(host.classes),
            self.config.prototypes,
            self.config.dimension,
            self.config.projection,
            self.config.similarity,
            self.config.update == "learned",
            self.tree.of_class if self.tree else (),
            self.config.level_weights or (),
        )
        extractor.present.copy_(torch.from_numpy(np.asarray(self.annotations.shown())))
        if self.config.init == "support":
            initialise(extractor, self._support(host, levels), seed=self.recipe.seed)
        return extractor

    def _support(self, host: Segmenter, levels: Sequence[str]) -> Iterator[tuple[list[Tensor], Labels]]:
        table = self.data.table
        for sample in support_samples(self.data.labelled, self.annotations, host):
            maps = host_maps(host, sample["image"][None], levels)
            yield maps, Labels(sample["rows"][None], table.sets, table.weights)

    def _crops(self) -> Dataset[dict[str, Tensor]]:
        if self.config.annotated is None:
            return self.data.crops()
        if not self.data.cached:
            return annotated_crops(self.data.labelled, self.annotations)
        count = self.data.cached_crops
        return self.data.crops(annotated_numbers(self.data.labelled, self.annotations, count))

    @torch.no_grad()
    def _probability(
        self, module: PGANModule, validation: Dataset[dict[str, Tensor]]
    ) -> tuple[tuple[float, float] | None, dict[str, Any]]:
        """Slope and intercept from the validation images, and what is recorded of them."""
        scores, images = LeftOut(), 0
        module.to("cuda" if self.optimiser.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
        for batch in DataLoader(validation, 1):
            maps = module.maps_of({name: one.to(module.device) for name, one in batch.items()})
            labels = Labels(batch["rows"], self.data.table.sets, self.data.table.weights)
            finest = max(((one.shape[-2], one.shape[-1]) for one in maps), key=lambda size: size[0] * size[1])
            classes = labels.on_cells(finest).unflatten(0, (len(batch["rows"]), *finest))
            scores.update(module.extractor, maps, classes, self.config.parent_term)
            images += 1
        module.cpu()
        try:
            curve = scores.fit(self.config.prior)
        except CompatibilityError as error:
            return None, {"images": images, "none": str(error)}
        return curve, {"images": images, "prior": self.config.prior, "slope": curve[0], "intercept": curve[1]}

    def _told(self, levels: Sequence[str], host: Segmenter) -> dict[str, Any]:
        """What the record says of levels, tree and annotated images."""
        names, shown = host.classes, self.annotations.shown()
        tree: Tree | None = self.tree
        return {
            "levels": list(levels),
            "tree": tree.as_text(names) if tree else None,
            "annotated_images": len(self.annotations.places),
            "support_images": self.annotations.support,
            "absent": [name for name, here in zip(names, shown, strict=True) if not here],
        }
