"""How predictions are written: formats, number type, threshold and colour range, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anomseg.errors import ConfigError, unknown_name
from anomseg.inference.colour import Range
from anomseg.inference.provenance import digest
from anomseg.inference.writers import MapDtype

FORMATS = ("png", "npy", "hdf5", "coco")


@dataclass(frozen=True)
class Outputs:
    """What is written for each image.

    Attributes:
        formats: Any of png, npy, hdf5, coco.
        dtype: Of the ``npy`` maps; ``hdf5`` is float16, as its readers expect.
        threshold: Score from which a pixel counts as anomalous; None writes no mask.
        range: Scores at both ends of the overlay's colours; None takes each map's own.
        threshold_rule: How the threshold was found, where it is one that the detector carries.

    Raises:
        ConfigError: A format or number type is unknown, there is no format, the range is empty, or components are
            wanted without a threshold.
    """

    formats: Sequence[str] = ("png", "npy")
    dtype: MapDtype = "float32"
    threshold: float | None = None
    range: Range | None = None
    threshold_rule: str | None = None

    def __post_init__(self) -> None:
        if not self.formats:
            raise ConfigError(f"no output format; choose from {', '.join(FORMATS)}")
        for name in self.formats:
            if name not in FORMATS:
                raise unknown_name("output format", name, FORMATS)
        if "coco" in self.formats and self.threshold is None:
            raise ConfigError(
                "the format coco writes components at a threshold; give --threshold or --false-alarms, or store one "
                "with 'anomseg calibrate --rule'"
            )
        if self.dtype not in ("float16", "float32"):
            raise unknown_name("number type", self.dtype, ("float16", "float32"))
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ConfigError(f"the threshold {self.threshold} is not a number; give a finite score")
        if self.range is not None:
            check_range(self.range)

    @property
    def half_precision(self) -> bool:
        """Whether some raw map is stored as float16."""
        return "hdf5" in self.formats or ("npy" in self.formats and self.dtype == "float16")

    def describe(self) -> dict[str, Any]:
        """As the sidecar says it."""
        types = {"npy": self.dtype, "hdf5": "float16"}
        names = sorted(set(self.formats))
        return {
            "formats": names,
            "dtype": {name: types[name] for name in names if name in types},
            "threshold": self.threshold,
            "range": list(self.range) if self.range is not None else None,
            # What is not asked for leaves no trace, so that results of before keep their fingerprint.
            **({} if self.threshold_rule is None else {"threshold_rule": self.threshold_rule}),
        }

    def fingerprint(self, provenance: Mapping[str, Any]) -> str:
        """Hash of all that decides the content of an image's files; measured times and its path are left out."""
        made_by = {key: value for key, value in provenance.items() if key not in ("seconds", "image")}
        made_by["image"] = provenance.get("image", {}).get("sha256")
        return digest({"made_by": made_by, "output": self.describe()})


def check_range(limits: Range) -> Range:
    """Two finite numbers, the lower first.

    Raises:
        ConfigError: They are not.
    """
    low, high = float(limits[0]), float(limits[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"the colour range {low:g} to {high:g} is empty; give LOW < HIGH")
    return low, high
