"""The Lightning module of networks that learn from pasted negatives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.noisy_negatives.losses import (
    block_loss,
    combined_loss,
    exposure_loss,
    label_loss,
    outlier_block_loss,
    outlier_loss,
    sigmoid_nll,
)
from anomseg.detectors.noisy_negatives.odds import OddsCounts, average_precision, outlier_odds
from anomseg.detectors.noisy_negatives.options import NoisyNegativesConfig
from anomseg.segmenters import SegmentationOutput, Size
from anomseg.segmenters.outlier_head import HeadOutputs, NegativesNetwork, OutlierHead
from anomseg.segmenters.trainable import EncoderNetwork
from anomseg.training.base_module import Sample, features_of
from anomseg.training.losses import sample_logits, softmax_nll
from anomseg.training.module import SegmentationModule
from anomseg.training.options import OptimiserConfig

OUTLIER_AP = "val_outlier_ap"


class NoisyNegativesModule(SegmentationModule):
    """Losses of classes and outliers on samples that also hold ``outlier (B, H, W)``: 0 inlier, 1 outlier, 255 ignored.

    In validation, mean IoU of the classes and the average precision of the variant's own score, pooled over all images.

    Args:
        segmenter: What is trained, with the outputs that the variant needs.
        sets: ``(L, C)`` bool, the classes that each label may stand for.
        weights: ``(L,)`` float.
        network: Variant, weights and what is frozen.
        optimiser: How to train.
        seed: Seed of whatever is drawn while training.
        frozen: The encoder is frozen.
    """

    network: NoisyNegativesConfig

    def __init__(
        self,
        segmenter: NegativesNetwork,
        sets: Tensor,
        weights: Tensor,
        network: NoisyNegativesConfig,
        optimiser: OptimiserConfig,
        seed: int,
        frozen: bool = False,
    ) -> None:
        super().__init__(segmenter, *_with_negatives(sets, weights, network), network, optimiser, seed, frozen)
        self.negative_row = len(sets)
        self.likelihood = sigmoid_nll if network.variant == "sigmoid" else softmax_nll
        self._odds = OddsCounts()
        if self.head_alone:
            segmenter.requires_grad_(False)
            self._head().requires_grad_(True)

    @property
    def headed(self) -> NegativesNetwork:
        """The network, as what the constructor takes."""
        assert isinstance(self.segmenter, NegativesNetwork)  # noqa: S101 - it takes no other
        return self.segmenter

    @property
    def head_alone(self) -> bool:
        """Whether nothing but the outlier head learns."""
        return self.network.freeze == "segmentation"

    def train(self, mode: bool = True) -> NoisyNegativesModule:
        """Set the mode; what is frozen always stays as in use, so that its batch norms keep their statistics."""
        super().train(mode)
        if self.head_alone:
            self.headed.eval()
            self._head().train(mode)
        return self

    def _head(self) -> OutlierHead:
        assert self.headed.outlier is not None  # noqa: S101 - two_head is the only variant that is asked
        return self.headed.outlier

    def _named(self, batch: Sample) -> dict[str, Tensor]:
        """All feature maps of a batch that can be had."""
        network, maps = self.headed, features_of(batch)
        if maps:
            if isinstance(network, EncoderNetwork) and set(network.complete_reads) <= set(maps):
                return network.complete(maps)
            return maps
        images = batch["image"]
        if self.optimiser.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.head_alone):
            return network.encode(images)

    def heads_of(self, batch: Sample) -> HeadOutputs:
        """What all heads say of a batch; the outlier head alone where nothing else learns."""
        named = self._named(batch)
        if not self.head_alone:
            return self.headed.heads(named)
        return HeadOutputs(self._known_classes(named), (), self._head()(named), ())

    def _known_classes(self, named: dict[str, Tensor]) -> Tensor:
        """Logits of a frozen class head in validation; of no class where its maps are not at hand or not needed."""
        if not self.training and set(self.headed.classifier_reads) <= set(named):
            return self.headed.classify(named)
        first = next(iter(named.values()))
        return first.new_zeros(len(first), 0, *first.shape[-2:])

    def loss_of_heads(self, heads: HeadOutputs, rows: Tensor, outlier: Tensor) -> Tensor:
        """The loss of a variant.

        Args:
            heads: What the network says.
            rows: ``(B, H, W)`` int64 rows of the label table.
            outlier: ``(B, H, W)`` int64.
        """
        network, stride = self.network, self.network.loss_stride
        size = (rows.shape[-2], rows.shape[-1])
        sampled = outlier[:, ::stride, ::stride]

        def at_pixels(maps: Tensor) -> Tensor:
            return sample_logits(maps.float(), size, stride)

        zero = heads.logits.new_zeros((), dtype=torch.float32)
        found, found_early = zero, zero
        if heads.outlier is not None:
            found = outlier_loss(at_pixels(heads.outlier), sampled)
            if self.head_alone:
                return found
            found_early = outlier_block_loss(heads.outlier_auxiliary, outlier)
        # A pasted pixel is of no class; of the extra class, or of none with sigmoids, where those learn it so.
        negative = self.negative_row if network.variant in ("extra_class", "sigmoid") else 0
        labels = rows.masked_fill(outlier == 1, negative)
        sets, weights = self.get_buffer("sets"), self.get_buffer("row_weights")
        whole = at_pixels(heads.logits)
        classes = label_loss(whole, labels[:, ::stride, ::stride], sets, weights, self.likelihood)
        early = block_loss(heads.auxiliary, labels, sets, weights, self.likelihood)
        share, weight = network.auxiliary, network.outlier_weight
        loss = combined_loss(classes, early, found, found_early, share, weight)
        if network.variant == "outlier_exposure":
            loss = loss + weight * exposure_loss(whole, sampled)
        return loss

    def losses(self, batch: Sample) -> tuple[Tensor, Tensor]:
        """Loss of a batch, and the logits of its classes."""
        heads = self.heads_of(batch)
        loss = self.loss_of_heads(heads, batch["rows"], batch["outlier"].long())
        return loss, heads.logits[:, : len(self.segmenter.classes)]

    def validation_step(self, batch: Sample, index: int) -> None:
        """Loss, confusion and log-odds of outliers on one whole image."""
        del index
        rows, classes, outlier = batch["rows"], batch["classes"], batch["outlier"].long()
        own_size, padded_size = _size(classes), _size(rows)
        heads = self.heads_of(batch)
        self.tell("val_loss", self.loss_of_heads(heads, rows, outlier))
        output = SegmentationOutput(heads.logits, padded_size, self.segmenter.working_size(own_size))
        count = len(self.segmenter.classes)
        if heads.logits.shape[1]:
            predicted = output.upsample(heads.logits[:, :count].float(), own_size).argmax(1)
            self.tell_classes(predicted[0], classes[0], count)

        telling = heads.logits if heads.outlier is None else heads.outlier
        odds = outlier_odds(self.network.variant, sample_logits(telling.float(), padded_size))
        self._odds.update(odds[0], outlier[0])

    def on_validation_epoch_end(self) -> None:
        """Log what was told and the average precision, and start afresh."""
        super().on_validation_epoch_end()
        found = average_precision(self._over_devices(self._odds.counts))
        if found is not None:
            self.log(OUTLIER_AP, found, prog_bar=True, sync_dist=True)
        self._odds = OddsCounts()


def _with_negatives(sets: Tensor, weights: Tensor, network: NoisyNegativesConfig) -> tuple[Tensor, Tensor]:
    """The label table with one row more, for negatives: of the extra class, or of no class."""
    extra = int(network.variant == "extra_class")
    table = F.pad(sets, (0, extra, 0, 1))
    if extra:
        table[-1, -1] = True
    # A label that stands for no class is void; in the table only that of negatives may teach without any.
    return table, torch.cat([weights * sets.any(1), weights.new_ones(1)])


def _size(maps: Tensor) -> Size:
    return maps.shape[-2], maps.shape[-1]
