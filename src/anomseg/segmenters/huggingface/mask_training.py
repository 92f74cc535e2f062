"""What a mask transformer of the library offers to training: its answers layer by layer, and its own loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from anomseg.errors import CompatibilityError
from anomseg.segmenters.huggingface.families import OWN_ENCODER
from anomseg.segmenters.huggingface.segmenter import TransformersSegmenter
from anomseg.segmenters.trainable import MaskAnswer

if TYPE_CHECKING:
    from transformers import Mask2FormerForUniversalSegmentation, MaskFormerForInstanceSegmentation

TRAINABLE = ("maskformer", "mask2former")
"""Model types whose loss needs nothing but masks and classes."""

_ENCODER = "model.pixel_level_module.encoder"


class MatchedSegmenter(TransformersSegmenter):
    """A MaskFormer or Mask2Former, the mask transformers that can be trained here; see `TransformersSegmenter`.

    Queries are matched to masks and every decoder layer is supervised by the library's own criterion (Cheng et al.,
    "Per-Pixel Classification is Not All You Need for Semantic Segmentation", NeurIPS 2021, section 3.3;
    "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, section 3.3).
    """

    network: MaskFormerForInstanceSegmentation | Mask2FormerForUniversalSegmentation

    @property
    def encoder(self) -> nn.Module:
        """The backbone under the mask head."""
        return self.network.get_submodule(_ENCODER)

    def load_encoder(self, state: Mapping[str, Tensor], what: str) -> None:
        """Start an encoder of ours from the weights of a network of ours.

        Raises:
            CompatibilityError: The weights do not fit, or the backbone is one of the library's.
        """
        backbone: Any = self.encoder
        if backbone.config.model_type != OWN_ENCODER:
            raise CompatibilityError(
                f"encoder_start sets the weights of {OWN_ENCODER} alone, and this network's encoder is a "
                f"{backbone.config.model_type}; start from a whole saved network instead"
            )
        backbone.load(state, what)

    def training_masks(self, batch: Tensor) -> list[MaskAnswer]:
        """Answers of all decoder layers; see `MaskSupervision`."""
        # Only training reads the earlier layers' masks, which cost a MaskFormer as much as the last one's.
        usual = self.network.config.use_auxiliary_loss
        self.network.config.use_auxiliary_loss = True
        try:
            answer = self.network(
                pixel_values=self.preprocessing.apply(batch), output_auxiliary_logits=True, output_hidden_states=True
            )
        finally:
            self.network.config.use_auxiliary_loss = usual
        earlier = [
            MaskAnswer(one["class_queries_logits"], one["masks_queries_logits"]) for one in answer.auxiliary_logits
        ]
        return [*earlier, MaskAnswer(answer.class_queries_logits, answer.masks_queries_logits)]

    def mask_loss(self, answers: Sequence[MaskAnswer], masks: Sequence[Tensor], classes: Sequence[Tensor]) -> Tensor:
        """The library's criterion, its weights from the configuration; see `MaskSupervision`."""
        *earlier, last = answers
        parts = self.network.get_loss_dict(
            last.mask_logits.float(),
            last.class_logits.float(),
            list(masks),  # type: ignore[arg-type]
            list(classes),  # type: ignore[arg-type]
            [  # type: ignore[arg-type]
                {"masks_queries_logits": one.mask_logits.float(), "class_queries_logits": one.class_logits.float()}
                for one in earlier
            ],
        )
        return torch.stack(list(parts.values())).sum()
