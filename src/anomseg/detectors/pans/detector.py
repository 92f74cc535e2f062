"""The detector ``pans``: how unlike every class prototype a pixel is, in one pass or over several scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self

from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Upsample
from anomseg.detectors.options import one_of
from anomseg.detectors.owned import ROLE, NetworkOwner
from anomseg.detectors.prototypes import ClassPrototypes, prototype_network
from anomseg.detectors.scales import scale_factors, scaled_sizes
from anomseg.errors import ConfigError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs

Measure = Literal["cosine", "msp"]


class PAnS(NetworkOwner):
    """Prototype-based anomaly segmentation (Fontanel et al., CVPR workshops 2021): ``(1 - max_k cos(f, w_k)) / 2``.

    It owns the network that it was trained as: a segmenter whose classifier is a cosine one. The rows of that
    classifier are the prototypes.

    Args:
        network: A saved segmenter with prototypes, or a saved detector that carries one; loaded when first needed.
            Empty where the network comes with the directory, or from `PAnS.of`.
        upsample: ``"score"`` takes the largest cosine at the classifier's resolution and resizes that, as published;
            ``"logits"`` resizes first, which calls borders between two known classes odd.
        scales: Factors of the working size, one pass each, whose scores are averaged; sides are rounded up to what
            the network divides by. Empty is one pass at the working size; ``"published"`` are the five of the
            publication, which are its sizes where the working size is 720 x 1280.
        measure: ``"cosine"``; or ``"msp"``: one minus the largest softmax probability, the softmax of the resized
            logits averaged over the passes, as the published code compares with. ``upsample`` is of no matter there.
        class_map: It also names the class of every pixel by that averaged softmax, instead of by the plain pass.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "pans"
    flags: ClassVar[Flags] = Flags(owns_network=True, bounded=True)

    def __init__(
        self,
        network: str = "",
        upsample: Upsample = "score",
        scales: list[float] | str = "",
        measure: Measure = "cosine",
        class_map: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.upsample = one_of("upsample", upsample, ("score", "logits"))
        self.scales = scales
        self.measure = one_of("measure", measure, ("cosine", "msp"))
        self.class_map = class_map
        self.factors = scale_factors(scales)

    @classmethod
    def of(cls, segmenter: Segmenter, **options: Any) -> Self:
        """PAnS on a network at hand.

        Args:
            segmenter: One with prototypes.
            **options: All but ``network``.

        Raises:
            CompatibilityError: The network has no prototypes.
        """
        detector = cls(**options)
        detector.load_networks({ROLE: segmenter})
        return detector

    @property
    def named_network(self) -> str:
        """The option ``network``."""
        return self.network

    def accept(self, network: Segmenter) -> None:
        """Refuse a network without prototypes; see `NetworkOwner.accept`."""
        prototype_network(network)

    @property
    def segments(self) -> bool:  # type: ignore[override] # it depends on an option
        """Whether it names classes apart from the network's plain pass."""
        return self.class_map

    @property
    def forward_passes(self) -> int:
        """As many as there are scales."""
        return max(len(self.factors), 1)

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The plain pass of its own network, or, with scales, passes of other sizes alone."""
        del segmenter
        self.ask(self._require_network(), Needs(prototypes=True))
        return Needs(logits=not self.factors, prototypes=not self.factors)

    def _require_network(self) -> Segmenter:
        network = self.segmenter
        if network is None:
            raise ConfigError(
                "pans has no network; give the directory that 'anomseg train camvid-pans' wrote, or pans:network=DIR"
            )
        return network

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 in [0, 1] at the images' own size."""
        if self.measure == "msp":
            return (1 - self._probabilities(scene).amax(1)).clamp(0, 1)
        scale = prototype_network(self._require_network()).cosine_scale
        total: Tensor | None = None
        for output in self._passes(scene):
            logits = output.logits.float()
            if self.upsample == "logits":
                one = scores.prototype_anomaly(output.upsample(logits, scene.image_size), scale)
            else:
                cells = scores.prototype_anomaly(logits, scale)
                one = output.upsample(cells[:, None], scene.image_size)[:, 0]
            total = one if total is None else total.add_(one)
        assert total is not None  # noqa: S101 - there is at least one pass
        return total.div(self.forward_passes).clamp(0, 1).contiguous()

    def segment(self, scene: Scene) -> Tensor:
        """Class ``(B, H, W)`` int64 by the softmax averaged over the passes; see ``class_map``."""
        return self._probabilities(scene).argmax(1)

    def _probabilities(self, scene: Scene) -> Tensor:
        """Softmax ``(B, K, H, W)`` of the resized logits, averaged over the passes; one running sum."""
        total: Tensor | None = None
        for output in self._passes(scene):
            part = output.upsample(output.logits.float(), scene.image_size).softmax(1)
            total = part if total is None else total.add_(part)
        assert total is not None  # noqa: S101 - there is at least one pass
        return total.div_(self.forward_passes)

    def _passes(self, scene: Scene) -> Iterator[SegmentationOutput]:
        """The passes one after the other, coarse as the network gives them; score and class map share them."""
        own = self.own_scene(scene)
        if not self.factors:
            yield own.output
            return
        for size in scaled_sizes(own.input_size, self.factors, self._require_network().divisor):
            yield own.remembered(("pass", size), partial(self._pass, own, size))

    @staticmethod
    def _pass(own: Scene, size: Size) -> SegmentationOutput:
        return own.output if size == own.input_size else own.forward(size=size)

    def prototype_names(self) -> Sequence[str]:
        """Names of the classes."""
        return ClassPrototypes(self._require_network()).prototype_names()

    def prototype_classes(self) -> Sequence[int]:
        """Every class, once."""
        return ClassPrototypes(self._require_network()).prototype_classes()

    def prototype_similarity(self, scene: Scene) -> Tensor:
        """Cosines ``(B, K, h, w)`` of the plain pass."""
        return ClassPrototypes(self._require_network()).prototype_similarity(self.own_scene(scene))

    def prototype_table(self) -> Tensor:
        """Cosines of the prototypes with each other, ``(K, K)``."""
        return ClassPrototypes(self._require_network()).prototype_table()
