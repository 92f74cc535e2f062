"""Detectors that are one formula on the logits of any segmentation network: no training, one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Detector, Upsample
from anomseg.detectors.options import one_of, positive
from anomseg.detectors.owned import NetworkOwner
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs


class LogitDetector(NetworkOwner):
    """Base of detectors whose score is a pure function of the logits; subclasses implement `formula`.

    Args:
        upsample: ``"logits"`` brings the logits to the image's size first and scores there, as the published
            figures do; ``"score"`` scores at the network's resolution and resizes the map, which is faster.
        check_logits: Refuse a network whose outputs are probabilities already.
        of: A network of its own to score instead of the one given beside it: a saved segmenter, or a saved detector
            that carries the network it scores. ``msp:of=runs/pans`` is the MSP of a trained PAnS.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    def __init__(self, upsample: Upsample = "logits", check_logits: bool = True, of: str = "") -> None:
        super().__init__()
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.check_logits = check_logits
        self.of = of
        if of:
            self.flags = replace(type(self).flags, owns_network=True)  # type: ignore[misc] # an option decides

    @property
    def named_network(self) -> str:
        """The option ``of``."""
        return self.of

    def load_networks(self, networks: Mapping[str, Segmenter]) -> None:
        """Take the network where one is owned; see `Detector.load_networks`."""
        if self.of:
            super().load_networks(networks)
        else:
            Detector.load_networks(self, networks)

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Logits of its own network, or of the one given."""
        return self.ask(self.segmenter or segmenter, Needs(logits=True))

    def card(self) -> dict[str, Any]:
        """As `Detector.card`; an empty ``of`` is left out."""
        card = super().card()
        parameters = {key: value for key, value in card["parameters"].items() if key != "of" or value}
        return {**card, "parameters": parameters}

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        scene = self.own_scene(scene)
        if self.upsample == "logits":
            return self.formula(scene.logits())
        return scene.resize(self.formula(scene.output.logits.float())[:, None])[:, 0]


class MSP(LogitDetector):
    """One minus the maximum softmax probability (Hendrycks and Gimpel, 2017), in [0, 1)."""

    registry_name = "msp"
    flags: ClassVar[Flags] = Flags(bounded=True)

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        return scores.msp(logits, check=self.check_logits)


class MaxLogit(LogitDetector):
    """Minus the maximum logit (Hendrycks et al., 2022), unbounded."""

    registry_name = "max_logit"

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        return scores.max_logit(logits, check=self.check_logits)


class Entropy(LogitDetector):
    """Entropy of the softmax; divided by ln C, as SegmentMeIfYouCan does, it lies in [0, 1].

    Args:
        normalized: Divide by ln C; without it the score is in nats and not bounded by 1.
        upsample: See `LogitDetector`.
        check_logits: See `LogitDetector`.
        of: See `LogitDetector`.
    """

    registry_name = "entropy"

    def __init__(
        self, normalized: bool = True, upsample: Upsample = "logits", check_logits: bool = True, of: str = ""
    ) -> None:
        super().__init__(upsample, check_logits, of)
        self.normalized = normalized

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: only when normalised."""
        return self.normalized

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        return scores.entropy(logits, self.normalized, check=self.check_logits)


class Energy(LogitDetector):
    """Free energy -T logsumexp(l / T) (Liu et al., 2020), unbounded.

    Args:
        temperature: T > 0.
        upsample: See `LogitDetector`.
        check_logits: See `LogitDetector`.
        of: See `LogitDetector`.

    Raises:
        ConfigError: The temperature is not positive.
    """

    registry_name = "energy"

    def __init__(
        self, temperature: float = 1.0, upsample: Upsample = "logits", check_logits: bool = True, of: str = ""
    ) -> None:
        super().__init__(upsample, check_logits, of)
        self.temperature = positive("temperature", temperature)

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        return scores.energy(logits, self.temperature, check=self.check_logits)
