"""The detector ``bundled``: a small network with an outlier head, its weights in the package."""

from __future__ import annotations

from anomseg.detectors.noisy_negatives import NoisyNegatives
from anomseg.detectors.noisy_negatives.detector import Measure
from anomseg.detectors.saved import shipped_directory


class Bundled(NoisyNegatives):
    """The detector that ships with the package; the recipe ``bundled-detector`` trains it.

    A network of CamVid's eleven classes, the bundled segmenter trained on with pasted negatives, that says in one
    forward pass which class a pixel is of and how likely it is of none. What it learned from, what it reaches and what
    it is not for is told by the model card beside its weights, which are for non-commercial research only.

    Args:
        measure: As that of `NoisyNegatives`.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "bundled"

    def __init__(self, measure: Measure = "outlier") -> None:
        super().__init__("", measure)

    @property
    def named_network(self) -> str:
        """Its directory in the package."""
        return str(shipped_directory(self.registry_name))
