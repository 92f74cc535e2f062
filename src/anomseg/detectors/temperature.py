"""Temperature scaling: logits divided by what makes them best calibrated (Guo et al., ICML 2017), then scored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Detector, Progress, Upsample
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.options import one_of, whole
from anomseg.detectors.seeding import frame_seed
from anomseg.detectors.targets import ClassTargets
from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Frame

Score = Literal["msp", "entropy", "energy"]


class TemperatureScaling(Detector):
    """A score at the temperature under which labelled in-distribution pixels are likeliest.

    The temperature is fitted on frames with class maps, translated into the network's classes, at the resolution of
    its logits; void, and classes that the network has not, are left out. The network's own predictions cannot take the
    place of labels, since they are likeliest at temperature 0: frames without a usable class map are skipped.

    Args:
        score: ``"msp"``, ``"entropy"`` (over ln C) or ``"energy"`` of the scaled logits.
        pixels: Pixels drawn from each frame to fit on, at random but always the same ones.
        upsample: ``"logits"`` brings the logits to the image's size first and scores there, ``"score"`` the score.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "temperature_scaling"
    flags: ClassVar[Flags] = Flags(needs_fit=True)

    def __init__(
        self,
        score: Score = "msp",
        pixels: int = 1000,
        upsample: Upsample = "logits",
        check_logits: bool = True,
    ) -> None:
        super().__init__()
        self.score_name = one_of("score", score, ("msp", "entropy", "energy"))
        self.pixels = whole("pixels", pixels)
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.check_logits = check_logits
        self._temperature: Tensor | None = None

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: all but the energy do."""
        return self.score_name != "energy"

    @property
    def temperature(self) -> float:
        """The fitted T > 0; above 1 the network was overconfident."""
        self.require_fitted()
        assert self._temperature is not None  # noqa: S101 - it is fitted
        return float(self._temperature)

    def get_params(self) -> dict[str, Any]:
        """Constructor arguments and their present values."""
        # ``score`` is the method's name, so the option is kept under another.
        return {
            "score": self.score_name,
            "pixels": self.pixels,
            "upsample": self.upsample,
            "check_logits": self.check_logits,
        }

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Find the temperature on frames with class maps, in one pass; see `Detector.fit`.

        What the record says besides: the likelihood and the calibration error before and after, the accuracy, and how
        the classes were translated.
        """
        if segmenter is None:
            raise CompatibilityError("temperature_scaling is fitted on a network's logits; give a segmenter")
        targets = ClassTargets(segmenter, "dataset", self.registry_name)
        drawn: list[tuple[Tensor, Tensor]] = []

        def use(frame: Frame, scene: Scene) -> None:
            if self.check_logits:
                scores.check_logits(scene.output.logits)
            try:
                logits, labels = targets.samples(frame, scene, scene.output.logits)
            except CompatibilityError as error:
                raise FrameError(f"{frame.id}: {error}") from error
            generator = torch.Generator().manual_seed(frame_seed(0, [frame.id]))
            chosen = torch.randperm(len(labels), generator=generator)[: self.pixels]
            drawn.append((logits[chosen.to(logits.device)].detach().float().cpu(), labels[chosen].cpu()))

        log = FitLog(self.registry_name)
        log.run(segmenter, frames, use, size=size, progress=progress)
        record = log.record(segmenter)
        logits, labels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        if not len(labels):
            raise DataError("no pixel of these frames has a class of the network; give other frames")
        self._temperature = torch.tensor(scores.fit_temperature(logits, labels), dtype=torch.float64)
        self.segmenter_identity = record["segmenter"]
        self.fitted_on = {
            **record,
            **targets.record(),
            "pixels": len(labels),
            "temperature": self.temperature,
            **_evidence(logits, labels, self.temperature),
        }
        return self

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        self.require_fitted()
        if self.upsample == "logits":
            return self._formula(scene.logits())
        return scene.resize(self._formula(scene.output.logits.float())[:, None])[:, 0]

    def _formula(self, logits: Tensor) -> Tensor:
        if self.check_logits:
            scores.check_logits(logits)
        if self.score_name == "energy":
            return scores.energy(logits, self.temperature, check=False)
        scaled = logits / self.temperature
        if self.score_name == "msp":
            return scores.msp(scaled, check=False)
        return scores.entropy(scaled, normalized=True, check=False)

    def state(self) -> dict[str, Tensor]:
        """The temperature, once fitted."""
        return {} if self._temperature is None else {"temperature": self._temperature}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: It is no temperature.
        """
        if set(state) != {"temperature"} or state["temperature"].ndim != 0:
            raise CompatibilityError(f"the state of temperature_scaling is one number, got {sorted(state)}")
        if not 0 < float(state["temperature"]) < float("inf"):
            raise CompatibilityError("the state of temperature_scaling is no temperature above 0; fit it again")
        self._temperature = state["temperature"].to(torch.float64)


def _evidence(logits: Tensor, labels: Tensor, temperature: float) -> dict[str, Any]:
    """Likelihood and calibration before and after, and the accuracy, which scaling does not change."""
    correct = logits.argmax(1) == labels
    told: dict[str, Any] = {"accuracy": float(correct.to(torch.float64).mean())}
    for name, value in (("before", 1.0), ("after", temperature)):
        confidence = (logits.to(torch.float64) / value).softmax(1).amax(1)
        told[f"nll_{name}"] = scores.negative_log_likelihood(logits, labels, value)
        told[f"ece_{name}"] = scores.expected_calibration_error(confidence, correct)
    return told
