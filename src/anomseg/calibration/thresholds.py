"""Thresholds that are found on calibration frames, stored with the detector, and what is to be said of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from anomseg.calibration.conformal import control_risk, units_needed
from anomseg.calibration.frame_scores import FrameScores, Loss, check_loss
from anomseg.calibration.statistics import ScoreStatistics
from anomseg.detectors import SavedCalibration
from anomseg.errors import ConfigError, DataError, unknown_name
from anomseg.metrics import PixelCurve

Rule = Literal["quantile", "conformal", "best_f1"]
RULES: tuple[Rule, ...] = get_args(Rule)
ORACLE = (
    "best F1, an oracle: chosen on labelled anomalies, so no figure at it on those frames is to be expected elsewhere"
)


@dataclass(frozen=True)
class ThresholdRule:
    """How a threshold is to be found.

    Attributes:
        rule: ``quantile``: at most a share ``risk`` of all calibration pixels reach it; ``conformal``: the expected
            loss of a new frame or block is at most ``risk``, see `control_risk`; ``best_f1``: the best F1 on labelled
            anomalies, an oracle.
        risk: In (0, 1); None for ``best_f1``.
        loss: What is controlled by ``conformal``: ``pixels`` or ``frames``.
        block: Consecutive frames of a sequence that ``conformal`` counts as one unit.

    Raises:
        ConfigError: A rule or loss does not exist, or options do not go together.

    Example:
        >>> ThresholdRule("conformal", 0.05, block=10).loss
        'pixels'
    """

    rule: Rule
    risk: float | None = None
    loss: Loss = "pixels"
    block: int = 1

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown_name("threshold rule", self.rule, RULES)
        check_loss(self.loss)
        if self.rule == "best_f1" and self.risk is not None:
            raise ConfigError("best_f1 takes the best threshold and knows no risk; leave the risk out")
        if self.rule != "best_f1" and self.risk is None:
            raise ConfigError(f"the rule {self.rule} needs a risk; write for instance 0.01")
        if self.rule != "conformal" and (self.loss != "pixels" or self.block != 1):
            raise ConfigError(f"loss and block belong to the rule conformal; leave them out with {self.rule}")
        if self.block < 1:
            raise ConfigError(f"a block of {self.block} frames is none; give 1 or more")
        if self.risk is not None:
            units_needed(self.risk)


@dataclass(frozen=True)
class StoredThreshold:
    """A threshold as a detector carries it.

    Attributes:
        value: ``score >= value`` is an anomaly, on the detector's own scores.
        rule: How it was found.
        told: What can be said of it, in one sentence.
        oracle: Whether labelled anomalies were looked at.
        content: All of it, JSON-ready.
    """

    value: float
    rule: Rule
    told: str
    oracle: bool
    content: dict[str, Any]

    @property
    def title(self) -> str:
        """The rule's name, an oracle called one."""
        return f"{self.rule} (oracle)" if self.oracle else self.rule


def find_threshold(
    rule: ThresholdRule, statistics: ScoreStatistics, scores: FrameScores, curve: PixelCurve
) -> dict[str, Any]:
    """The threshold by a rule, JSON-ready, as it is stored.

    Args:
        rule: Which.
        statistics: In-distribution scores of all calibration frames together.
        scores: The same frame by frame, for ``conformal``.
        curve: Scores of labelled frames, for ``best_f1``.

    Raises:
        DataError: The calibration frames are too few for the risk, or show no labelled anomaly.
    """
    if rule.rule == "conformal":
        assert rule.risk is not None  # noqa: S101 - a rule without it was refused
        found = control_risk(scores, rule.risk, loss=rule.loss, block=rule.block)
        sequences = len({group or frame for frame, group in zip(scores.frames, scores.groups, strict=True)})
        more = {
            "risk": found.risk,
            "loss": found.loss,
            "block": found.block,
            "units": found.units,
            "sequences": sequences,
            "measured": found.measured,
            "corrected": found.corrected,
        }
        return _content(rule, found.threshold, found.describe(), more)
    if rule.rule == "best_f1":
        if not curve.anomaly or not curve.inlier:
            raise DataError(
                "no anomaly is labelled in these frames, so there is no best F1; give labelled frames, or the rule "
                "quantile or conformal"
            )
        result = curve.compute()
        more = {"f1": result.best_f1, "prevalence": result.prevalence}
        return _content(rule, result.best_f1_threshold, ORACLE, more)
    assert rule.risk is not None  # noqa: S101 - a rule without it was refused
    value, alarms = quantile_threshold(statistics, rule.risk)
    told = (
        f"{alarms:,} of {statistics.pixels:,} calibration pixels reach it, a share of at most {rule.risk:g}; "
        "how false alarms spread over new frames is not bounded"
    )
    return _content(rule, value, told, {"risk": rule.risk, "measured": alarms / statistics.pixels})


def quantile_threshold(statistics: ScoreStatistics, risk: float) -> tuple[float, int]:
    """The least threshold that a share ``risk`` of the in-distribution pixels reaches at most.

    As in the tail scale a new pixel counts too: with n alarms among N pixels ``(n + 1) / (N + 1)`` stays below.

    Args:
        statistics: Their scores.
        risk: In (0, 1).

    Returns:
        The threshold and the alarms at it.

    Raises:
        DataError: There are too few pixels, or scores end at the largest float32.

    Example:
        >>> statistics = ScoreStatistics()
        >>> statistics.update(np.arange(99.0))
        >>> value, alarms = quantile_threshold(statistics, 0.1)
        >>> round(value, 3), alarms
        (89.0, 9)
    """
    pixels = statistics.pixels
    allowed = int(np.floor((pixels + 1) * risk * (1 + 1e-12))) - 1
    if allowed < 0:
        raise DataError(
            f"{pixels} calibration pixels cannot vouch for a share of {risk:g}, which takes at least "
            f"{units_needed(risk)}; calibrate on more frames"
        )
    highest = statistics.at_ranks(np.array([pixels - 1 - allowed]))
    with np.errstate(over="ignore"):
        value = np.nextafter(highest, np.float32(np.inf), dtype=np.float32)
    if not np.isfinite(value[0]):
        raise DataError("in-distribution scores reach the largest float32, above which there is no threshold")
    return float(value[0]), statistics.at_or_above(float(value[0]))


def stored_threshold(calibration: SavedCalibration | None) -> StoredThreshold | None:
    """The threshold of a calibration; None where it has none.

    Raises:
        DataError: It is damaged.
    """
    content = None if calibration is None else calibration.content.get("threshold")
    if content is None:
        return None
    try:
        value, rule = float(content["value"]), content["rule"]
        if rule not in RULES or not np.isfinite(value):
            raise ValueError(f"{rule} {value}")
        return StoredThreshold(value, rule, str(content["told"]), bool(content["oracle"]), dict(content))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the stored threshold is damaged ({error}); run 'anomseg calibrate' again") from error


def threshold_notes(content: dict[str, Any]) -> Iterable[str]:
    """What a reader of masks at a stored threshold must know."""
    if content["oracle"]:
        yield f"the stored threshold is that of {content['told']}"
    elif content["rule"] == "conformal" and content["units"] > content["sequences"]:
        yield (
            f"the {content['units']} units of the calibration come from {content['sequences']} sequence(s); those of "
            "one sequence are alike, so the risk on another may exceed the bound (take longer blocks or more sequences)"
        )


def _content(rule: ThresholdRule, value: float, told: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"value": float(value), "rule": rule.rule, "oracle": rule.rule == "best_f1", "told": told, **more}
