"""The Lightning module that trains a prototype extraction network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.pgan.assignment import moving_average
from anomseg.detectors.pgan.extractor import PrototypeExtractor
from anomseg.detectors.pgan.objective import Assigned, Labels, level_losses, prototype_losses
from anomseg.detectors.pgan.options import PGANConfig
from anomseg.segmenters import SegmentationOutput, Segmenter
from anomseg.training.base_module import Sample, TrainingModule, features_of
from anomseg.training.options import OptimiserConfig


def host_maps(host: Segmenter, images: Tensor, levels: Sequence[str]) -> list[Tensor]:
    """The levels of a batch of prepared images, without a graph."""
    with torch.no_grad():
        named = host.feature_maps(images, levels)
    return [named[name] for name in levels]


class PGANModule(TrainingModule):
    """The losses of all levels on crops, prototypes moved after each step, mean IoU of the prototype segmentation.

    Args:
        extractor: What is trained.
        host: The network whose features it reads; it stays as it is and is no part of a checkpoint.
        levels: Names of those features.
        sets: ``(L, K)`` bool, the label table.
        row_weights: ``(L,)``, weight of each row.
        config: Of the stage.
        optimiser: How to train.
        seed: Of whatever is drawn.
    """

    def __init__(
        self,
        extractor: PrototypeExtractor,
        host: Segmenter,
        levels: Sequence[str],
        sets: Tensor,
        row_weights: Tensor,
        config: PGANConfig,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(optimiser, seed)
        self.extractor, self.levels, self.config = extractor, tuple(levels), config
        self._host = (host.eval(),)  # in a tuple, so that it is not registered
        self.register_buffer("sets", sets)
        self.register_buffer("row_weights", row_weights)
        self.palette = host.palette
        self._assigned: list[Assigned] = []

    @property
    def trained(self) -> nn.Module:
        """Projections, and prototypes where they are learned."""
        return self.extractor

    def maps_of(self, batch: Sample) -> list[Tensor]:
        """The levels: cached ones, or what the host gives for the images."""
        cached = features_of(batch)
        if cached:
            return [cached[name] for name in self.levels]
        return host_maps(self._host[0].to(self.device), batch["image"], self.levels)

    def losses(self, batch: Sample) -> tuple[dict[str, Tensor], list[Tensor], list[Assigned]]:
        """Each loss times its weight, mean over the levels; the embeddings; what prototypes may move towards."""
        labels = Labels(batch["rows"], self.get_buffer("sets"), self.get_buffer("row_weights"))
        embeddings = self.extractor.embed(self.maps_of(batch))
        parts: dict[str, list[Tensor]] = {}
        assigned = []
        # Short numbers are too coarse for a balanced assignment.
        with torch.autocast(labels.rows.device.type, enabled=False):
            embeddings = [one.float() for one in embeddings]
            for level, embedding in enumerate(embeddings):
                found, cells = level_losses(
                    self.extractor,
                    level,
                    embedding,
                    labels,
                    self.config.weights(),
                    temperature=self.config.temperature,
                    stride=self.config.loss_stride,
                    stochastic=self.config.stochastic,
                )
                assigned.append(cells)
                for name, value in found.items():
                    parts.setdefault(name, []).append(value)
            losses = {name: torch.stack(values).mean() for name, values in parts.items()}
            return losses | prototype_losses(self.extractor, self.config.weights()), embeddings, assigned

    def loss_of(self, batch: Sample) -> Tensor:
        """Sum of all losses; what was assigned moves the prototypes once the step is done."""
        losses, _, self._assigned = self.losses(batch)
        self.log_dict({f"train_{name}": value for name, value in losses.items()})
        return torch.stack(list(losses.values())).sum()

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        """Move prototypes that are averages, or bring learned ones back to unit length."""
        if self.extractor.learnable:
            self.extractor.normalise()
            return
        for own, cells in zip(self.extractor.prototypes, self._assigned, strict=True):
            moved = moving_average(own, cells.embeddings, cells.slots, self.config.momentum)
            if self.trainer.world_size > 1:  # as ProtoSeg: the mean over all devices
                moved = F.normalize(cast(Tensor, self.all_gather(moved)).mean(0), dim=2)
            own.copy_(moved)

    def validation_step(self, batch: Sample, index: int) -> None:
        """Loss and confusion of the prototype segmentation on one whole image."""
        del index
        losses, embeddings, _ = self.losses(batch)
        self.tell("val_loss", torch.stack(list(losses.values())).sum())
        rows, classes = batch["rows"], batch["classes"]
        own_size, padded_size = (classes.shape[-2], classes.shape[-1]), (rows.shape[-2], rows.shape[-1])
        scores = self.extractor.scores(embeddings)
        output = SegmentationOutput(scores, padded_size, self._host[0].working_size(own_size))
        prediction = output.upsample(scores, own_size).argmax(1)[0]
        self.tell_classes(prediction, classes[0], len(self._host[0].classes))
