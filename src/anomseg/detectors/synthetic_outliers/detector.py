"""The detector ``synthetic_outliers``: how little a network knows that has learned to doubt a flow's samples."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from torch import Tensor

from anomseg import scores
from anomseg.detectors.options import one_of, positive
from anomseg.detectors.owned import ROLE, NetworkOwner
from anomseg.errors import ConfigError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs

Measure = Literal["msp", "js"]
MEASURES = ("msp", "js")


class SyntheticOutliers(NetworkOwner):
    """Synthetic outliers (Grcić, Bevandić, Šegvić, VISAPP 2021): the network's own doubt, in one forward pass.

    The flow that drew the outliers in training is not needed any more.

    Args:
        network: A saved segmenter, or a saved detector that carries one; loaded when first needed. Empty where the
            network comes with the directory, or from `SyntheticOutliers.of`.
        measure: ``msp``: one minus the largest softmax probability; ``js``: minus the Jensen-Shannon divergence between
            the uniform distribution and the softmax.
        temperature: Logits are divided by it first.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "synthetic_outliers"
    flags: ClassVar[Flags] = Flags(owns_network=True, bounded=True)

    def __init__(self, network: str = "", measure: Measure = "msp", temperature: float = 2.0) -> None:
        super().__init__()
        self.network = network
        self.measure = one_of("measure", measure, MEASURES)
        self.temperature = positive("temperature", temperature)

    @classmethod
    def of(cls, segmenter: Segmenter, **options: Any) -> Self:
        """The detector on a network at hand.

        Args:
            segmenter: The network.
            **options: All but ``network``.

        Raises:
            CompatibilityError: The network has no classes.
        """
        detector = cls(**options)
        detector.load_networks({ROLE: segmenter})
        return detector

    @property
    def named_network(self) -> str:
        """The option ``network``."""
        return self.network

    def accept(self, network: Segmenter) -> None:
        """Refuse a network without classes; see `NetworkOwner.accept`."""
        self.ask(network, Needs())

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: that of ``msp`` does."""
        return self.measure == "msp"

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The plain pass of its own network.

        Raises:
            ConfigError: It has none.
        """
        del segmenter
        if self.segmenter is None:
            raise ConfigError(
                "synthetic_outliers has no network; give the directory that 'anomseg train camvid-synthetic-outliers' "
                "wrote, or synthetic_outliers:network=DIR"
            )
        return self.ask(self.segmenter, Needs())

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size; logits are resized, then scored."""
        logits = self.own_scene(scene).logits()
        if self.measure == "js":
            return -scores.js_to_uniform(logits, self.temperature, check=False)
        return scores.msp(logits / self.temperature, check=False)
