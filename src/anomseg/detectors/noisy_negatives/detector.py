"""The detector ``noisy_negatives``: scores of a network that has learned from pasted negatives."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.options import one_of
from anomseg.detectors.owned import ROLE, NetworkOwner
from anomseg.errors import ConfigError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs

Measure = Literal["auto", "outlier", "product", "hybrid", "extra_class", "sigmoid", "msp"]
MEASURES = ("auto", "outlier", "product", "hybrid", "extra_class", "sigmoid", "msp")
MEASURE_OF: dict[str, str] = {
    "two_head": "outlier",
    "extra_class": "extra_class",
    "sigmoid": "sigmoid",
    "outlier_exposure": "msp",
}
"""The score that each variant of the training is for."""
_NEEDS = {
    "outlier": Needs(logits=False, outlier_head=True),
    "product": Needs(outlier_head=True),
    "hybrid": Needs(outlier_head=True),
    "extra_class": Needs(void=True),
}


class NoisyNegatives(NetworkOwner):
    """Training on noisy negatives (Bevandić et al., arXiv 2101.09193): its own network says what is an outlier.

    One forward pass gives the classes and the score.

    Args:
        network: A saved segmenter with an outlier head or an extra class, or a saved detector that carries one; loaded
            when first needed. Empty where the network comes with the directory, or from `NoisyNegatives.of`.
        measure: ``outlier``: the probability that the outlier head gives; ``product``: that times one minus the
            largest softmax probability; ``hybrid``: that of DenseHybrid, free energy plus the log-probability of the
            outlier head; ``extra_class``: the probability of the extra class; ``sigmoid``: one minus the largest
            sigmoid; ``msp``: one minus the largest softmax probability. ``auto``: the one that the network was trained
            for, else the one that its outputs allow.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "noisy_negatives"
    flags: ClassVar[Flags] = Flags(owns_network=True, uses_negatives=True, bounded=True)

    def __init__(self, network: str = "", measure: Measure = "auto") -> None:
        super().__init__()
        self.network = network
        self.measure = one_of("measure", measure, MEASURES)

    @classmethod
    def of(cls, segmenter: Segmenter, **options: Any) -> Self:
        """The detector on a network at hand.

        Args:
            segmenter: The network.
            **options: All but ``network``.

        Raises:
            CompatibilityError: The network lacks what the measure reads.
        """
        detector = cls(**options)
        detector.load_networks({ROLE: segmenter})
        return detector

    @property
    def named_network(self) -> str:
        """The option ``network``."""
        return self.network

    def accept(self, network: Segmenter) -> None:
        """Refuse a network without what the measure reads; see `NetworkOwner.accept`."""
        self.ask(network, _NEEDS.get(self.measure, Needs()))

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: all but ``hybrid`` do."""
        return self.measure != "hybrid"

    @property
    def chosen(self) -> str:
        """The measure, where it is ``auto`` the one that the network was trained for.

        Raises:
            ConfigError: There is no network, or nothing tells which measure is meant.
        """
        network = self.segmenter
        if network is None:
            raise ConfigError(
                "noisy_negatives has no network; give the directory that 'anomseg train camvid-noisy-negatives' wrote, "
                "or noisy_negatives:network=DIR"
            )
        if self.measure != "auto":
            return self.measure
        told = ((self.fitted_on or {}).get("training") or {}).get("variant")
        if told in MEASURE_OF:
            return MEASURE_OF[told]
        for output, measure in (("outlier_head", "outlier"), ("void", "extra_class")):
            if output in network.provides:
                return measure
        raise ConfigError(
            f"{network.title or network.registry_name} has neither an outlier head nor an extra class; say which "
            "measure it was trained for: measure=sigmoid or measure=msp"
        )

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The plain pass of its own network, with the outputs that the measure reads."""
        del segmenter
        needs = _NEEDS.get(self.chosen, Needs())
        return self.ask(self.segmenter, needs)

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size; logits are resized, then scored."""
        measure, scene = self.chosen, self.own_scene(scene)
        output = scene.output
        if measure == "msp":
            return scores.msp(scene.logits(), check=False)
        if measure == "sigmoid":
            return 1 - scene.logits().amax(1).sigmoid()
        if measure == "extra_class":
            void = output.void_logits
            assert void is not None  # noqa: S101 - the network was asked
            return torch.cat([scene.logits(), scene.upsampled("void", lambda: void)], 1).softmax(1)[:, -1]
        head = output.outlier_logits
        assert head is not None  # noqa: S101 - the network was asked
        pair = scene.upsampled("outlier", lambda: head)
        if measure == "hybrid":
            return scores.dense_hybrid(scene.logits(), pair, check=False)
        outlier = scores.outlier_head(pair, check=False)
        return outlier * scores.msp(scene.logits(), check=False) if measure == "product" else outlier
