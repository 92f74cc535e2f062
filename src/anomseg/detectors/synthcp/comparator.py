"""The comparator: how right a prediction is, from the image, what was re-rendered of it, and the prediction itself.

Xia, Zhang, Liu, Shen, Yuille, "Synthesize then Compare: Detecting Failures and Anomalies for Semantic Segmentation",
ECCV 2020, section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.options import one_of, whole
from anomseg.detectors.synthcp.comparator_branch import CONVOLUTIONS, NORMS, Branch, Norm, make_norm
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.checkpoint import load_strictly

Branches = Literal["both", "image"]
BRANCHES = ("both", "image")
STAGES = 4
# Of ImageNet's RGB in [0, 1], which networks trained on it expect to be taken off.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_UNUSED = ("fc.",)
_INTERPOLATION = {2: "bilinear", 3: "trilinear"}


class Comparator(nn.Module):
    """Two residual networks that share no weights, one over the image and one over the rendering, and two heads.

    Both see the prediction too, as one channel ``m = ReLU(BN(1x1 conv of p))``. The pixel head takes the four stages of
    both, brings each to ``hidden`` channels and full resolution, and adds up a linear function of them; the image head
    is linear in the means of the last stages. With ``branches="image"`` there is no rendering: the baseline that
    predicts failures directly.

    Args:
        classes: Classes of the prediction.
        channels: Channels of image and rendering.
        spatial_dims: 2 for images, 3 for volumes.
        size: ``(*S)`` at which it is meant to work, see `judge`; None takes what comes.
        branches: ``"both"``, or ``"image"`` for the baseline without a rendering.
        widths: Channels of the four stages; published are (64, 128, 256, 512).
        blocks: Residual blocks of the four stages; published is ResNet-18's (2, 2, 2, 2).
        hidden: Channels that the pixel head makes of each stage.
        stem: Side of the first convolution, odd.
        pool: The stem pools, as published; without it all maps are twice as fine and cost four times as much.
        norm: ``"batch"`` as published, or ``"group"`` for batches of one or two volumes.

    Raises:
        ConfigError: An option has a value that it cannot have.

    Attributes:
        options: All of these, in plain types.
        meta: What its folder says of its training; empty where it was not loaded.

    Example:
        >>> comparator = Comparator(3, widths=(4, 4, 8, 8)).eval()
        >>> image, rendering = torch.rand(2, 1, 3, 32, 64) * 2 - 1
        >>> quality, confidence = comparator(torch.full((1, 3, 32, 64), 1 / 3), image, rendering)
        >>> tuple(quality.shape), tuple(confidence.shape)
        ((1, 3), (1, 32, 64))
    """

    kind = "comparator"

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        spatial_dims: int = 2,
        size: Sequence[int] | None = (96, 192),
        branches: Branches = "both",
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        hidden: int = 64,
        stem: int = 7,
        pool: bool = True,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        one_of("spatial_dims", spatial_dims, tuple(CONVOLUTIONS))
        one_of("branches", branches, BRANCHES)
        one_of("norm", norm, NORMS)
        for name, value in (("classes", classes), ("channels", channels), ("hidden", hidden), ("stem", stem)):
            whole(name, value)
        for name, values, count in (
            ("widths", widths, STAGES),
            ("blocks", blocks, STAGES),
            ("size", size, spatial_dims),
        ):
            if values is not None and (len(values) != count or min(values) < 1):
                raise ConfigError(f"{name} of a comparator are {count} whole numbers above 0, got {list(values)}")
        if stem % 2 == 0:
            raise ConfigError(f"stem is the side of a convolution with a middle, an odd number; got {stem}")
        self.options: dict[str, Any] = {
            "classes": classes,
            "channels": channels,
            "spatial_dims": spatial_dims,
            "size": None if size is None else list(size),
            "branches": branches,
            "widths": list(widths),
            "blocks": list(blocks),
            "hidden": hidden,
            "stem": stem,
            "pool": pool,
            "norm": norm,
        }
        self.meta: dict[str, Any] = {}
        self.classes, self.channels, self.spatial_dims = classes, channels, spatial_dims
        self.size = None if size is None else tuple(size)
        self.branches: Branches = branches
        convolution = CONVOLUTIONS[spatial_dims]
        # The norm after it takes every constant off, so that there is no bias.
        self.compress = nn.Sequential(
            convolution(classes, 1, 1, bias=False), make_norm(norm, 1, spatial_dims), nn.ReLU()
        )
        names = ("image", "rendering") if branches == "both" else ("image",)
        self.branch = nn.ModuleDict(
            {name: Branch(channels + 1, widths, blocks, spatial_dims, stem, pool, norm) for name in names}
        )
        self.lateral = nn.ModuleList(
            nn.Sequential(
                convolution(len(names) * width, hidden, 1, bias=False), make_norm(norm, hidden, spatial_dims), nn.ReLU()
            )
            for width in widths
        )
        self.pixel = nn.Linear(STAGES * hidden, 1)
        self.quality = nn.Linear(len(names) * widths[-1], classes)
        colour = channels == len(_MEAN)
        shape = (1, -1, *(1 for _ in range(spatial_dims)))
        mean, deviation = (_MEAN, _DEVIATION) if colour else ((0.5,), (0.5,))
        self.register_buffer("mean", torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(shape), persistent=False)

    @property
    def needs_rendering(self) -> bool:
        """Whether a rendering is compared with."""
        return self.branches == "both"

    def forward(self, probabilities: Tensor, image: Tensor, rendering: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Judge predictions.

        Args:
            probabilities: ``(B, C, *S)`` in [0, 1], the prediction after its softmax.
            image: ``(B, channels, *S)`` in [-1, 1].
            rendering: The same shape and range; None for ``branches="image"``.

        Returns:
            Quality ``(B, C)`` of each class, linear and so not bounded, and logits ``(B, *S)`` of the confidence that a
            pixel is right.

        Raises:
            CompatibilityError: Prediction, image and rendering do not fit each other or this comparator.
        """
        self._check(probabilities, image, rendering)
        compressed = self.compress(probabilities)
        seen = {"image": image, "rendering": rendering}
        maps = [
            branch(torch.cat([self._normalised(seen[name]), compressed], 1)) for name, branch in self.branch.items()
        ]
        stages = [torch.cat(stage, 1) for stage in zip(*maps, strict=True)]
        size = probabilities.shape[2:]
        # A linear function of upsampled maps is the upsampled linear function of the maps, at a fraction of the cost.
        parts = self.pixel.weight.view(STAGES, -1)
        confidence = self.pixel.bias.view(1, 1, *(1 for _ in size))
        for stage, lateral, weight in zip(stages, self.lateral, parts, strict=True):
            linear = torch.einsum("bc...,c->b...", lateral(stage), weight)[:, None]
            mode = _INTERPOLATION[self.spatial_dims]
            confidence = confidence + F.interpolate(linear, size=size, mode=mode, align_corners=False)
        return self.quality(stages[-1].flatten(2).mean(2)), confidence[:, 0]

    def _normalised(self, image: Tensor | None) -> Tensor:
        assert image is not None  # noqa: S101 - checked
        return ((image + 1) / 2 - self.get_buffer("mean")) / self.get_buffer("deviation")

    def _check(self, probabilities: Tensor, image: Tensor, rendering: Tensor | None) -> None:
        if probabilities.ndim != 2 + self.spatial_dims or probabilities.shape[1] != self.classes:
            raise CompatibilityError(
                f"this comparator reads predictions (batch, {self.classes} classes, {self.spatial_dims} sides), got "
                f"{tuple(probabilities.shape)}"
            )
        if self.needs_rendering and rendering is None:
            raise CompatibilityError("this comparator compares an image with a rendering, and no rendering was given")
        wanted = (len(probabilities), self.channels, *probabilities.shape[2:])
        for name, found in (("image", image), ("rendering", rendering if self.needs_rendering else None)):
            if found is not None and tuple(found.shape) != wanted:
                raise CompatibilityError(
                    f"prediction and {name} do not fit each other: a prediction of {tuple(probabilities.shape)} goes "
                    f"with {wanted}, got {tuple(found.shape)}; resize them to one size first"
                )

    def load_imagenet(self, state: Mapping[str, Tensor], what: str) -> None:
        """Start all branches from a residual network that was trained on colour images.

        The first convolution takes over its weights for the image; those for the prediction stay as they are.

        Args:
            state: Tensors of a ResNet with as many channels and blocks, by the usual names.
            what: Where they come from, for messages.

        Raises:
            CompatibilityError: They do not fit.
        """
        for branch in self.branch.values():
            given = {name: value for name, value in state.items() if not name.startswith(_UNUSED)}
            first = branch.get_parameter("conv1.weight").detach().clone()
            stem = given.get("conv1.weight")
            if stem is not None and stem.shape == first[:, : self.channels].shape:
                first[:, : self.channels] = stem
                given["conv1.weight"] = first
            load_strictly(branch, given, what)


