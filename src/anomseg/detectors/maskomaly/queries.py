"""The raw queries of a scene, and how much each of them overlaps a region of a labelled frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.maskomaly.resample import area_resize
from anomseg.errors import CompatibilityError, FrameError
from anomseg.scores import QueryOverlap
from anomseg.segmenters.base import SegmentationOutput


def queries_of(output: SegmentationOutput, names: str) -> tuple[Tensor, Tensor]:
    """Class and mask logits of an output.

    Where a network has learned a negative class, it counts as no object: neither is a known class.

    Args:
        output: What a mask transformer gave.
        names: What the images are called, for messages.

    Returns:
        ``(B, Q, C + 1)``, no-object last, and ``(B, Q, h, w)``.

    Raises:
        CompatibilityError: The output has no queries.
        FrameError: The class logits hold NaN or infinity, which an argmax would hide.
    """
    classes, masks = output.class_logits, output.mask_logits
    if classes is None or masks is None:
        raise CompatibilityError("maskomaly reads the queries of a mask transformer, and this output has none")
    if not bool(classes.isfinite().all()):
        raise FrameError(f"{names}: the network's output holds values that are not finite")
    if output.negative_class_logits is not None:
        nothing = torch.logaddexp(classes[..., -1:], output.negative_class_logits.to(classes.dtype))
        classes = torch.cat([classes[..., :-1], nothing], 2)
    return classes, masks


def add_overlap(
    overlap: QueryOverlap, output: SegmentationOutput, region: Tensor, valid: Tensor, threshold: float, crop: bool
) -> None:
    """Add one labelled frame, query by query: masks at the network's size, then at the label's, above a threshold.

    Args:
        overlap: What to add to.
        output: A pass over this one image.
        region: ``(H, W)`` bool at the image's own size.
        valid: ``(H, W)`` bool.
        threshold: A mask is what lies above it.
        crop: Take the padding off first.
    """
    masks = output.mask_logits
    assert masks is not None  # noqa: S101 - queries_of was asked before
    region, valid = region.to(masks.device) & valid.to(masks.device), valid.to(masks.device)
    inside, covered = torch.zeros_like(overlap.inside), torch.zeros_like(overlap.covered)
    # Interpolating and averaging never exceed what they are made from: other masks are empty.
    least = math.log(threshold / (1 - threshold)) - 1e-3 if 0 < threshold < 1 else -math.inf
    for query in (masks[0].flatten(1).amax(1) > least).nonzero()[:, 0].tolist():
        mask = F.interpolate(
            masks[:, query : query + 1].float(), output.padded_size, mode="bilinear", align_corners=False
        )
        if crop:
            mask = mask[..., : output.input_size[0], : output.input_size[1]]
        fired = area_resize(mask[0, 0].sigmoid(), (region.shape[0], region.shape[1])) > threshold
        inside[query], covered[query] = (fired & region).sum(), (fired & valid).sum()
    overlap.add_counts(inside, covered, int(region.sum()))
