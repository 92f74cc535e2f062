"""What one detector has said of the cases so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from anomseg.metrics import ClassQuality, FailureDetection


@dataclass
class VolumeState:
    """What one detector has said of the cases so far.

    Attributes:
        quality: Foretold against true Dice.
        voxels: Error maps against wrong voxels.
        undefined: Cases, by target, in which neither mask holds it: not scored.
        skipped: Why a case could not be used, by id.
        seconds: Spent judging.
    """

    quality: ClassQuality
    voxels: FailureDetection = field(default_factory=FailureDetection)
    undefined: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
