"""Conformal risk control: a threshold whose expected false alarms on a new frame stay below a stated risk.

Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal Risk Control", ICLR 2024. Let L_i(t) in [0, 1] be the loss of
unit i at threshold t, which falls as t rises, and R(t) the mean over n calibration units. With

    t* = the least t with  (n R(t) + 1) / (n + 1) <= risk

the expected loss of a new unit at t* is at most the risk, whatever the scores are like, as long as the new unit and
those of the calibration are exchangeable: drawn alike, in no particular order. Frames of one drive are not, which is
why blocks of them may be counted as units; another camera, country or season never is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomseg.calibration.frame_scores import FrameScores, Loss, check_loss, score_above
from anomseg.errors import ConfigError, DataError

_ROUNDING = 1e-12


@dataclass(frozen=True)
class RiskControl:
    """A threshold and what is promised of it.

    Attributes:
        threshold: ``score >= threshold`` is an anomaly.
        risk: The bound on the expected loss of a new unit.
        loss: ``pixels`` or ``frames``, see `FrameScores.losses`.
        block: Consecutive frames of a sequence that make one unit.
        units: Units of the calibration.
        measured: Their mean loss at the threshold.
        corrected: ``(units * measured + 1) / (units + 1)``, at most the risk.
    """

    threshold: float
    risk: float
    loss: Loss
    block: int
    units: int
    measured: float
    corrected: float

    def describe(self) -> str:
        """The promise with its condition, in one sentence."""
        unit = "frame" if self.block == 1 else f"block of {self.block} consecutive frames"
        what = (
            f"the share of in-distribution pixels called anomalous in a new {unit} is at most {self.risk:g}"
            if self.loss == "pixels"
            else f"the chance of any false alarm in a frame of a new {unit} is at most {self.risk:g}"
            if self.block > 1
            else f"the chance of any false alarm in a new frame is at most {self.risk:g}"
        )
        return (
            f"{what} on average, over calibration sets and new data alike, as long as the new {unit} is drawn as the "
            f"{self.units} of the calibration were"
        )


def units_needed(risk: float) -> int:
    """The fewest units with which a risk can be controlled: ``1 / (n + 1)`` must not exceed it.

    Args:
        risk: In (0, 1).

    Raises:
        ConfigError: It is not.

    Example:
        >>> [units_needed(risk) for risk in (0.5, 0.1, 0.01)]
        [1, 9, 99]
    """
    if not 0 < risk < 1:
        raise ConfigError(f"a risk of {risk:g} is not between 0 and 1; write for instance 0.05")
    return math.ceil(1 / risk * (1 - _ROUNDING)) - 1


def check_units(units: Sequence[Sequence[str]], risk: float, block: int = 1) -> None:
    """Refuse a calibration set that is too small for a risk.

    Args:
        units: From `form_units`.
        risk: Bound on the expected loss, in (0, 1).
        block: Frames in a unit, for the message.

    Raises:
        ConfigError: The risk is out of range.
        DataError: There are fewer units than the risk takes.
    """
    needed, count = units_needed(risk), len(units)
    if count < needed:
        unit = "frames" if block == 1 else f"blocks of {block} frames"
        raise DataError(
            f"{count} {unit} of calibration cannot vouch for a risk of {risk:g}, which takes at least {needed}; "
            f"calibrate on more data, or ask for a risk of {1 / (count + 1):.3g} or more"
        )


def control_risk(scores: FrameScores, risk: float, *, loss: Loss = "pixels", block: int = 1) -> RiskControl:
    """The least threshold on the grid whose corrected mean loss stays below the risk.

    Args:
        scores: In-distribution scores of the calibration frames.
        risk: Bound on the expected loss, in (0, 1).
        loss: ``pixels``: the share of a frame's in-distribution pixels that raise an alarm; ``frames``: whether any
            does.
        block: Consecutive frames of a sequence that make one unit, whose loss is the mean of its frames'.

    Raises:
        ConfigError: The risk, loss or block does not exist.
        DataError: The calibration has too few units for this risk, or scores end at the largest float32.

    Example:
        >>> scores = FrameScores()
        >>> for index in range(9): scores.update([index + 1.0], None, str(index))
        >>> found = control_risk(scores, 0.2, loss="frames")
        >>> round(found.threshold, 2), found.measured, found.corrected
        (8.0, 0.1111111111111111, 0.2)
    """
    check_loss(loss)
    units = scores.units(block)
    check_units(units, risk, block)
    count = len(units)
    cells, summed = scores.steps(units, loss)
    allowed = ((count + 1) * risk - 1) * (1 + _ROUNDING) + _ROUNDING
    fine = int(np.searchsorted(summed, allowed, side="right"))  # steps that may be taken; the last reaches count
    threshold = score_above(int(cells[fine]))
    if not math.isfinite(threshold):
        raise DataError("in-distribution scores reach the largest float32, above which there is no threshold")
    measured = float(summed[fine - 1]) / count if fine else 0.0
    return RiskControl(threshold, risk, loss, block, count, measured, (count * measured + 1) / (count + 1))
