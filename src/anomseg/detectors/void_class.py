"""The void output of a network that was trained with one: what it itself calls none of its classes."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Detector, Upsample
from anomseg.detectors.options import one_of
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs

Form = Literal["probability", "logit"]


class VoidClass(Detector):
    """The probability of the void output, the softmax running over the C classes and void; or void's logit.

    Args:
        form: ``"probability"``, in [0, 1], or ``"logit"``, unbounded.
        upsample: ``"logits"`` brings the logits to the image's size first and scores there, ``"score"`` the score.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "void_class"
    flags: ClassVar[Flags] = Flags(bounded=True)

    def __init__(self, form: Form = "probability", upsample: Upsample = "logits", check_logits: bool = True) -> None:
        super().__init__()
        self.form = one_of("form", form, ("probability", "logit"))
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.check_logits = check_logits

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: a probability does, a logit does not."""
        return self.form == "probability"

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Logits and the void output."""
        return self.ask(segmenter, Needs(logits=True, void=True))

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        void = self._void(scene)
        if self.upsample == "logits":
            return self._formula(scene.logits(), scene.upsampled("void", lambda: void))
        return scene.resize(self._formula(scene.output.logits.float(), void.float())[:, None])[:, 0]

    def _void(self, scene: Scene) -> Tensor:
        self.needs(scene.segmenter)
        void = scene.output.void_logits
        assert void is not None  # noqa: S101 - the network was just asked
        return void

    def _formula(self, logits: Tensor, void: Tensor) -> Tensor:
        together = torch.cat([logits, void], 1)
        if self.check_logits:
            scores.check_logits(together)
        return together.softmax(1)[:, -1] if self.form == "probability" else void[:, 0]
