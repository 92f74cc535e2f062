"""The detector ``synthcp``: render what the network says, then compare with the image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Progress
from anomseg.detectors.features import AUTO, feature_names
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.options import fraction, one_of, whole
from anomseg.detectors.scales import scale_factors
from anomseg.detectors.synthcp.class_match import require_classes
from anomseg.detectors.synthcp.comparator import Comparator
from anomseg.detectors.synthcp.comparing import Compared, Comparison, compare, confidence
from anomseg.detectors.synthcp.failures import failures
from anomseg.detectors.synthcp.gate import GateFit
from anomseg.detectors.synthcp.generator import SPADEGenerator
from anomseg.detectors.synthcp.networks import Synthesiser
from anomseg.detectors.synthcp.records import joined
from anomseg.detectors.synthcp.rendering import ENLARGE, Enlarge, as_image, generator_classes, render
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.scores.synthcp import ABOVE, Above
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import FailurePrediction, Frame, Needs

GATE, FIT = "gate", "fit"
_PREFERRED = ("bottleneck", "encoder")


class SynthCP(Synthesiser):
    """Synthesize, then compare (Xia, Zhang, Liu, Shen, Yuille, ECCV 2020): for anomalies and for failures.

    A generator renders the predicted segmentation. Where the rendering is unlike the image, in a feature map of the
    network that segmented it, the content is unknown: ``score = -(p if p > t else c)`` with p the largest softmax
    probability and c the cosine of both features. With a trained comparator, `assess` tells pixels that are likely
    wrong and the expected quality of each class; without one its error map is the score. It scores the network that is
    given, which must predict the classes that the generator renders.

    Args:
        generator: A directory that the stage ``synthesis`` wrote, or that of a saved ``synthcp``, whose networks are
            then used with other options; loaded when first needed. Empty where the generator comes with the directory
            of the detector, or from `SynthCP.of`.
        comparator: A directory of a comparator; empty for none, or where it comes with a detector's directory.
        feature: Name of the feature map that is compared, or several joined by ``+``; ``"auto"`` is ``bottleneck``
            where the network has one, else ``encoder``, else the last it names.
        stride: Pixels of the working size between the cells that are compared; 4 as published.
        scales: Factors of the working size, over which features and softmax are averaged; a pass each over image and
            rendering. Empty is the working size alone; ``"published"`` are the five of the publication.
        gate: t; or ``"fit"``, which finds it on in-distribution frames, see ``share``.
        above: What passes the gate keeps its ``"msp"``, or is wholly trusted: ``"one"``, see `synthcp_gate`.
        share: With ``gate=fit``, the share of in-distribution pixels that does not pass the gate.
        pixels: With ``gate=fit``, pixels drawn from each frame.
        enlarge: How the rendering is brought to the image's size, ``"nearest"`` as published or ``"bilinear"``.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "synthcp"

    def __init__(
        self,
        generator: str = "",
        comparator: str = "",
        feature: str = AUTO,
        stride: int = 4,
        scales: list[float] | str = "",
        gate: float | Literal["fit"] = 0.999,
        above: Above = "msp",
        share: float = 0.5,
        pixels: int = 2000,
        enlarge: Enlarge = "nearest",
        check_logits: bool = True,
    ) -> None:
        super().__init__(generator, comparator)
        if not feature_names(feature):
            raise ConfigError(f"feature must be auto, a name, or names joined by +, got {feature!r}")
        self.feature = feature
        self.stride = whole("stride", stride)
        self.scales = scales
        self.factors = scale_factors(scales) or (1.0,)
        self.gate = _checked_gate(gate)
        self.above = one_of("above", above, ABOVE)
        self.share = fraction("share", share)
        self.pixels = whole("pixels", pixels)
        self.enlarge = one_of("enlarge", enlarge, ENLARGE)
        self.check_logits = check_logits
        self._fitted_gate: float | None = None

    @classmethod
    def of(cls, generator: SPADEGenerator, comparator: Comparator | None = None, **options: Any) -> Self:
        """A detector of networks at hand, which are kept.

        Args:
            generator: Its ``meta`` names the classes, and says what it was trained on.
            comparator: Likewise; None for none.
            **options: Further options of the constructor.

        Raises:
            CompatibilityError: They cannot be used for pictures, or do not name their classes.
        """
        detector = cls(**options)
        detector.take(generator, comparator)
        return detector

    @property
    def threshold(self) -> float:
        """t: the option, or what `fit` has found.

        Raises:
            CompatibilityError: It has not been fitted.
        """
        if isinstance(self.gate, str):
            self.require_fitted()
            assert self._fitted_gate is not None  # noqa: S101 - required
            return self._fitted_gate
        return self.gate

    @property
    def needs_fit(self) -> bool:
        """Whether the gate is to be found on in-distribution frames."""
        return self.gate == FIT

    @property
    def is_fitted(self) -> bool:
        """Whether the gate stands."""
        return not self.needs_fit or self._fitted_gate is not None

    @property
    def forward_passes(self) -> int:
        """Of the network, by `score`: one a scale over image and rendering, and the plain one for the class map."""
        return Comparison((), self.factors).forward_passes

    @property
    def assess_passes(self) -> int:
        """The plain one where there is a comparator, else those of `score`."""
        return self.forward_passes if self.networks_at_hand()[1] is None else 1

    def feature_name(self, segmenter: Segmenter) -> str:
        """The feature map that is compared, or several joined by ``+``."""
        if self.feature != AUTO:
            return self.feature
        names = list(segmenter.feature_info)
        return next((name for name in _PREFERRED if name in names), names[-1] if names else AUTO)

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Logits, and the feature map where the plain pass is one of the scales; networks are loaded now.

        Raises:
            ConfigError: There is no generator, or no feature map of that name.
            CompatibilityError: The network gives no features, or predicts classes that the generator does not render.
        """
        generator, _ = self.networks_at_hand()
        if segmenter is None:
            return Needs(logits=True)
        names = feature_names(self.feature_name(segmenter))
        needs = self.ask(segmenter, Needs(logits=True, features=names))
        self._table(segmenter, generator)
        return needs if 1.0 in self.factors else Needs(logits=True)

    def _table(self, segmenter: Segmenter, generator: SPADEGenerator) -> list[int]:
        known = generator_classes(generator, self.registry_name)
        return require_classes(segmenter.classes, known, self.registry_name)

    def score(self, scene: Scene) -> Tensor:
        """Minus the gated confidence ``(B, H, W)`` float32 in [-1, 1] at the images' own size."""
        found = self.compared(scene)
        return scores.synthcp_gate(found.confidence, found.cosine, self.threshold, self.above).contiguous()

    def compared(self, scene: Scene) -> Compared:
        """Confidence and cosine of a scene, computed once.

        Raises:
            FrameError: A feature is NaN or infinite.
        """

        def make() -> Compared:
            segmenter = _network_of(scene)
            picture = as_image(self.rendering(scene), scene.input_size, self.enlarge)
            return compare(scene, segmenter, picture, self._comparison(segmenter))

        return scene.remembered((id(self), "compared"), make)

    def _comparison(self, segmenter: Segmenter) -> Comparison:
        names = feature_names(self.feature_name(segmenter))
        return Comparison(names, self.factors, self.stride, self.check_logits)

    def rendering(self, scene: Scene) -> Tensor:
        """What the generator makes of the predicted class map, ``(B, 3, h, w)`` in [-1, 1] at its own size; once."""

        def make() -> Tensor:
            generator, _ = self.networks_at_hand()
            table = self._table(_network_of(scene), generator)
            return render(generator.to(scene.images.device), scene.prediction(), table)

        return scene.remembered((id(self), "rendering"), make)

    def pictures(self, scene: Scene) -> dict[str, Tensor]:
        """``rendering``: what the image would look like if the prediction were right; see `Detector.pictures`."""
        picture = as_image(self.rendering(scene), scene.image_size, self.enlarge)
        return {"rendering": picture.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)}

    def assess(self, scene: Scene) -> FailurePrediction:
        """Where the segmentation is likely wrong: the comparator's answer, or the score where there is none.

        The error is ``-(confidence + max p)`` in [-2, 0] at the images' own size, of one pass of the network, whatever
        the scales of `score`; quality is in [0, 1], NaN for classes that the comparator has not learned.
        """
        _, comparator = self.networks_at_hand()
        if comparator is None:
            return super().assess(scene)
        return failures(comparator.to(scene.images.device), scene, self.rendering(scene), self.registry_name)

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Find the gate with ``gate=fit``: the confidence that ``share`` of the valid pixels does not exceed.

        Only the network runs, not the generator; void and anomalous pixels are left out where frames mark them. See
        `Detector.fit`.
        """
        if not self.needs_fit:
            raise CompatibilityError(f"synthcp needs no fitting with gate={self.gate:g}; use it as it is, or gate=fit")
        if segmenter is None:
            raise CompatibilityError("synthcp finds its gate in a network's confidence; give a segmenter")
        network = segmenter
        self.needs(segmenter)
        found = GateFit(self.share, self.pixels)

        def use(frame: Frame, scene: Scene) -> None:
            found.add(frame, confidence(scene, network, self._comparison(network))[0])

        log = FitLog(self.registry_name)
        log.run(segmenter, frames, use, size=size, progress=progress)
        record = log.record(segmenter)
        gate, told = found.result()
        self._fitted_gate, self.segmenter_identity = gate, record["segmenter"]
        self.fitted_on = {**(joined(self.trained_on(), record) or {}), "gate": dict(told)}
        return self

    def state(self) -> dict[str, Tensor]:
        """Generator, comparator and fitted gate, whichever there are."""
        gate = {} if self._fitted_gate is None else {GATE: torch.tensor(self._fitted_gate, dtype=torch.float64)}
        return super().state() | gate

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned; see `Synthesiser.load_state`."""
        gate = state.get(GATE)
        if gate is not None and gate.ndim:
            raise CompatibilityError("the gate in the state of synthcp is no single number; fit it again")
        super().load_state(state)
        self._fitted_gate = None if gate is None else float(gate)

    def card(self) -> dict[str, Any]:
        """See `Detector.card`; with the networks beside the segmenter, the gate, and the passes of both uses."""
        if not self.has_networks:
            return super().card()
        told = self.networks_card()
        return {
            **super().card(),
            "gate": self.threshold if self.is_fitted else None,
            "passes": {"score": self.forward_passes, "assess": self.assess_passes},
            **told,
        }


def _network_of(scene: Scene) -> Segmenter:
    if scene.segmenter is None:
        raise CompatibilityError("synthcp compares a network's features; give a segmenter")
    return scene.segmenter


def _checked_gate(gate: float | str) -> float | Literal["fit"]:
    if gate == FIT:
        return "fit"
    if isinstance(gate, bool) or not isinstance(gate, int | float) or not -1 <= gate <= 1:
        raise ConfigError(f"gate must be a number from -1 to 1, or fit, got {gate!r}")
    return gate
