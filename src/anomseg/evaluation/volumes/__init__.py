"""Failure detection in volumes: cases judged, foretold Dice against true Dice, result cards."""

from anomseg.evaluation.volumes.card import STATE_FILE
from anomseg.evaluation.volumes.judging import check_unseen, evaluate_cases
from anomseg.evaluation.volumes.state import VolumeState

__all__ = ["STATE_FILE", "VolumeState", "check_unseen", "evaluate_cases"]
