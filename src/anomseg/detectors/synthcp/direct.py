"""The detector ``direct_prediction``: failures from image and prediction alone, the baseline of SynthCP."""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor

from anomseg.detectors.base import FailureDetector
from anomseg.detectors.synthcp.carried import packed, unpacked
from anomseg.detectors.synthcp.comparator import Comparator
from anomseg.detectors.synthcp.comparator_saved import load_comparator, rebuild_comparator
from anomseg.detectors.synthcp.failures import class_names, failures
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import FailurePrediction, Flags, Needs

ROLE = "comparator"


class DirectPrediction(FailureDetector):
    """A comparator that sees no rendering (the baseline of Xia et al., ECCV 2020), on any network with its classes.

    Trained as SynthCP's is, on predictions of frames that their network did not see.

    Args:
        comparator: A directory of a comparator with ``branches="image"``; loaded when first needed. Empty where it
            comes with the directory of the detector, or from `DirectPrediction.of`.
    """

    registry_name = "direct_prediction"
    flags: ClassVar[Flags] = Flags()

    def __init__(self, comparator: str = "") -> None:
        super().__init__()
        self.comparator = comparator
        self._comparator: Comparator | None = None

    @classmethod
    def of(cls, comparator: Comparator) -> Self:
        """The detector of a comparator at hand, which is kept.

        Args:
            comparator: Its ``meta`` names the classes, and says what it was trained on.

        Raises:
            CompatibilityError: It compares with a rendering, or does not name its classes.
        """
        detector = cls()
        detector._take(comparator)
        return detector

    def _take(self, comparator: Comparator) -> None:
        class_names(comparator, self.registry_name)
        if comparator.needs_rendering:
            raise CompatibilityError(
                "direct_prediction renders nothing, and this comparator compares with a rendering; use synthcp for it"
            )
        self._comparator = comparator.requires_grad_(False).eval()
        self.fitted_on = self.fitted_on or comparator.meta.get("fitted_on")

    def _required(self) -> Comparator:
        if self._comparator is None:
            if not self.comparator:
                raise ConfigError(
                    "direct_prediction has no comparator; give the directory that 'anomseg train "
                    "camvid-direct-prediction' wrote"
                )
            self._take(load_comparator(self.comparator))
        assert self._comparator is not None  # noqa: S101 - taken just now
        return self._comparator

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The plain pass; the comparator is loaded now, so that a wrong directory is told before any work."""
        self._required()
        return self.ask(segmenter, Needs(logits=True))

    def assess(self, scene: Scene) -> FailurePrediction:
        """Errors in [-2, 0], minus confidence and largest probability, and the expected IoU of each class."""
        return failures(self._required().to(scene.images.device), scene, None, self.registry_name)

    def state(self) -> dict[str, Tensor]:
        """The comparator; empty where there is none."""
        return packed(ROLE, self._required()) if self._comparator is not None or self.comparator else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: It holds no comparator, or a damaged one.
        """
        if not state:
            return
        found = unpacked(ROLE, state, rebuild_comparator, self.registry_name)
        if found is None:
            raise CompatibilityError(f"the state of direct_prediction is a comparator, got {sorted(state)[:3]}")
        self._take(found)
