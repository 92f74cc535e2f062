"""The detector ``quality_regression``: uncertainty as error map, and a line from it to the quality of each class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from anomseg import scores
from anomseg.data import label_space_of
from anomseg.detectors.base import FailureDetector, Progress
from anomseg.detectors.failure.uncertainty import class_uncertainty, fit_lines, predicted_quality
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.mc_dropout import MCDropout
from anomseg.detectors.options import one_of, whole
from anomseg.detectors.passes import one_by_one
from anomseg.detectors.road import space_of
from anomseg.detectors.seeding import frame_randomness
from anomseg.errors import CompatibilityError, FrameError
from anomseg.metrics.segmentation import confusion_matrix, iou_of_confusion
from anomseg.scores.uncertainty import probability_entropy
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import VOID, FailurePrediction, Flags, Frame, Needs

Of = Literal["entropy", "msp", "mc_dropout"]
OF: tuple[Of, ...] = ("entropy", "msp", "mc_dropout")
STATE = ("slope", "intercept", "frames")


class QualityRegression(FailureDetector):
    """Failure detection by the network's own doubt (the baselines of Xia et al., ECCV 2020).

    The error map is that of the named detector. The quality of a class, its intersection over union, lies on a line
    over the mean uncertainty of the pixels that it is predicted on: the entropy of the class against all others, or one
    minus its probability. The lines are fitted on labelled frames, which the network must not have been trained on: on
    those it is right and sure.

    Args:
        of: ``"entropy"``; ``"msp"``, one minus the largest probability; or ``"mc_dropout"``, the entropy of the softmax
            of logits that are averaged over passes with dropout sampled, as published.
        passes: Of ``mc_dropout``; 50 as published.
        seed: Of ``mc_dropout``.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "quality_regression"
    flags: ClassVar[Flags] = Flags(needs_fit=True, bounded=True)

    def __init__(self, of: Of = "entropy", passes: int = 50, seed: int = 0, check_logits: bool = True) -> None:
        super().__init__()
        self.of: Of = one_of("of", of, OF)
        self.passes = whole("passes", passes)
        self.seed = seed
        self.check_logits = check_logits
        self._state: dict[str, Tensor] = {}

    @property
    def forward_passes(self) -> int:
        """The plain pass, whose segmentation is judged, and those with dropout."""
        return 1 + (self.passes if self.of == "mc_dropout" else 0)

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The plain pass, and dropout where that is sampled; a network of the classes that it was fitted on."""
        needs = self.ask(segmenter, Needs(logits=True, dropout=self.of == "mc_dropout"))
        if segmenter is not None and self._state and len(segmenter.classes) != len(self._state["slope"]):
            raise CompatibilityError(
                f"quality_regression was fitted on {len(self._state['slope'])} classes, and this network has "
                f"{len(segmenter.classes)}; fit it again on this network"
            )
        known = tuple((self.fitted_on or {}).get("shown_by", ()))
        if segmenter is not None and self._state and known and known != tuple(segmenter.classes):
            raise CompatibilityError(
                f"quality_regression was fitted on other classes ({', '.join(known)}) than this network has "
                f"({', '.join(segmenter.classes)}), or in another order; fit it again on this network"
            )
        return needs

    def assess(self, scene: Scene) -> FailurePrediction:
        """Uncertainty in [0, 1], and the quality of each class, NaN for those that no frame of the fit has shown."""
        self.require_fitted()
        probabilities = self._probabilities(scene)
        doubt = 1 - probabilities.amax(1)
        error = doubt if self.of == "msp" else probability_entropy(probabilities, normalized=True)
        slope, intercept, frames = (self._state[name].to(error.device) for name in STATE)
        quality = predicted_quality(self._uncertainty(scene, probabilities), slope, intercept)
        quality = quality.masked_fill(frames == 0, torch.nan)
        return FailurePrediction(error.float().contiguous(), quality)

    def _probabilities(self, scene: Scene) -> Tensor:
        """``(B, C, H, W)`` float32 at the images' own size."""
        if self.check_logits:
            scores.check_logits(scene.output.logits)
        if self.of != "mc_dropout":
            return scene.logits().softmax(1)
        sampled = MCDropout(self.passes, average="logits", seed=self.seed, check_logits=False)
        found = []
        for single in one_by_one(scene):
            with frame_randomness(self.seed, single.frame_ids[0], single.images.device):
                total = sum(sampled.passes_over(single), torch.zeros(()))
            found.append((total / self.passes).softmax(1))
        return torch.cat(found)

    def _uncertainty(self, scene: Scene, probabilities: Tensor) -> Tensor:
        return class_uncertainty(probabilities, scene.prediction(), entropy=self.of != "msp")

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Fit the lines on frames with class maps, which are translated into the network's classes; see `Detector.fit`.

        Frames without a usable class map are skipped.
        """
        if segmenter is None:
            raise CompatibilityError("quality_regression is fitted on a network's predictions; give a segmenter")
        self._state = {}
        self.needs(segmenter)
        space, count = label_space_of(segmenter.classes), len(segmenter.classes)
        doubts, overlaps = [], []

        def use(frame: Frame, scene: Scene) -> None:
            own, classes = space_of(frame), frame.classes
            if own is None or classes is None:
                raise FrameError(f"{frame.id}: has no class map of a known label space, which quality is told by")
            truth = own.to(space).single()[classes]
            valid = truth != VOID
            confusion = confusion_matrix(truth[valid], scene.prediction()[0].cpu().numpy()[valid], count)
            shown = confusion.sum(1) > 0
            doubt = self._uncertainty(scene, self._probabilities(scene))[0]
            doubts.append(doubt.cpu().numpy())
            overlaps.append(np.where(shown, iou_of_confusion(confusion), np.nan))

        log = FitLog(self.registry_name)
        log.run(segmenter, frames, use, size=size, progress=progress)
        record = log.record(segmenter)
        found = [np.nan_to_num(values) for values in fit_lines(np.stack(doubts), np.stack(overlaps))]
        self._state = {name: torch.from_numpy(values) for name, values in zip(STATE, found, strict=True)}
        self.segmenter_identity = record["segmenter"]
        shown_by = {name: int(number) for name, number in zip(segmenter.classes, found[2], strict=True)}
        self.fitted_on = {**record, "shown_by": shown_by}
        return self

    def state(self) -> dict[str, Tensor]:
        """``slope`` and ``intercept`` ``(C,)`` float64, and ``frames`` ``(C,)`` int64, on how many they rest."""
        return dict(self._state)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: It is not that.
        """
        shapes = {tuple(tensor.shape) for tensor in state.values()}
        if set(state) != set(STATE) or len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise CompatibilityError(
                f"the state of quality_regression is slope, intercept and frames of each class, got {sorted(state)}"
            )
        self._state = {name: state[name] for name in STATE}
