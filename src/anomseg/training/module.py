"""The Lightning module that trains a segmenter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomseg.segmenters import SegmentationOutput, Segmenter
from anomseg.segmenters.trainable import DeepSupervision, EncoderNetwork, StartableEncoder
from anomseg.training.base_module import Sample, TrainingModule, features_of
from anomseg.training.losses import sample_logits, set_valued_cross_entropy
from anomseg.training.options import NetworkConfig, OptimiserConfig


class SegmentationModule(TrainingModule):
    """Set-valued cross-entropy on crops, mean IoU on whole validation images."""

    def __init__(
        self,
        segmenter: Segmenter,
        sets: Tensor,
        weights: Tensor,
        network: NetworkConfig,
        optimiser: OptimiserConfig,
        seed: int,
        frozen: bool = False,
    ) -> None:
        super().__init__(optimiser, seed)
        self.segmenter, self.network = segmenter, network
        self.frozen = frozen and isinstance(segmenter, StartableEncoder)
        self.register_buffer("sets", sets)
        self.register_buffer("row_weights", weights)
        self.palette = segmenter.palette
        if self.frozen and isinstance(segmenter, StartableEncoder):
            segmenter.encoder.requires_grad_(False)
        self.train()

    @property
    def trained(self) -> nn.Module:
        """The network; what is frozen requires no gradient."""
        return self.segmenter

    def train(self, mode: bool = True) -> SegmentationModule:
        """Set the mode; a frozen encoder always stays as in use, so that its batch norms keep their statistics."""
        super().train(mode)
        if self.frozen and isinstance(self.segmenter, StartableEncoder):
            self.segmenter.encoder.eval()
        return self

    def _logits(self, batch: Sample) -> tuple[Tensor, Tensor | None]:
        maps = features_of(batch)
        if maps and isinstance(self.segmenter, EncoderNetwork):
            return self.segmenter.head_logits(maps)
        images = batch["image"]
        if self.optimiser.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if isinstance(self.segmenter, DeepSupervision):
            return self.segmenter.training_logits(images)
        return self.segmenter(images).logits, None

    def _loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        stride = self.network.loss_stride
        sampled = sample_logits(logits.float(), (rows.shape[-2], rows.shape[-1]), stride)
        return set_valued_cross_entropy(
            sampled, rows[:, ::stride, ::stride], self.get_buffer("sets"), self.get_buffer("row_weights")
        )

    def losses(self, batch: Sample) -> tuple[Tensor, Tensor]:
        """Loss of a batch, auxiliary one included, and its logits."""
        main, auxiliary = self._logits(batch)
        loss = self._loss(main, batch["rows"])
        if auxiliary is not None and self.network.auxiliary:
            loss = loss + self.network.auxiliary * self._loss(auxiliary, batch["rows"])
        return loss, main

    def loss_of(self, batch: Sample) -> Tensor:
        """Loss of a batch, auxiliary one included."""
        return self.losses(batch)[0]

    def validation_step(self, batch: Sample, index: int) -> None:
        """Loss and confusion on one whole image."""
        del index
        rows, classes = batch["rows"], batch["classes"]
        loss, main = self.losses(batch)
        self.tell("val_loss", loss)
        own_size, padded_size = (classes.shape[-2], classes.shape[-1]), (rows.shape[-2], rows.shape[-1])
        output = SegmentationOutput(main, padded_size, self.segmenter.working_size(own_size))
        self.tell_classes(output.upsample(main.float(), own_size).argmax(1)[0], classes[0], len(self.segmenter.classes))
