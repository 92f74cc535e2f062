"""What made a file of results, as plain JSON, and the hash by which a later run knows its own work again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomseg._version import __version__
from anomseg.detectors.base import Detector
from anomseg.segmenters.base import Segmenter

SIGN = "higher = more anomalous"


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinity become None, anything unknown its text.

    Example:
        >>> plain({"a": (1, float("nan")), 2: np.float32(0.5)})
        {'a': [1, None], '2': 0.5}
    """
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
    return str(value) if isinstance(value, (PurePath, torch.dtype, torch.device)) else repr(value)


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, 64 hexadecimal digits."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def state_hash(state: Mapping[str, Tensor]) -> str | None:
    """SHA-256 over names, shapes and values of a detector's fitted tensors; None without any."""
    if not state:
        return None
    hashed = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = tensor.detach().cpu().contiguous()
        hashed.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        hashed.update(array.view(torch.uint8).numpy().tobytes() if array.ndim else repr(array.item()).encode())
    return hashed.hexdigest()


def describe(segmenter: Segmenter | None, detector: Detector) -> dict[str, Any]:
    """What every prediction of a run has in common: library, score, detector card and network identity."""
    return plain(
        {
            "library": "anomseg",
            "version": __version__,
            "score": {"name": detector.registry_name, "sign": SIGN, "bounded": detector.bounded},
            "detector": {**detector.card(), "state_sha256": state_hash(detector.state())},
            "segmenter": segmenter.identity() if segmenter is not None else None,
        }
    )
