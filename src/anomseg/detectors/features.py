"""Base of detectors that score one feature map of a network, cell by cell, after a fit on in-distribution features."""

from __future__ import annotations

from torch import Tensor

from anomseg.detectors.base import Detector
from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Needs

AUTO = "auto"
_PREFERRED = ("encoder", "bottleneck")


def default_feature(segmenter: Segmenter) -> str | None:
    """The feature map to read where the user names none.

    The map called ``encoder`` where there is one, else ``bottleneck``: deep, but before a head mixes in what the whole
    image looks like and narrows it down to what tells the known classes apart. Else the last one the network names;
    None where it names none.
    """
    names = list(segmenter.feature_info)
    return next((name for name in _PREFERRED if name in names), names[-1] if names else None)


class FeatureDetector(Detector):
    """Reads one feature map; subclasses implement `fit` and `formula`.

    Args:
        feature: Name of the feature map; ``"auto"`` is `default_feature`. ``fitted_on`` says which one it was.
    """

    def __init__(self, feature: str = AUTO) -> None:
        super().__init__()
        self.feature = feature

    @property
    def channels(self) -> int | None:
        """Channels of the feature map that it was fitted on; None before."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it was fitted on")

    def formula(self, features: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of features ``(B, D, h, w)``."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def feature_name(self, segmenter: Segmenter | None) -> str:
        """The feature map that is read of a network, by its name; ``"auto"`` where that cannot be said."""
        if self.feature != AUTO:
            return self.feature
        fitted = (self.fitted_on or {}).get("feature")
        return str(fitted or (default_feature(segmenter) if segmenter is not None else None) or AUTO)

    def feature_to_fit(self, segmenter: Segmenter | None) -> tuple[Segmenter, str]:
        """The network and the feature map that `fit` reads, whatever an earlier fit has read.

        Raises:
            CompatibilityError: There is no network, or it gives no feature maps.
            ConfigError: A feature map by that name does not exist.
        """
        if segmenter is None:
            raise CompatibilityError(f"{self.registry_name} is fitted on a network's features; give a segmenter")
        name = self.feature if self.feature != AUTO else default_feature(segmenter) or AUTO
        self.ask(segmenter, Needs(logits=True, features=(name,)))
        return segmenter, name

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The feature map, with as many channels as it was fitted with; logits too as long as it is not fitted."""
        name = self.feature_name(segmenter)
        names = () if name == AUTO and segmenter is None else (name,)
        needs = self.ask(segmenter, Needs(logits=not self.is_fitted, features=names))
        if segmenter is not None and self.channels not in (None, segmenter.feature_info[name].channels):
            raise CompatibilityError(
                f"{self.registry_name} was fitted on a feature of {self.channels} channels, but {name!r} of this "
                f"network has {segmenter.feature_info[name].channels}; fit it again on this network"
            )
        return needs

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size, scored at the feature's and resized."""
        self.require_fitted()
        score = self.formula(feature_map(scene, self.feature_name(scene.segmenter)))
        return scene.resize(score[:, None])[:, 0].contiguous()  # cropping the padding leaves a view


def feature_map(scene: Scene, name: str) -> Tensor:
    """A feature map ``(B, D, h, w)`` of a scene: of its first pass if that computed it, else of one more pass."""
    output = scene.output
    return (output if name in output.features else scene.forward(features=(name,))).features[name]
