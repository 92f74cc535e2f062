"""The detector ``flow_likelihood``: how many bits a flow needs for the patch around each pixel."""

from __future__ import annotations

import json
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.base import Detector
from anomseg.detectors.options import whole, whole_or_zero
from anomseg.detectors.synthetic_outliers.flow import FlowDivergedError, RealNVP, flow_meta, load_flow
from anomseg.detectors.synthetic_outliers.flow.saved import rebuild_flow
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs

OPTIONS = "options"
"""Name of the tensor of a state that holds the flow's options, as JSON."""
_AT_ONCE = 64


class FlowLikelihood(Detector):
    """Bits per dimension of the patch around each place under a flow: minus the likelihood; it reads no network.

    It is the plain density test that joint training is compared with. Smooth patches take few bits, whatever they
    show, so it finds texture rather than what is new; docs/synthetic_outliers.md has figures.

    Args:
        flow: A directory that the stage ``flow`` wrote; loaded when first needed. Empty where the flow comes with the
            directory of the detector.
        patch: Side of the patches, a multiple of what the flow divides by.
        stride: Pixels between patches; the score is bilinear in between.
        height: Higher images are shrunk to it first, since a density is one of images at a scale: the shared CamVid
            frames are 360 high. 0 leaves them as they are prepared.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "flow_likelihood"
    flags: ClassVar[Flags] = Flags(forward_passes=0)

    def __init__(self, flow: str = "", patch: int = 32, stride: int = 16, height: int = 360) -> None:
        super().__init__()
        self.flow = flow
        self.patch = whole("patch", patch)
        self.stride = whole("stride", stride)
        self.height = whole_or_zero("height", height)
        self._flow: RealNVP | None = None

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Nothing of the network; the flow is loaded now, so that a wrong directory is told before any work."""
        del segmenter
        self._require_flow()
        return Needs(logits=False)

    def _require_flow(self) -> RealNVP:
        if self._flow is None:
            if not self.flow:
                raise ConfigError(
                    "flow_likelihood has no flow; give the directory that 'anomseg train camvid-flow' wrote, as "
                    "flow_likelihood:flow=DIR"
                )
            self._take(load_flow(self.flow))
            self.fitted_on = self.fitted_on or flow_meta(self.flow).get("fitted_on")
        assert self._flow is not None  # noqa: S101 - taken just now
        return self._flow

    def _take(self, flow: RealNVP) -> None:
        if flow.channels != 3:
            raise CompatibilityError(f"flow_likelihood reads colour images, and this flow has {flow.channels} channels")
        flow.check_size((self.patch, self.patch))
        self._flow = flow.requires_grad_(False).eval()

    def score(self, scene: Scene) -> Tensor:
        """Bits per dimension ``(B, H, W)`` float32 at the images' own size; higher = less likely."""
        flow = self._require_flow().to(scene.images.device)
        height, width = scene.input_size
        images = scene.images[..., :height, :width].float()
        # One by one: a convolution rounds differently in a larger batch, and maps must not depend on theirs.
        maps = torch.cat([self._map(flow, image[None]) for image in images])
        return F.interpolate(maps, size=scene.image_size, mode="bilinear", align_corners=False)[:, 0].contiguous()

    def _map(self, flow: RealNVP, image: Tensor) -> Tensor:
        """Score ``(1, 1, h, w)`` of an image ``(1, 3, H, W)``, at the size at which it is read."""
        height, width = image.shape[-2:]
        if 0 < self.height < height:
            size = (self.height, max(round(width * self.height / height), 1))
            image = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
            image = image.clamp(0, 1).mul(255).round().div(255)  # the density is one of 256 levels
            height, width = size
        tops, lefts = (_starts(length, self.patch, self.stride) for length in (height, width))
        missing = [max(self.patch - length, 0) for length in (height, width)]
        padded = F.pad(image, (0, missing[1], 0, missing[0]), mode="replicate")[0]
        places = [(top, left) for top in tops for left in lefts]
        bits = []
        for first in range(0, len(places), _AT_ONCE):
            patches = [
                padded[:, top : top + self.patch, left : left + self.patch]
                for top, left in places[first : first + _AT_ONCE]
            ]
            bits.append(flow.bits_per_dimension(torch.stack(patches), noise=False))
        grid = torch.cat(bits).view(1, 1, len(tops), len(lefts))
        if not bool(torch.isfinite(grid).all()):
            raise FlowDivergedError("the flow gives no finite density here: it has diverged; train it again")
        covered: Size = (len(tops) * self.stride, len(lefts) * self.stride)
        return F.interpolate(grid, size=covered, mode="bilinear", align_corners=False)[..., :height, :width]

    def state(self) -> dict[str, Tensor]:
        """The flow's weights and its options; empty where there is no flow."""
        if self._flow is None and not self.flow:
            return {}
        flow = self._require_flow()
        options = torch.tensor(list(json.dumps(flow.options()).encode()), dtype=torch.uint8)
        return {OPTIONS: options, **{f"flow.{name}": value for name, value in flow.state_dict().items()}}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: It is not the state of a flow.
        """
        if not state:
            return
        try:
            options = json.loads(bytes(state[OPTIONS].to(torch.uint8).tolist()))
        except (KeyError, ValueError) as error:
            raise CompatibilityError(
                f"the state of flow_likelihood is a flow and its options, got {sorted(state)[:3]}"
            ) from error
        weights = {name.removeprefix("flow."): value for name, value in state.items() if name != OPTIONS}
        self._take(rebuild_flow(options, weights, "the state of flow_likelihood"))


def _starts(length: int, patch: int, stride: int) -> list[int]:
    """Where the patches around the middle of each stride begin; those at the ends are moved into the image.

    Example:
        >>> _starts(64, 32, 16)
        [0, 8, 24, 32]
    """
    cells = -(-length // stride)
    return [min(max(cell * stride + (stride - patch) // 2, 0), max(length - patch, 0)) for cell in range(cells)]
