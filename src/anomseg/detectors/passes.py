"""What MC dropout and ensembles share: several predictions of one image, averaged as they come, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Detector, Upsample
from anomseg.detectors.options import one_of
from anomseg.errors import ConfigError
from anomseg.segmenters.scene import Scene

Measure = Literal["entropy", "mutual_information", "msp"]
Average = Literal["probabilities", "logits"]


class PassesDetector(Detector):
    """Base of detectors that average several predictions; subclasses implement `passes_over` and `to_image`.

    Memory holds the running mean and one prediction, however many there are; what is kept are three maps an image.

    Args:
        measure: ``"entropy"`` of the mean prediction, ``"mutual_information"`` between prediction and pass (how much
            the passes disagree), or ``"msp"``, one minus the largest mean probability.
        average: ``"probabilities"``, as the papers do, or ``"logits"``, as some published code does.
        normalized: Divide entropy and mutual information by ln C, so that they lie in [0, 1].
        upsample: ``"logits"`` brings each prediction to the image's size, as the published figures do; ``"score"``
            averages at the network's resolution and resizes the map, which is faster and smaller.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    def __init__(
        self,
        measure: Measure = "entropy",
        average: Average = "probabilities",
        normalized: bool = True,
        upsample: Upsample = "logits",
        check_logits: bool = True,
    ) -> None:
        super().__init__()
        self.measure = one_of("measure", measure, ("entropy", "mutual_information", "msp"))
        self.average = one_of("average", average, ("probabilities", "logits"))
        if self.measure == "mutual_information" and self.average == "logits":
            raise ConfigError("measure=mutual_information compares probabilities; use average=probabilities")
        self.normalized = normalized
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.check_logits = check_logits

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: the entropies only when normalised."""
        return self.normalized or self.measure == "msp"

    def passes_over(self, scene: Scene) -> Iterator[Tensor]:
        """Yield logits ``(B, C, h, w)`` of one pass after the other, all at one place and resolution."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its passes are")

    def to_image(self, scene: Scene, maps: Tensor) -> Tensor:
        """Bring maps ``(B, K, h, w)`` from where the passes lie to the images' own size."""
        return scene.resize(maps)

    def measured(self, scene: Scene, summary: scores.PredictionSummary) -> Tensor:
        """Score all images of a scene by what the passes say, ``(B, H, W)`` float32 at the images' own size."""
        score = self._measure(summary)
        return score if self.upsample == "logits" else self.to_image(scene, score[:, None])[:, 0].clamp(min=0)

    def summarised(self, scene: Scene) -> scores.PredictionSummary:
        """Make the passes over a scene, average what they predict, and keep what that says."""
        mean = scores.PredictionMean()
        total: Tensor | None = None
        count = 0
        for logits in self.passes_over(scene):
            if self.check_logits and count == 0:
                scores.check_logits(logits)
            count += 1
            if self.average == "probabilities":
                mean.update(logits.softmax(1))
            else:
                total = logits.clone() if total is None else total.add_(logits)
        if total is not None:
            mean.update((total / count).softmax(1))
        return mean.summary()

    def _measure(self, summary: scores.PredictionSummary) -> Tensor:
        if self.measure == "msp":
            return summary.msp
        if self.measure == "entropy":
            return summary.predictive_entropy(self.normalized)
        return summary.mutual_information(self.normalized)


def one_by_one(scene: Scene) -> Iterator[Scene]:
    """The images of a scene, each as a scene of its own, without any pass made yet."""
    for row, frame_id in enumerate(scene.frame_ids):
        size = [scene.image_sizes[row]]
        images = scene.images[row : row + 1]
        yield Scene(images, [frame_id], size, scene.segmenter, input_size=scene.input_size)
