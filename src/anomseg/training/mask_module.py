"""The Lightning module that trains a mask transformer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError
from anomseg.scores import mask_semantic
from anomseg.segmenters.derived import derived_logits
from anomseg.segmenters.trainable import MaskAnswer, MaskSupervision
from anomseg.training.base_module import Sample
from anomseg.training.mask_targets import class_masks
from anomseg.training.module import SegmentationModule


class MaskModule(SegmentationModule):
    """Matched mask and class losses on images whose masks are known, and set-valued cross-entropy on all.

    The cross-entropy reads the class map that the queries make together (its logarithm), so that data sets whose
    labels stand for several classes can be learned from; `NetworkConfig.semantic` is its weight, and 0 leaves the
    published losses alone.
    """

    def losses(self, batch: Sample) -> tuple[Tensor, Tensor]:
        """Loss of a batch, and the logits of the class map."""
        if not isinstance(self.segmenter, MaskSupervision):
            raise CompatibilityError(f"{self.segmenter.registry_name} has no masks to train")
        images = batch["image"]
        answers = self.segmenter.training_masks(images)
        # The networks run in short numbers, where asked; sums over queries and what is matched by them do not: float16
        # has no number as small as the floor of a claim.
        with torch.autocast(images.device.type, enabled=False):
            return self._losses_of(self.segmenter, answers, batch["rows"])

    def _losses_of(
        self, segmenter: MaskSupervision, answers: Sequence[MaskAnswer], rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        last = answers[-1]
        logits = derived_logits(mask_semantic(last.class_logits.float(), last.mask_logits.float()))
        loss = logits.sum() * 0.0
        if self.network.semantic:
            loss = loss + self.network.semantic * self._loss(logits, rows)
        stride = self.network.loss_stride
        sets = self.get_buffer("sets")
        targets = [class_masks(one[::stride, ::stride], sets) for one in rows]
        known = [(index, target) for index, target in enumerate(targets) if target is not None]
        if known:
            chosen = [index for index, _ in known]
            parts = [MaskAnswer(one.class_logits[chosen], one.mask_logits[chosen]) for one in answers]
            loss = loss + segmenter.mask_loss(
                parts, [masks for _, (masks, _) in known], [classes for _, (_, classes) in known]
            )
        return loss, logits
