"""Calibrating a detector on in-distribution frames, and reading the result back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from anomseg.calibration.conformal import check_units
from anomseg.calibration.frame_scores import FrameScores, form_units
from anomseg.calibration.statistics import ScoreStatistics
from anomseg.calibration.tail import TailScale, check_decades
from anomseg.calibration.thresholds import ThresholdRule, find_threshold, threshold_notes
from anomseg.detectors import Detector, Progress, SavedCalibration, anomaly_maps, network_of, segmenter_matches
from anomseg.detectors.fitting import FitLog, source_of
from anomseg.detectors.seeding import frame_randomness
from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import PixelCurve
from anomseg.segmenters import Scene, Segmenter
from anomseg.segmenters.base import Size
from anomseg.types import INLIER, VOID, Frame

KIND = "tail"


def calibrate_detector(
    detector: Detector,
    segmenter: Segmenter | None,
    frames: Iterable[Frame],
    *,
    decades: float = 6.0,
    rule: ThresholdRule | None = None,
    size: Size | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SavedCalibration:
    """Find out what a detector's scores mean in false alarms; any detector that can score.

    Void pixels of a class map and pixels that an anomaly label marks as anomalous or void are left out; frames
    without either count whole. The detector then carries the result as its ``calibration``; its score stays raw.

    Args:
        detector: Ready to score.
        segmenter: The network; None for a detector that needs none or carries its own.
        frames: In-distribution frames, read once; those that cannot be used are skipped and recorded.
        decades: Powers of ten of the false-alarm rate between 0 and 1 of the calibrated score.
        rule: Also store a threshold found by this rule, on the detector's own scores.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        seed: Of detectors that sample.
        progress: Called after each frame.

    Returns:
        The calibration, which ``detector.calibration`` is now, too.

    Raises:
        CompatibilityError: The detector has not been fitted, or was fitted on another network.
        ConfigError: The number of decades is out of range.
        DataError: No frame could be used, or the frames are too few for the rule's risk; the detector then carries no
            calibration.
    """
    check_decades(decades)
    detector.require_fitted()
    network = network_of(detector, segmenter)
    needs = detector.needs(network)
    if needs.forward and network is None:
        raise CompatibilityError(f"{detector.registry_name} scores the output of a network; give --segmenter")
    if rule is not None and rule.rule == "conformal" and isinstance(frames, Sequence):
        # Known before hours of scoring; frames that are skipped are noticed after it.
        units = form_units([frame.id for frame in frames], [_sequence(frame) for frame in frames], rule.block)
        check_units(units, rule.risk or 0.0, rule.block)
    detector.calibration = None
    mismatch = segmenter_matches(detector, network, size)
    if mismatch is not None:
        raise CompatibilityError(mismatch)
    statistics, log = ScoreStatistics(), FitLog(detector.registry_name)
    by_frame, curve = FrameScores(), PixelCurve()

    def count(frame: Frame, scene: Scene) -> None:
        parameter = next(network.parameters(), None) if network is not None else None
        device = parameter.device if parameter is not None else torch.device("cpu")
        valid = valid_pixels(frame)
        with frame_randomness(seed, frame.id, device):
            score = anomaly_maps(detector, scene)[0].numpy()
        # Numbered frames of two data sets may share a name.
        name = f"{source_of(frame)}/{frame.id}"
        statistics.update(score, valid, name)
        if rule is not None and rule.rule == "conformal":
            by_frame.update(score, valid, name, _sequence(frame))
        if rule is not None and rule.rule == "best_f1" and frame.has_label:
            curve.update(score, frame.label, name)

    if network is not None:
        network.eval()
    log.run(network, frames, count, features=needs.features, size=size, progress=progress)
    about = log.record(network, seed=seed)
    if size is not None and about["segmenter"] is not None:
        about["segmenter"]["size"] = list(size)
    scale = statistics.scale(decades)
    threshold = None if rule is None else find_threshold(rule, statistics, by_frame, curve)
    seen = frozenset((detector.fitted_on or {}).get("fingerprints", ()))
    content: dict[str, Any] = {
        "kind": KIND,
        "parameters": {"decades": decades},
        "pixels": statistics.pixels,
        "reach": scale.reach,
        "table_sha256": scale.sha256,
        "detector": _identity(detector),
        "frames_fitted_on": len(seen & set(about["fingerprints"])),
        **({} if threshold is None else {"threshold": threshold}),
        **about,
    }
    detector.calibration = SavedCalibration(content, scale.tensors())
    return detector.calibration


def _sequence(frame: Frame) -> str:
    """The sequence of a frame, told apart from one of the same name in another data set; empty without one."""
    return f"{source_of(frame)}/{frame.group}" if frame.group else ""


def valid_pixels(frame: Frame) -> Any:
    """``(H, W)`` bool: where a frame is in-distribution by its labels; None where it has none.

    Raises:
        FrameError: A label cannot be read, or leaves no pixel.
    """
    valid = None
    if frame.has_classes and (classes := frame.classes) is not None:
        valid = classes != VOID
    if frame.has_label and (label := frame.label) is not None:
        valid = (label == INLIER) if valid is None else valid & (label == INLIER)
    if valid is not None and not valid.any():
        raise FrameError(f"{frame.id}: no valid in-distribution pixel, so there is nothing to calibrate on")
    return valid


def calibration_of(detector: Detector) -> TailScale | None:
    """The scale that a detector carries; None without one.

    Raises:
        DataError: It is of a kind that this version does not know.
        CompatibilityError: Its table is damaged, or the detector was changed since.
    """
    saved = detector.calibration
    if saved is None:
        return None
    kind = saved.content.get("kind")
    if kind != KIND:
        raise DataError(f"{detector.registry_name} has a calibration of kind {kind!r}, not {KIND}; update anomseg")
    if not _same_detector(saved.content.get("detector"), _identity(detector)):
        raise CompatibilityError(
            f"{detector.registry_name} was fitted again or has other options than when it was calibrated; run "
            "'anomseg calibrate' again"
        )
    return TailScale.from_parts(dict(saved.content["parameters"]), saved.content["pixels"], dict(saved.tensors))


def _identity(detector: Detector) -> dict[str, Any]:
    """What decides a detector's scores besides the network, JSON-ready: a calibration does not outlive a change."""
    options = json.dumps(detector.get_params(), sort_keys=True, default=str)
    frames = (detector.fitted_on or {}).get("sha256")
    return {"name": detector.registry_name, "options": options, "fitted_on_sha256": frames}


def _same_detector(before: Any, now: dict[str, Any]) -> bool:
    """Whether two identities agree; options by value, since what was given as 2 is read back as 2.0."""
    try:
        options = [json.loads(identity["options"]) for identity in (before, now)]
    except (TypeError, KeyError, ValueError):
        return False
    return bool({**before, "options": None} == {**now, "options": None} and options[0] == options[1])


def notes_on(calibration: SavedCalibration) -> list[str]:
    """What a reader of calibrated figures must know: frames seen in the fit, a scale that does not reach its end."""
    content, notes = calibration.content, []
    if content["frames_fitted_on"]:
        notes.append(
            f"the calibration saw {content['frames_fitted_on']} of its {content['frames']} frames in the fit as well, "
            "where scores are lower than elsewhere; calibrate on other frames"
        )
    decades = content["parameters"]["decades"]
    if (content["pixels"] + 1) * 10.0**-decades < 1:
        notes.append(
            f"{content['pixels']} calibration pixels cannot tell rates of 1 in 10^{decades:g}: no score reaches a "
            f"calibrated threshold above {content['reach']:.3f}; calibrate on more frames"
        )
    return [*notes, *threshold_notes(content["threshold"])] if "threshold" in content else notes
