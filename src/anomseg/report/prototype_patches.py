"""What lies nearest to each prototype of a detector: one pass over frames, memory for a few patches a prototype."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from anomseg.detectors import Progress
from anomseg.detectors.prototypes import PrototypeDetector
from anomseg.detectors.road import space_of
from anomseg.detectors.targets import cells_inside, valid_cells
from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.scene import Scene, make_scene
from anomseg.types import VOID, Frame, UInt8Array


@dataclass(frozen=True)
class Patch:
    """A place that is near to a prototype.

    Attributes:
        frame: Id of its frame.
        x: Column of the pixel in its middle, in the frame's own pixels.
        y: Row of that pixel.
        similarity: To the prototype.
        label: Name of the class there by the frame's class map, in the data set's own words; None without one.
        picture: ``(s, s, 3)`` uint8 around it.
        cell: ``(left, top, right, bottom)`` of the cell within the picture.
    """

    frame: str
    x: int
    y: int
    similarity: float
    label: str | None
    picture: UInt8Array
    cell: tuple[float, float, float, float]


@dataclass
class PrototypeView:
    """What was found of every prototype.

    Attributes:
        names: Names of the prototypes.
        classes: Name of the class each stands for.
        colours: RGB of that class.
        patches: Of each prototype the nearest places, nearest first, at most one a frame.
        table: ``(P, P)`` similarity of the prototypes to each other.
        nearest: How many places each prototype is the nearest of.
        total: Sum of the similarities of those places.
        frames: How many frames were looked at.
        skipped: Ids of those that could not be read.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, ...], ...]
    patches: list[list[Patch]]
    table: Tensor
    nearest: Tensor
    total: Tensor
    frames: int = 0
    skipped: list[str] = field(default_factory=list)

    def closest_other(self, index: int) -> tuple[str, float] | None:
        """The prototype most similar to another one, and how similar; None where there is only one."""
        row = self.table[index].clone()
        row[index] = -torch.inf
        other = int(row.argmax())
        return None if len(self.names) < 2 else (self.names[other], float(row[other]))


def find_patches(
    prototypes: PrototypeDetector,
    network: Segmenter,
    frames: Iterable[Frame],
    *,
    count: int = 8,
    side: int = 96,
    size: Size | None = None,
    features: Sequence[str] = (),
    progress: Progress | None = None,
) -> PrototypeView:
    """Look for the places nearest to each prototype.

    Void and anomalous places, as far as the frames say which those are, and the padding are left out.

    Args:
        prototypes: Whose prototypes.
        network: The network that it scores, on its device.
        frames: Read once, one image at a time.
        count: Patches a prototype.
        side: Pixels a patch, in the frames' own pixels.
        size: Working size ``(height, width)`` that overrides the network's.
        features: Feature maps that each pass computes.
        progress: Called after each frame.

    Returns:
        What was found; where two places are equally near, the frame that came first wins.

    Raises:
        DataError: No frame could be used.
        CompatibilityError: The prototypes' similarities are of another number than their names.
    """
    parameter = next(network.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    classes = list(prototypes.prototype_classes())
    names = tuple(prototypes.prototype_names())
    view = PrototypeView(
        names,
        tuple(network.classes[index] for index in classes),
        tuple(network.palette[index] for index in classes),
        [[] for _ in names],
        prototypes.prototype_table().detach().cpu(),
        torch.zeros(len(names), dtype=torch.int64),
        torch.zeros(len(names), dtype=torch.float64),
    )
    network.eval()
    for frame in frames:
        failure: FrameError | None = None
        try:
            image = frame.image()
            scene = make_scene([image], [frame.id], network, size=size, features=features, device=device)
            with torch.inference_mode():
                similarity = prototypes.prototype_similarity(scene)[0].float().cpu()
            _look(view, frame, image, scene, similarity, count, side)
            view.frames += 1
        except FrameError as error:
            failure = error
            view.skipped.append(frame.id)
        if progress is not None:
            progress(frame, failure)
    if not view.frames:
        raise DataError("no frame could be looked at; give in-distribution images with --data NAME=ROOT")
    return view


def _look(
    view: PrototypeView, frame: Frame, image: UInt8Array, scene: Scene, similarity: Tensor, count: int, side: int
) -> None:
    """Take from one frame what is nearer than what was found so far."""
    if len(similarity) != len(view.names):
        raise CompatibilityError(f"{len(view.names)} prototypes have {len(similarity)} maps of similarity")
    output, grid = scene.output, (similarity.shape[-2], similarity.shape[-1])
    rows, columns = cells_inside(output, grid)
    inside = similarity[:, :rows, :columns]
    valid = valid_cells(frame, output, grid)
    if not bool(valid.any()):
        return
    best = inside[:, valid].max(0)
    view.nearest += torch.bincount(best.indices, minlength=len(view.names))
    view.total.index_add_(0, best.indices, best.values.double())
    places = inside.masked_fill(~valid, -torch.inf).flatten(1).max(1)
    classes = frame.classes
    for index, (value, place) in enumerate(zip(places.values.tolist(), places.indices.tolist(), strict=True)):
        found = view.patches[index]
        if len(found) == count and value <= found[-1].similarity:
            continue
        cell = _cell(output, grid, divmod(place, columns), (image.shape[0], image.shape[1]))
        found.append(_patch(frame, image, classes, cell, value, side))
        found.sort(key=lambda patch: -patch.similarity)  # stable: an earlier frame stays before its equals
        del found[count:]


def _cell(output: SegmentationOutput, grid: Size, place: tuple[int, int], own: Size) -> tuple[float, ...]:
    """``(left, top, right, bottom)`` of a cell in the image's own pixels."""
    edges = []
    for index, length, padded, inside, size in zip(
        place, grid, output.padded_size, output.input_size, own, strict=True
    ):
        step = padded / length * size / inside
        edges.append((index * step, min((index + 1) * step, size)))
    (top, bottom), (left, right) = edges
    return left, top, right, bottom


def _patch(
    frame: Frame, image: UInt8Array, classes: UInt8Array | None, cell: tuple[float, ...], value: float, side: int
) -> Patch:
    left, top, right, bottom = cell
    x, y = int((left + right) / 2), int((top + bottom) / 2)
    height, width = image.shape[:2]
    begin = [min(max(centre - side // 2, 0), max(length - side, 0)) for centre, length in ((x, width), (y, height))]
    picture = np.ascontiguousarray(image[begin[1] : begin[1] + side, begin[0] : begin[0] + side])
    within = (left - begin[0], top - begin[1], right - begin[0], bottom - begin[1])
    return Patch(frame.id, x, y, value, _label(frame, classes, x, y), picture, within)


def _label(frame: Frame, classes: UInt8Array | None, x: int, y: int) -> str | None:
    if classes is None:
        return None
    space, value = space_of(frame), int(classes[y, x])
    if value == VOID:
        return "void"
    return space.names[value] if space is not None and value < len(space.names) else str(value)
