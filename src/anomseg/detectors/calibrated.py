"""The calibration that a detector carries: what it says of itself, and its table, as they lie in a saved directory.

What the table means is for the floor above to know; here it is kept, written and read back bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from anomseg.detectors.fitting import digest_of
from anomseg.errors import DataError
from anomseg.files import sha256_of_file, write_bytes

FILE = "calibration.safetensors"
_AGAIN = "run 'anomseg calibrate' again"


@dataclass(frozen=True)
class SavedCalibration:
    """A calibration in its saved form.

    Attributes:
        content: JSON-ready: ``kind``, ``parameters``, the frames it was made on (``frames``, ``data``, ``sha256``,
            ``fingerprints``), the network (``segmenter``).
        tensors: Its table.
    """

    content: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def fingerprints(self) -> frozenset[str]:
        """Fingerprints of the frames it was made on."""
        return frozenset(self.content["fingerprints"])

    def card(self) -> dict[str, Any]:
        """What result cards say of it; the fingerprints of single frames stay in the saved form."""
        return {key: value for key, value in self.content.items() if key != "fingerprints"}


def write_calibration(calibration: SavedCalibration, folder: Path) -> dict[str, Any]:
    """Write the table into a detector's directory and give what ``detector.json`` says of the calibration."""
    write_bytes(folder / FILE, save_tensors(dict(calibration.tensors), metadata={"format": "pt"}))
    return {**calibration.content, "table": {"sha256": sha256_of_file(folder / FILE)}}


def read_calibration(folder: Path, content: Any, source: Path) -> SavedCalibration | None:
    """The inverse of `write_calibration`.

    Args:
        folder: The detector's directory.
        content: The ``calibration`` of its ``detector.json``; None where there is none.
        source: That file, for messages.

    Raises:
        DataError: Something is missing, damaged or was changed.
    """
    if content is None:
        return None
    kinds = {"kind": str, "parameters": dict, "pixels": int, "frames": int, "fingerprints": list, "table": dict}
    for key, kind in kinds.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise DataError(f"{source} is damaged: its calibration has no {key}; {_AGAIN}")
    prints = content["fingerprints"]
    if not isinstance(content.get("segmenter"), dict | None) or not all(isinstance(item, str) for item in prints):
        raise DataError(f"{source} is damaged: its calibration does not list frames and network; {_AGAIN}")
    if content.get("sha256") != digest_of(prints) or content["frames"] != len(prints):
        raise DataError(f"{source} was changed: the frames it was calibrated on do not have their sha256; {_AGAIN}")
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{path} is missing; copy the whole directory, or {_AGAIN}")
    if sha256_of_file(path) != content["table"].get("sha256"):
        raise DataError(f"{path} is damaged: its sha256 is not the one in {source.name}; {_AGAIN}")
    try:
        tensors = load_tensors(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{path} is no safetensors file: {' '.join(str(error).split())}") from error
    return SavedCalibration({key: value for key, value in content.items() if key != "table"}, tensors)
