"""Pictures of failure detection in volumes: slices of a case, and foretold against true Dice."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anomseg.detectors.synthcp.volumes import CasePrediction
from anomseg.files import atomic_write, write_bytes
from anomseg.types import UInt8Array

ROWS = 6
_GAP, _SIDE = 4, 192
_COLOURS = np.array([(230, 60, 60), (70, 170, 90), (80, 130, 230), (230, 180, 50), (170, 90, 200)], np.float32)


def slice_picture(found: CasePrediction, rows: int = ROWS) -> UInt8Array:
    """Some slices of a case: CT, CT with the mask, rendering and error, as far as there are these.

    Args:
        found: What a detector says of a case.
        rows: Slices at most, evenly from the first to the last in which the mask is, all where it is empty.

    Returns:
        ``(H, W, 3)`` uint8; a row for each slice.
    """
    prepared, judgement = found.prepared, found.judgement
    classes = prepared.layout.argmax(0)
    lines = []
    for row in _chosen(classes, rows):
        ct = _grey(prepared.image[row])
        parts = [ct, _masked(ct, classes[row].numpy())]
        if judgement.rendering is not None:
            parts.append(_grey(judgement.rendering[row]))
        if judgement.error is not None:
            parts.append(_heated(ct, judgement.error[row].numpy()))
        lines.append(_joined([_enlarged(part) for part in parts], 1))
    return _joined(lines, 0)


def write_slices(path: str | Path, found: CasePrediction) -> None:
    """Write `slice_picture` as PNG."""
    stream = io.BytesIO()
    Image.fromarray(slice_picture(found)).save(stream, "PNG")
    write_bytes(path, stream.getvalue())


def write_scatter(
    path: str | Path, predicted: NDArray[np.float64], true: NDArray[np.float64], kinds: Sequence[str], title: str
) -> None:
    """Draw foretold against true Dice, one point a case and target, as PNG.

    Args:
        path: The file.
        predicted: ``(N,)``.
        true: ``(N,)``; pairs with a NaN are left out.
        kinds: What is known of each case's failure, ``""`` where nothing is.
        title: Above the axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(5.2, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    known = ~(np.isnan(predicted) | np.isnan(true))
    names = np.array(list(kinds))
    for kind in sorted(set(kinds)):
        chosen = known & (names == kind)
        axes.scatter(true[chosen], predicted[chosen], s=12, alpha=0.8, label=kind.replace("_", " ") or None)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="true Dice", ylabel="foretold Dice", title=title)
    if any(kinds):
        axes.legend(fontsize=7)
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png")


def _chosen(classes: Tensor, rows: int) -> list[int]:
    hit = (classes > 0).flatten(1).any(1).nonzero()[:, 0].tolist() or list(range(len(classes)))
    places = np.linspace(0, len(hit) - 1, min(rows, len(hit))).round().astype(int)
    return [hit[place] for place in places]


def _grey(plane: Tensor) -> UInt8Array:
    levels = (plane.clamp(-1, 1) + 1).mul(127.5).round().byte().numpy()
    return np.repeat(levels[..., None], 3, 2)


def _masked(ct: UInt8Array, classes: NDArray[np.int64]) -> UInt8Array:
    colours = _COLOURS[(classes - 1) % len(_COLOURS)]
    blended = np.where((classes > 0)[..., None], 0.55 * ct + 0.45 * colours, ct)
    return blended.round().astype(np.uint8)


def _heated(ct: UInt8Array, error: NDArray[np.float32]) -> UInt8Array:
    strength = np.clip(error, 0, 1)[..., None]
    return ((1 - strength) * 0.6 * ct + strength * np.array([255, 80, 0], np.float32)).round().astype(np.uint8)


def _enlarged(plane: UInt8Array) -> UInt8Array:
    factor = max(1, round(_SIDE / max(plane.shape[:2])))
    return plane.repeat(factor, 0).repeat(factor, 1)


def _joined(parts: Sequence[UInt8Array], axis: int) -> UInt8Array:
    shape = list(parts[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([piece for part in parts for piece in (part, gap)][:-1], axis)
