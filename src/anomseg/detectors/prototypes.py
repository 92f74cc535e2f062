"""What detectors that compare features with prototypes tell about them, whatever the method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

from torch import Tensor

from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.cosine import PrototypeNetwork
from anomseg.segmenters.scene import Scene
from anomseg.segmenters.wrapping import WrappedSegmenter


@runtime_checkable
class PrototypeDetector(Protocol):
    """A detector whose prototypes can be looked at: ``anomseg prototypes`` shows what lies nearest to each.

    All lists are in one order, that of the prototypes; a class may have several.
    """

    def prototype_names(self) -> Sequence[str]:
        """One name a prototype, unique: its class's, with a number behind it where a class has several."""
        ...

    def prototype_classes(self) -> Sequence[int]:
        """The class each prototype stands for, as an index into the classes of the network that is scored."""
        ...

    def prototype_similarity(self, scene: Scene) -> Tensor:
        """Similarity of every place to every prototype, ``(B, P, h, w)`` over the padded input, higher = nearer."""
        ...

    def prototype_table(self) -> Tensor:
        """Similarity of the prototypes to each other, ``(P, P)``."""
        ...


def prototype_network(segmenter: Segmenter) -> PrototypeNetwork:
    """A network as one with prototypes, whatever way it is run.

    Args:
        segmenter: The network.

    Raises:
        CompatibilityError: It has none.
    """
    if "prototypes" not in segmenter.provides:
        raise CompatibilityError(
            f"{segmenter.title or segmenter.registry_name} has no class prototypes: its classifier is not a cosine "
            "one; train a network with the option classifier: cosine"
        )
    while isinstance(segmenter, WrappedSegmenter):
        segmenter = segmenter.inner
    return cast(PrototypeNetwork, segmenter)


class ClassPrototypes:
    """The prototypes of a network with a cosine classifier: one a class, the unit rows of that classifier.

    Args:
        segmenter: The network.

    Raises:
        CompatibilityError: Its classifier is another one.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self._network = prototype_network(segmenter)

    def prototype_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.segmenter.classes

    def prototype_classes(self) -> range:
        """Every class, once."""
        return range(len(self.segmenter.classes))

    def prototype_similarity(self, scene: Scene) -> Tensor:
        """Cosines ``(B, K, h, w)`` float32 in [-1, 1] at the classifier's resolution, from the scene's first pass."""
        return scene.output.logits.float() / self._network.cosine_scale

    def prototype_table(self) -> Tensor:
        """Cosines of the prototypes with each other, ``(K, K)``."""
        rows = self._network.prototypes.detach().float()
        return rows @ rows.mT
