"""Detectors that read one number of a mask and know, from failed masks, which Dice goes with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomseg.data.volumes import Case
from anomseg.detectors.synthcp.volumes.base import Judgement, VolumeDetector
from anomseg.detectors.synthcp.volumes.setting import PreparedCase, VolumeSetting, prepare
from anomseg.errors import CompatibilityError, DataError, FrameError


def fit_line(values: Tensor, targets: Tensor) -> tuple[float, float]:
    """Intercept and slope of the least-squares line through some points.

    Args:
        values: ``(N,)``.
        targets: ``(N,)``; pairs with a NaN are left out.

    Returns:
        The line; a level one where the values are all the same.

    Raises:
        DataError: No pair is left.

    Example:
        >>> fit_line(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0]))
        (1.0, 2.0)
    """
    known = ~(values.isnan() | targets.isnan())
    x, y = values[known].double().numpy(), targets[known].double().numpy()
    if not x.size:
        raise DataError("no case has a defined Dice to fit a line to; use cases with predictions and true masks")
    spread = float(np.square(x - x.mean()).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread > 1e-12 else 0.0
    return float(y.mean() - slope * x.mean()), slope


class RegressedDetector(VolumeDetector):
    """Base of these detectors: a line for each target, from a feature of the mask to its Dice.

    Args:
        setting: Classes, targets and grid.
        line: ``(T, 2)`` intercept and slope; None before `fit`.
    """

    def __init__(self, setting: VolumeSetting, line: Tensor | None = None) -> None:
        super().__init__(setting)
        if line is not None and tuple(line.shape) != (len(setting.targets), 2):
            raise CompatibilityError(f"{self.registry_name}: lines of shape {tuple(line.shape)}; fit it again")
        self.line = line

    def feature(self, prepared: PreparedCase) -> Tensor:
        """``(T,)`` the number that is read of each target."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it reads")

    def fit(self, cases: Iterable[Case]) -> dict[str, str]:
        """Fit the lines on cases with predictions and true masks.

        Targets that a mask does not hold are left out, as nothing is read of them.

        Args:
            cases: Read once.

        Returns:
            Why cases were skipped, by id.

        Raises:
            DataError: No case could be used.
        """
        rows, skipped = [], {}
        for case in cases:
            try:
                prepared = prepare(case, self.setting, soft=self.reads_soft)
                with torch.inference_mode():
                    feature = self.feature(prepared)
            except FrameError as error:
                skipped[case.id] = str(error)
                continue
            rows.append(torch.stack([feature.float(), prepared.dice.masked_fill(prepared.empty, torch.nan)]))
        if not rows:
            reason = next(iter(skipped.values()), "there are none")
            raise DataError(f"{self.registry_name} was fitted on no case; the first because: {reason}")
        points = torch.stack(rows)
        self.line = torch.tensor([fit_line(points[:, 0, one], points[:, 1, one]) for one in range(points.shape[2])])
        return skipped

    def judge(self, prepared: PreparedCase) -> Judgement:
        """The line at the feature."""
        if self.line is None:
            raise CompatibilityError(f"{self.registry_name} has not been fitted; train it by a recipe")
        return Judgement(self.line[:, 0] + self.line[:, 1] * self.feature(prepared).float())

    def state(self) -> dict[str, Tensor]:
        """The lines."""
        return {} if self.line is None else {"line": self.line}

    @classmethod
    def rebuild(
        cls, setting: VolumeSetting, options: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> RegressedDetector:
        """See `VolumeDetector.rebuild`."""
        return cls(setting, state.get("line"), **options)


class VolumeUncertainty(RegressedDetector):
    """How unsure the segmentation is of its own mask: the mean entropy of its probabilities inside each target.

    After Jungo et al., "On the Effect of Inter-observer Variability for a Reliable Estimation of Uncertainty of Medical
    Image Segmentation", MICCAI 2018, whose measure is aggregated in another way; ours is the mean over the voxels.
    """

    registry_name = "volume_uncertainty"
    reads_soft = True

    def feature(self, prepared: PreparedCase) -> Tensor:
        """Mean entropy over ``ln C`` inside the predicted target; 0 where the mask holds none of it."""
        if prepared.soft is None:
            raise FrameError("there are no probabilities beside the mask, which volume_uncertainty reads")
        p = prepared.soft / prepared.soft.sum(0).clamp_min(1e-12)
        entropy = torch.special.entr(p).sum(0) / math.log(len(p))
        share = prepared.layout[self.setting.indices]
        return (share * entropy).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp_min(1e-12)
