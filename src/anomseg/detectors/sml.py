"""Standardized max logits (Jung et al., Standardized Max Logits, ICCV 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg import scores
from anomseg.detectors.base import Detector, Progress, Upsample
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.moments import ClassMoments
from anomseg.detectors.options import one_of, positive
from anomseg.detectors.targets import cells_inside
from anomseg.errors import CompatibilityError, DataError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import VOID, Flags, Frame, Needs

_STATE = ("mean", "variance", "count")


class SML(Detector):
    """The max logit against its mean and variance for the predicted class, then boundary suppression and smoothing.

    The statistics come from in-distribution frames, which need no labels: each pixel counts for the class that the
    network predicts there, at the resolution of its logits. Padding is left out, and so are void pixels where a
    frame has a class map. A class predicted on fewer than two pixels takes the statistics of all pixels together.

    Args:
        boundary_suppression: Replace scores near boundaries between predicted classes by those beside them.
        smoothing: Smooth by the dilated Gaussian.
        upsample: ``"logits"`` (the published figures) scores at the image's size, ``"score"`` at the network's.
        unbiased: Divide the squared deviations by n - 1 instead of n.
        minimum_variance: Lower bound of every class's variance, against division by nearly nothing.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "sml"
    flags: ClassVar[Flags] = Flags(needs_fit=True)

    def __init__(
        self,
        boundary_suppression: bool = True,
        smoothing: bool = True,
        *,
        upsample: Upsample = "logits",
        unbiased: bool = False,
        minimum_variance: float = 1e-4,
        check_logits: bool = True,
    ) -> None:
        super().__init__()
        self.boundary_suppression = boundary_suppression
        self.smoothing = smoothing
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.unbiased = unbiased
        self.minimum_variance = positive("minimum_variance", minimum_variance)
        self.check_logits = check_logits
        self._state: dict[str, Tensor] = {}

    @property
    def mean(self) -> Tensor:
        """``(C,)`` float64 mean of the max logit for each predicted class."""
        self.require_fitted()
        return self._state["mean"]

    @property
    def variance(self) -> Tensor:
        """``(C,)`` float64 variance of the max logit for each predicted class, above 0."""
        self.require_fitted()
        return self._state["variance"]

    @property
    def fallback(self) -> list[int]:
        """Classes predicted too rarely for statistics of their own; they have those of all pixels together."""
        self.require_fitted()
        return (self._state["count"] < 2).nonzero()[:, 0].tolist()

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Logits, of as many classes as it was fitted with."""
        if self._state and segmenter is not None and len(segmenter.classes) != len(self.mean):
            raise CompatibilityError(
                f"sml was fitted with {len(self.mean)} classes but this network has {len(segmenter.classes)}; "
                "fit it again on this network"
            )
        return self.ask(segmenter, Needs(logits=True))

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Estimate mean and variance of the max logit for each predicted class, in one pass; see `Detector.fit`."""
        if segmenter is None:
            raise CompatibilityError("sml is fitted on a network's logits; give a segmenter")
        moments = ClassMoments(len(segmenter.classes))

        def use(frame: Frame, scene: Scene) -> None:
            classes = frame.classes
            output = scene.output
            if self.check_logits:
                scores.check_logits(output.logits)
            rows, columns = cells_inside(output, (output.logits.shape[-2], output.logits.shape[-1]))
            top, predicted = output.logits[..., :rows, :columns].float().max(1)
            if classes is not None:
                known = torch.from_numpy(classes != VOID)[None, None].to(top.device, torch.uint8)
                keep = F.interpolate(known, size=top.shape[-2:], mode="nearest")[:, 0] > 0
                top, predicted = top[keep], predicted[keep]
            moments.update(top.flatten(), predicted.flatten())

        log = FitLog(self.registry_name)
        log.run(segmenter, frames, use, size=size, progress=progress)
        record = log.record(segmenter)
        if not int(moments.count.sum()):
            raise DataError("every pixel of the frames to fit sml on is void; give other frames")
        rare = moments.count < 2
        mean, variance = moments.pooled(self.unbiased)
        self._state = {
            "mean": torch.where(rare, mean, moments.mean),
            "variance": torch.where(rare, variance, moments.variance(self.unbiased)).clamp(min=self.minimum_variance),
            "count": moments.count,
        }
        self.segmenter_identity = record["segmenter"]
        self.fitted_on = {**record, "fallback_classes": [segmenter.classes[index] for index in self.fallback]}
        return self

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        self.require_fitted()
        if self.upsample == "logits":
            return self._formula(scene.logits())
        return scene.resize(self._formula(scene.output.logits.float())[:, None])[:, 0]

    def _formula(self, logits: Tensor) -> Tensor:
        score = scores.standardized_max_logit(logits, self.mean, self.variance, check=self.check_logits)
        if self.boundary_suppression:
            score = scores.suppress_boundaries(score, logits.argmax(1))
        return scores.dilated_smoothing(score) if self.smoothing else score

    def state(self) -> dict[str, Tensor]:
        """Mean, variance and pixel count of each class."""
        return dict(self._state)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: Tensors are missing, of unequal length, or not usable as statistics.
        """
        if sorted(state) != sorted(_STATE):
            raise CompatibilityError(f"the state of sml holds {', '.join(_STATE)}, got {sorted(state)}")
        if any(tensor.ndim != 1 or len(tensor) != len(state["mean"]) for tensor in state.values()):
            raise CompatibilityError(f"the state of sml has unequal shapes {[tuple(t.shape) for t in state.values()]}")
        if not bool((state["variance"] > 0).all() and state["mean"].isfinite().all()):
            raise CompatibilityError("the state of sml holds variances or means that are no statistics; fit it again")
        self._state = dict(state)
