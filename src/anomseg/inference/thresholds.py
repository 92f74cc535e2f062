"""Thresholds that a detector brings along: those that its calibration stands for."""

from __future__ import annotations

import math

import numpy as np

from anomseg.calibration import LEVELS, StoredThreshold, calibration_of, stored_threshold
from anomseg.detectors.base import Detector
from anomseg.errors import CompatibilityError, ConfigError


def threshold_at_false_alarms(detector: Detector, rate: float, *, calibrated: bool = False) -> float:
    """The score that at most a share ``rate`` of the pixels of the calibration frames reaches.

    Args:
        detector: With the calibration that `anomseg calibrate` stored.
        rate: Share of in-distribution pixels that may be called anomalies, in (0, 1).
        calibrated: The threshold is for calibrated scores; else for the detector's own.

    Raises:
        ConfigError: The rate is not in (0, 1), or lower than any that the calibration's pixels can vouch for.
        CompatibilityError: The detector carries no calibration.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"a share of false alarms of {rate:g} is not between 0 and 1; write for instance 0.01")
    scale = calibration_of(detector)
    if scale is None:
        raise CompatibilityError(
            f"{detector.registry_name} carries no calibration, so no threshold is stored with it; run 'anomseg "
            "calibrate' and give the directory that it saves, or give the threshold itself"
        )
    # The scale is exact at its levels, so the rate asked for is rounded down to the next of them.
    value = math.ceil(-math.log10(rate) / scale.decades * LEVELS - 1e-9) / LEVELS
    if value > scale.reach:
        raise ConfigError(
            f"no score of the calibration stands for a share of false alarms of {rate:g}; at least "
            f"{scale.false_alarm_rate(scale.reach):.2g} can be asked for"
        )
    return value if calibrated else float(scale.threshold(value))


def threshold_of(detector: Detector, *, calibrated: bool = False) -> tuple[float, StoredThreshold] | None:
    """The threshold that `anomseg calibrate --rule` stored with a detector; None where there is none.

    Args:
        detector: Any detector.
        calibrated: The threshold is for calibrated scores; else for the detector's own.

    Returns:
        The threshold, and how it was found.

    Raises:
        CompatibilityError: The detector was changed since it was calibrated.
        DataError: What is stored is damaged.
    """
    stored = stored_threshold(detector.calibration)
    scale = calibration_of(detector) if stored is not None else None
    if stored is None or scale is None:
        return None
    # The scale never falls, so every score that reaches the threshold still does.
    return (float(scale(np.float32(stored.value))) if calibrated else stored.value), stored
