"""The card's part on scores read as probabilities."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from anomseg.errors import CompatibilityError, DataError
from anomseg.evaluation.states import DetectorState
from anomseg.metrics import probability_figures


def probability_part(state: DetectorState, *, bounded: bool) -> dict[str, Any]:
    """``probability`` of a card, or null and ``probability_reason``.

    Args:
        state: A finished state.
        bounded: Whether the detector's score lies in [0, 1] by construction.
    """
    if not bounded:
        return {"probability": None, "probability_reason": "the score does not lie in [0, 1] by construction"}
    try:
        figures = asdict(probability_figures(state.curve))
    except (CompatibilityError, DataError) as error:
        return {"probability": None, "probability_reason": str(error)}
    return {"probability": {**figures, "bins": list(figures["bins"])}, "probability_reason": None}
