"""What becomes of a detector's stored threshold on a benchmark: recall, false alarms, precision and F1 at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anomseg.evaluation.states import DetectorState


def stored_part(state: DetectorState, calibration: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The ``stored_threshold`` of a card, pooled over all pixels; None where the detector carries none.

    Where the protocol stores scores coarsely it is None, too: lowered scores do not tell who reaches a threshold.

    Args:
        state: A finished state with anomalous and inlier pixels.
        calibration: The ``calibration`` of the detector's card.
    """
    stored = (calibration or {}).get("threshold")
    if stored is None or state.storage != "float32":
        return None
    hits, alarms = (int(counts[0]) for counts in state.curve.counts_at([stored["value"]]))
    anomaly, inlier = state.result.anomaly, state.result.inlier
    return {
        "threshold": stored["value"],
        "rule": stored["rule"],
        "oracle": stored["oracle"],
        "risk": stored.get("risk"),
        "tpr": hits / anomaly,
        "fpr": alarms / inlier,
        "precision": hits / (hits + alarms) if hits + alarms else None,
        "f1": 2 * hits / (hits + alarms + anomaly),
    }
