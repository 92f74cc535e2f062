"""What a segmentation says, rendered: predicted classes become a layout, and the layout an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.synthcp.generator import SPADEGenerator, one_hot_layout
from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import Size

Enlarge = Literal["nearest", "bilinear"]
ENLARGE: tuple[Enlarge, ...] = get_args(Enlarge)


def generator_classes(generator: SPADEGenerator, who: str) -> tuple[str, ...]:
    """Names of the classes that a generator of pictures renders, in the order of its layouts.

    Args:
        generator: With the record that it was saved with.
        who: Who asks, for messages.

    Raises:
        CompatibilityError: It renders volumes or grey pictures, or its record does not name the classes.
    """
    if generator.spatial_dims != 2 or generator.channels != 3:
        raise CompatibilityError(
            f"{who} compares colour pictures, and this generator renders {generator.channels} channels in "
            f"{generator.spatial_dims} dimensions; give one that was trained on pictures"
        )
    names = generator.meta.get("classes")
    if not isinstance(names, Sequence) or len(names) != generator.classes:
        raise CompatibilityError(f"{who}: the generator does not name its {generator.classes} classes; train it again")
    return tuple(str(name) for name in names)


def render(generator: SPADEGenerator, prediction: Tensor, table: Sequence[int]) -> Tensor:
    """The picture that a generator makes of a predicted segmentation.

    The class map of the image's own size is brought to the generator's, whatever the sides' ratio: each cell takes the
    class at its middle, as layouts did in training, or renderings would lie half a cell beside their images. A softmax
    takes no part.

    Args:
        generator: In evaluation mode, on the prediction's device.
        prediction: ``(B, H, W)`` classes of a segmenter.
        table: For each of its classes the generator's.

    Returns:
        ``(B, 3, h, w)`` float32 in [-1, 1], at the generator's size.
    """
    places = torch.tensor(table, device=prediction.device)[prediction]
    size = (generator.size[0], generator.size[1])
    small = F.interpolate(places[:, None].float(), size, mode="nearest-exact")[:, 0].long()  # exact below 2^24
    with torch.no_grad():
        return generator(one_hot_layout(small, generator.classes)).float()


def as_image(rendering: Tensor, size: Size, enlarge: Enlarge = "nearest") -> Tensor:
    """A rendering as an image in [0, 1], the size of the one it is compared with.

    Args:
        rendering: ``(B, 3, h, w)`` in [-1, 1].
        size: ``(H, W)``.
        enlarge: ``"nearest"`` as published, or ``"bilinear"``.

    Returns:
        ``(B, 3, H, W)``.
    """
    picture = ((rendering + 1) / 2).clamp(0, 1)
    if tuple(picture.shape[-2:]) == tuple(size):
        return picture
    if enlarge == "nearest":
        return F.interpolate(picture, size, mode="nearest")
    return F.interpolate(picture, size, mode="bilinear", align_corners=False)
