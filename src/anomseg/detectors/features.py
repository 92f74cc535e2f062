"""Base of detectors that score feature maps of a network, cell by cell, after a fit on in-distribution features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.base import Detector
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Needs

AUTO = "auto"
JOINT = "+"
"""Between the names of several feature maps, whose channels are put together."""
_PREFERRED = ("encoder", "bottleneck")


def default_feature(segmenter: Segmenter) -> str | None:
    """The feature map to read where the user names none.

    The map called ``encoder`` where there is one, else ``bottleneck``: deep, but before a head mixes in what the whole
    image looks like and narrows it down to what tells the known classes apart. Else the last one the network names;
    None where it names none.
    """
    names = list(segmenter.feature_info)
    return next((name for name in _PREFERRED if name in names), names[-1] if names else None)


def feature_names(text: str) -> tuple[str, ...]:
    """Names of the feature maps that an option stands for.

    Example:
        >>> feature_names("stage8 + decoder8")
        ('stage8', 'decoder8')
    """
    return tuple(dict.fromkeys(name.strip() for name in text.split(JOINT) if name.strip()))


class FeatureDetector(Detector):
    """Reads one feature map, or several put together; subclasses implement `fit` and `formula`.

    Args:
        feature: Name of the feature map, or several joined by ``+``, see `feature_map`; ``"auto"`` is
            `default_feature`. ``fitted_on`` says which it was.

    Raises:
        ConfigError: ``feature`` names none.
    """

    stride: int = 0
    """Input pixels between the cells that are scored; 0 takes the feature map's own."""

    def __init__(self, feature: str = AUTO) -> None:
        super().__init__()
        if not feature_names(feature):
            raise ConfigError(f"feature must be auto, a name, or names joined by {JOINT}, got {feature!r}")
        self.feature = feature

    @property
    def channels(self) -> int | None:
        """Channels of the features that it was fitted on; None before."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it was fitted on")

    def formula(self, features: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of features ``(B, D, h, w)``."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def feature_name(self, segmenter: Segmenter | None) -> str:
        """What is read of a network, by its name or names; ``"auto"`` where that cannot be said."""
        if self.feature != AUTO:
            return self.feature
        fitted = (self.fitted_on or {}).get("feature")
        return str(fitted or (default_feature(segmenter) if segmenter is not None else None) or AUTO)

    def feature_to_fit(self, segmenter: Segmenter | None) -> tuple[Segmenter, str]:
        """The network and the feature map (or maps) that `fit` reads, whatever an earlier fit has read.

        Raises:
            CompatibilityError: There is no network, or it gives no feature maps.
            ConfigError: A feature map by that name does not exist.
        """
        if segmenter is None:
            raise CompatibilityError(f"{self.registry_name} is fitted on a network's features; give a segmenter")
        name = self.feature if self.feature != AUTO else default_feature(segmenter) or AUTO
        self.ask(segmenter, Needs(logits=self.fit_reads_logits, features=feature_names(name)))
        return segmenter, name

    @property
    def fit_reads_logits(self) -> bool:
        """Whether a fit reads the network's predictions."""
        return True

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The features, with as many channels as it was fitted with; as long as it is not, also what a fit reads."""
        name = self.feature_name(segmenter)
        names = () if name == AUTO and segmenter is None else feature_names(name)
        logits = not self.is_fitted and self.fit_reads_logits
        needs = self.ask(segmenter, Needs(logits=logits, features=names))
        if segmenter is not None and self.channels is not None:
            channels = sum(segmenter.feature_info[one].channels for one in names)
            if channels != self.channels:
                raise CompatibilityError(
                    f"{self.registry_name} was fitted on a feature of {self.channels} channels, but {name!r} of this "
                    f"network has {channels}; fit it again on this network"
                )
        return needs

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size, scored at the feature's and resized."""
        self.require_fitted()
        score = self.formula(feature_map(scene, self.feature_name(scene.segmenter), self.stride))
        return scene.resize(score[:, None])[:, 0].contiguous()  # cropping the padding leaves a view


def feature_map(scene: Scene, name: str, stride: int = 0) -> Tensor:
    """A feature map of a scene, or the channels of several put together on one grid.

    Maps of different size are brought to the grid of the smallest of them, or to the one that ``stride`` gives: to
    fewer cells by the mean over each cell, to more by bilinear interpolation.

    Args:
        scene: Any scene. Maps that its first pass did not compute cost one more pass.
        name: Name of a feature map, or several joined by ``+``.
        stride: Input pixels between cells; 0 keeps what the maps have.

    Returns:
        ``(B, D, h, w)`` over the padded input.
    """
    names = feature_names(name)
    output = scene.output
    if any(one not in output.features for one in names):
        output = scene.forward(features=names)
    maps = [output.features[one] for one in names]
    smallest = min(((one.shape[-2], one.shape[-1]) for one in maps), key=lambda grid: grid[0] * grid[1])
    height, width = output.padded_size
    grid = (-(-height // stride), -(-width // stride)) if stride else smallest
    maps = [_on_grid(one, grid) for one in maps]
    return maps[0] if len(maps) == 1 else torch.cat([one.float() for one in maps], 1)


def _on_grid(features: Tensor, grid: Size) -> Tensor:
    height, width = features.shape[-2:]
    if (height, width) == grid:
        return features
    if grid[0] <= height and grid[1] <= width:
        return F.interpolate(features.float(), size=grid, mode="area")
    return F.interpolate(features.float(), size=grid, mode="bilinear", align_corners=False)