def judge(
    comparator: Comparator, probabilities: Tensor, image: Tensor, rendering: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Error map and quality of predictions, the comparator at its own size.

    The published ranking adds the network's own confidence to the comparator's: ``sigmoid(confidence) + max p``, from 0
    to 2. The error is minus that.

    Args:
        comparator: In evaluation mode.
        probabilities: ``(B, C, *S)``, the prediction at the size of the answer.
        image: ``(B, channels, *S')`` in [-1, 1], of any size.
        rendering: ``(B, channels, *S'')`` in [-1, 1], of any size; None where none is compared with.

    Returns:
        Errors ``(B, *S)`` in [-2, 0], higher = more likely wrong, and quality ``(B, C)`` clamped to [0, 1].
    """
    size = comparator.size or tuple(image.shape[2:])
    quality, confidence = comparator(
        to_size(probabilities, size), to_size(image, size), None if rendering is None else to_size(rendering, size)
    )
    certain = to_size(confidence[:, None], tuple(probabilities.shape[2:]))[:, 0].sigmoid()
    return -(certain + probabilities.amax(1)), quality.clamp(0, 1)


def to_size(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(B, K, *S)`` at another size: linear, averaging where they shrink.

    Args:
        maps: Float.
        size: The new sides.
    """
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    dims = maps.ndim - 2
    if all(new <= old for new, old in zip(size, maps.shape[2:], strict=True)):
        return F.interpolate(maps, size=tuple(size), mode="area")
    return F.interpolate(maps, size=tuple(size), mode=_INTERPOLATION[dims], align_corners=False)
