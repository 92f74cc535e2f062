"""The Lightning module that trains a student; imported by training alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomseg.detectors.dicnet.resizing import on_grid
from anomseg.detectors.dicnet.target import Target
from anomseg.scores import feature_discrepancy
from anomseg.scores.discrepancy import Distance
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.student import Student
from anomseg.training.base_module import Sample, TrainingModule, features_of
from anomseg.training.options import OptimiserConfig


class StudentModule(TrainingModule):
    """The mean discrepancy of student and teacher, over everything: ``mean (S - T)^2``.

    The teacher is no part of the module: its parameters and buffers get no gradient, no optimiser and no training
    mode, and no checkpoint holds them.

    Args:
        student: What is trained.
        teacher: Computes the feature; None where samples bring it along.
        feature: Its name.
        target: What of it is to be matched.
        distance: ``mse`` as published.
        optimiser: How to train.
        seed: Seed of whatever is drawn while training.
    """

    def __init__(
        self,
        student: Student,
        teacher: Segmenter | None,
        feature: str,
        target: Target,
        distance: Distance,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(optimiser, seed)
        self.student, self.feature, self.target, self.distance = student, feature, target, distance
        self._teacher = (teacher,)  # in a tuple, so that it does not become a part of this module

    @property
    def trained(self) -> nn.Module:
        """The student."""
        return self.student

    def loss_of(self, batch: Sample) -> Tensor:
        """The mean discrepancy of a batch."""
        teacher = self.target.of(self._teacher_map(batch))
        images = batch["image"]
        if self.optimiser.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        guess = on_grid(self.student.distil(images), teacher)
        return feature_discrepancy(teacher, guess, self.distance).mean()

    def _teacher_map(self, batch: Sample) -> Tensor:
        teacher, images = self._teacher[0], batch["image"]
        if teacher is None:
            return features_of(batch)[self.feature]
        # In full precision, as it will be when it is compared in use.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            teacher.to(images.device).eval()
            return teacher.feature_maps(images.float(), (self.feature,))[self.feature]

    def validation_step(self, batch: Sample, index: int) -> None:
        """Mean discrepancy on one whole image."""
        del index
        self.tell("val_loss", self.loss_of(batch))
