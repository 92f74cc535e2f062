"""A segmenter around another one: what both ways of running a network differently share."""

from __future__ import annotations

from collections.abc import Mapping

from anomseg.segmenters.base import Segmenter
from anomseg.types import FeatureInfo


class WrappedSegmenter(Segmenter):
    """Behaves as the network inside; subclasses change how that is run.

    The working size is the wrapper's own from then on, and so is the identity, with how the network is run under
    ``execution``. The fingerprint stays that of the network inside, whose weights these are. A wrapper is not saved:
    save the network inside, and wrap it again.

    Args:
        segmenter: The network.

    Attributes:
        inner: The network.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter.classes, segmenter.palette, segmenter.size, segmenter.divisor)
        self.inner = segmenter
        self.title = segmenter.title or segmenter.registry_name
        self.train(segmenter.training)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """The feature maps of the network inside."""
        return self.inner.feature_info

    @property
    def provides(self) -> frozenset[str]:
        """What the network inside provides."""
        return self.inner.provides

    def execution(self) -> dict[str, object]:
        """How the network is run, JSON-ready."""
        return {}

    def fingerprint(self) -> str:
        """That of the network inside."""
        return self.inner.fingerprint()

    def identity(self) -> dict[str, object]:
        """That of the network inside, at this working size, with ``execution``: how it is run."""
        inside = self.inner.identity()
        before = inside.get("execution")
        execution = {**(before if isinstance(before, dict) else {}), **self.execution()}
        return {**inside, "size": list(self.size) if self.size else None, "execution": execution}
