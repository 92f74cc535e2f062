"""The contract of detectors of failures in volumes: a case goes in, the expected Dice of its mask comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from anomseg.data.volumes import Case
from anomseg.detectors.synthcp.volumes.setting import PreparedCase, VolumeSetting, prepare
from anomseg.types import FailurePrediction


@dataclass(frozen=True)
class Judgement:
    """What a detector says of a prepared case, on its grid.

    Attributes:
        quality: ``(T,)`` expected Dice of each target.
        error: ``(D, H, W)`` chance that a voxel is wrong, in [0, 1]; None where voxels are not judged.
        rendering: ``(D, H, W)`` in [-1, 1], what the mask was rendered as; None where nothing is rendered.
    """

    quality: Tensor
    error: Tensor | None = None
    rendering: Tensor | None = None


@dataclass(frozen=True)
class CasePrediction:
    """What is told of a case.

    Attributes:
        failure: The error map ``(1, D, H, W)`` at the volume's own size, or None, and the Dice ``(1, T)`` in [0, 1].
        prepared: The case on the grid.
        judgement: What was said of it there.
    """

    failure: FailurePrediction
    prepared: PreparedCase
    judgement: Judgement


class VolumeDetector:
    """Base of all detectors of failures in volumes.

    Attributes:
        registry_name: Its name.
        reads_soft: It needs the probabilities of the prediction, beside the mask.
        setting: Classes, targets and grid.
        fitted_on: What it was fitted on: sets, fingerprints of cases, the training's record; None before.
    """

    registry_name: ClassVar[str]
    reads_soft: ClassVar[bool] = False

    def __init__(self, setting: VolumeSetting) -> None:
        self.setting = setting
        self.fitted_on: dict[str, Any] | None = None

    def judge(self, prepared: PreparedCase) -> Judgement:
        """Judge a case on the grid; what is said of a target that the mask does not hold is not read."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it judges")

    def options(self) -> dict[str, Any]:
        """What `rebuild` needs beside the state, JSON-ready."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {}

    @classmethod
    def rebuild(cls, setting: VolumeSetting, options: Mapping[str, Any], state: Mapping[str, Tensor]) -> VolumeDetector:
        """A detector of what `options` and `state` gave.

        Raises:
            CompatibilityError: They do not fit.
        """
        raise NotImplementedError(f"{cls.__name__} does not say how it is built")

    def predict(self, case: Case) -> CasePrediction:
        """The expected Dice of a case's predicted mask.

        A target that the mask does not hold has Dice 0 where the truth holds it, and an undefined one where not: 0 is
        said of it, which is right wherever there is anything to be right about.

        Args:
            case: With an image and a prediction; its truth is not looked at.

        Raises:
            FrameError: It cannot be decoded, or has no predicted mask.
            CompatibilityError: Its masks name other classes, or it lacks probabilities that are read.
        """
        prepared = prepare(replace(case, truth=None), self.setting, soft=self.reads_soft)
        with torch.inference_mode():
            judgement = self.judge(prepared)
        quality = judgement.quality.clamp(0, 1).masked_fill(prepared.empty, 0.0)
        error = None
        if judgement.error is not None:
            whole = self.setting.grid.back(judgement.error, prepared.box, prepared.shape)
            error = torch.from_numpy(whole)[None]
        return CasePrediction(FailurePrediction(error, quality[None].float(), "dice"), prepared, judgement)

    def card(self) -> dict[str, Any]:
        """What every result card says of it; fingerprints stay in the saved form."""
        fitted_on = {key: value for key, value in (self.fitted_on or {}).items() if key != "fingerprints"}
        return {"name": self.registry_name, **self.setting.to_json(), **self.options(), "fitted_on": fitted_on or None}
