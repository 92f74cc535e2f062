"""What a comparator says of a network's segmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anomseg.detectors.synthcp.class_match import matched_classes
from anomseg.detectors.synthcp.comparator import Comparator, judge
from anomseg.errors import CompatibilityError
from anomseg.segmenters.scene import Scene
from anomseg.types import FailurePrediction, Measure


def class_names(comparator: Comparator, who: str) -> tuple[str, ...]:
    """Names of the classes that a comparator of pictures judges.

    Args:
        comparator: With the record that it was saved with.
        who: Who asks, for messages.

    Raises:
        CompatibilityError: It judges volumes or grey pictures, or its record does not name the classes.
    """
    options = comparator.options
    if options["spatial_dims"] != 2 or options["channels"] != 3:
        raise CompatibilityError(
            f"{who} judges segmentations of colour pictures, and this comparator reads {options['channels']} channels "
            f"in {options['spatial_dims']} dimensions; give one that was trained on pictures"
        )
    names = comparator.meta.get("classes")
    if not isinstance(names, Sequence) or len(names) != options["classes"]:
        raise CompatibilityError(
            f"{who}: the comparator does not name its {options['classes']} classes; train it again"
        )
    return tuple(str(name) for name in names)


def failures(comparator: Comparator, scene: Scene, rendering: Tensor | None, who: str) -> FailurePrediction:
    """A comparator's answer for a scene.

    Args:
        comparator: In evaluation mode, on the scene's device.
        scene: Images of one size; its plain pass is what is judged.
        rendering: ``(B, 3, h, w)`` in [-1, 1], of any size; None for a comparator that reads none.
        who: Name of the detector, for messages.

    Returns:
        Error map ``(B, H, W)``, minus confidence and largest probability; quality ``(B, C)`` in the order of the
        network's classes, NaN of those that the comparator has not learned.

    Raises:
        CompatibilityError: No class of the network is among the comparator's.
    """
    known = class_names(comparator, who)
    classes = scene.segmenter.classes if scene.segmenter is not None else ()
    places = matched_classes(classes, known)
    common = [(own, place) for own, place in enumerate(places) if place is not None]
    if not common:
        raise CompatibilityError(
            f"{who}: the comparator has learned {', '.join(known)}, and this network predicts none of them; train one "
            "on this network's classes"
        )
    with torch.no_grad():
        own = scene.logits().float().softmax(1)
        read = own.new_zeros(len(own), len(known), *own.shape[2:])
        for index, place in common:
            read[:, place] += own[:, index]
        height, width = scene.input_size
        images = scene.images[..., :height, :width].float() * 2 - 1
        error, judged = judge(comparator, read, images, rendering if comparator.needs_rendering else None)
        if places != list(range(len(known))):  # the network may be surest of a class that the comparator does not see
            error = error + read.amax(1) - own.amax(1)
    quality = judged.new_full((len(own), len(classes)), torch.nan)
    for index, place in common:
        quality[:, index] = judged[:, place]
    measure: Measure = "dice" if comparator.meta.get("measure") == "dice" else "iou"
    return FailurePrediction(error.float(), quality.float(), measure)
