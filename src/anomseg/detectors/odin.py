"""ODIN: the confidence that is left after a step towards confidence (Liang, Li and Srikant, ICLR 2018)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Detector, Upsample
from anomseg.detectors.options import not_negative, one_of, positive
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs


class ODIN(Detector):
    """One minus the maximum softmax probability at a temperature, on an image moved towards higher confidence.

    The image is moved by ``-epsilon * sign(gradient of -ln max_c p_c(x; T))``, that is down the negative
    log-probability of each pixel's own prediction, summed over the pixels. (SegmentMeIfYouCan's code takes the softmax
    twice, leaves the temperature out of the gradient and steps the other way; its defaults are kept here, its step is
    not.) The step is one on RGB in [0, 1], before the network normalises: where a network divides by a standard
    deviation s, it sees a step of epsilon / s. Padding takes no part: it neither counts in the loss nor moves, but
    repeats the edge of the moved image. Images are worked on one by one.

    Args:
        epsilon: Length of the step on RGB in [0, 1]; SegmentMeIfYouCan's 1e-4, tuned on Lost and Found.
        temperature: T > 0, in the gradient and in the score; SegmentMeIfYouCan's 3, tuned likewise.
        clamp: Bring the moved image back to [0, 1]; the paper does not.
        upsample: ``"logits"`` brings the logits to the image's size first and scores there, ``"score"`` the score.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "odin"
    flags: ClassVar[Flags] = Flags(bounded=True, forward_passes=2)
    uses_gradients = True

    def __init__(
        self,
        epsilon: float = 1e-4,
        temperature: float = 3.0,
        clamp: bool = False,
        upsample: Upsample = "logits",
        check_logits: bool = True,
    ) -> None:
        super().__init__()
        self.epsilon = not_negative("epsilon", epsilon)
        self.temperature = positive("temperature", temperature)
        self.clamp = clamp
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.check_logits = check_logits

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """A pass with gradients and one on the moved image; the plain pass is not read."""
        self.ask(segmenter, Needs(logits=True, gradient=True))
        return Needs(logits=False, gradient=True)

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        return torch.cat([self._score_one(scene, row) for row in range(len(scene.frame_ids))])

    def _score_one(self, scene: Scene, row: int) -> Tensor:
        output = scene.forward(self.perturbed(scene, row))
        if self.upsample == "logits":
            return scores.odin_score(scene.resize(output.logits), self.temperature, check=False)
        score = scores.odin_score(output.logits.float(), self.temperature, check=False)
        return scene.resize(score[:, None])[:, 0]

    def perturbed(self, scene: Scene, row: int = 0) -> Tensor:
        """The moved image, padded, ``(1, 3, h, w)``.

        Args:
            scene: Any scene with a network.
            row: Which image of it.
        """
        height, width = scene.input_size
        with torch.inference_mode(False), torch.enable_grad():
            # A clone, since a tensor made in inference mode can carry no gradient.
            image = scene.images[row : row + 1, :, :height, :width].clone().requires_grad_()
            output = scene.forward(_pad(scene, image), grad=True)
            if self.check_logits:
                scores.check_logits(output.logits)
            moved = scores.odin_perturb(image, _cells_of_image(output), self.epsilon, self.temperature)
        return _pad(scene, moved.clamp(0, 1) if self.clamp else moved)


def _pad(scene: Scene, image: Tensor) -> Tensor:
    return scene.segmenter.pad(image) if scene.segmenter is not None else image


def _cells_of_image(output: SegmentationOutput) -> Tensor:
    """Those logits ``(B, C, h', w')`` whose cell reaches into the image."""
    rows, columns = (
        -(-length * inside // padded)
        for length, inside, padded in zip(output.logits.shape[-2:], output.input_size, output.padded_size, strict=True)
    )
    return output.logits[..., :rows, :columns]
