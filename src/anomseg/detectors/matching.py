"""Whether a network is the one that a detector was fitted and calibrated on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anomseg.detectors.base import Detector
from anomseg.segmenters.base import Segmenter, Size


def segmenter_matches(detector: Detector, segmenter: Segmenter | None, size: Size | None = None) -> str | None:
    """Compare a network with the one that a detector was fitted on, and with the one it was calibrated on.

    Args:
        detector: Any detector.
        segmenter: The network it is about to score; None where there is none.
        size: Working size ``(height, width)`` that overrides the network's.

    Returns:
        A one-line warning where the hashes or the working sizes differ; None where they agree or there is
        nothing to compare.
    """
    found = _mismatch(detector, "fitted", "fit", detector.segmenter_identity, segmenter, size)
    if found is None and detector.calibration is not None:
        found = _mismatch(
            detector, "calibrated", "calibrate", detector.calibration.content["segmenter"], segmenter, size
        )
    return found


def _mismatch(
    detector: Detector,
    done: str,
    do: str,
    identity: Mapping[str, Any] | None,
    segmenter: Segmenter | None,
    size: Size | None,
) -> str | None:
    if identity is None or segmenter is None:
        return None
    name = detector.registry_name
    before_hash, own = str(identity.get("sha256")), segmenter.fingerprint()
    if before_hash == own:
        before, now = identity.get("size"), size or segmenter.size
        if before and now and tuple(before) != tuple(now):
            return (
                f"{name} was {done} at working size {before[0]}x{before[1]} (height x width) and "
                f"scores at {now[0]}x{now[1]}; {do} it again at this size"
            )
        then, here = _execution(identity), _execution(segmenter.identity())
        if then != here:
            return f"{name} was {done} with {then} and scores with {here}; {do} it again the same way"
        return None
    return (
        f"{name} was {done} on another network ({identity.get('name')}, sha256 {before_hash[:12]}) "
        f"than this one ({segmenter.registry_name}, {own[:12]}); {do} it again on this one"
    )


def _execution(identity: Mapping[str, Any]) -> str:
    """How a network is run, as far as its answers change by it."""
    told = identity.get("execution")
    run = told if isinstance(told, Mapping) else {}
    parts = [f"{key} {run[key]}" for key in ("tile", "overlap", "precision") if run.get(key) not in (None, "float32")]
    return ", ".join(parts) or "whole images in float32"
