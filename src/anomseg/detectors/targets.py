"""Class targets for the cells of a feature map: what detectors that are fitted class by class learn from."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.data import label_space_of
from anomseg.data.label_mapping import ClassMapping
from anomseg.detectors.options import one_of
from anomseg.detectors.road import space_of
from anomseg.errors import CompatibilityError, FrameError
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import INLIER, VOID, Frame

Labels = Literal["auto", "dataset", "predicted"]
LABELS: tuple[Labels, ...] = ("auto", "dataset", "predicted")


class ClassTargets:
    """Gives every cell of a feature map a class of the network, or void, and remembers where it came from.

    A cell takes the class at its centre (nearest, not the majority: the pixel that the cell's feature is about, with
    nothing to break ties over). Cells that reach into the padding are left out, and so is what the frame's class map
    marks void, also where the network's own predictions are used.

    Args:
        segmenter: The network whose classes the targets are.
        labels: ``"dataset"`` takes a frame's class map, translated by concept (classes that may be several of the
            network's, or none, are void); ``"predicted"`` takes the class of the largest logit; ``"auto"`` the former
            for frames whose label space maps onto the network's, else the latter.
        detector: Who asks, for messages.

    Raises:
        ConfigError: ``labels`` is none of these.

    Attributes:
        used: How many frames had which source.
    """

    def __init__(self, segmenter: Segmenter, labels: Labels = "auto", detector: str = "this detector") -> None:
        self.segmenter = segmenter
        self.labels = one_of("labels", labels, LABELS)
        self.detector = detector
        self.used: Counter[str] = Counter()
        self._mappings: dict[tuple[str, ...], ClassMapping] = {}

    def samples(self, frame: Frame, scene: Scene, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of a map whose class is known, and their classes.

        Args:
            frame: Any frame.
            scene: Its scene, of this one image.
            maps: ``(1, D, h, w)`` over the padded input, of the scene's first pass: a feature map, or the logits.

        Returns:
            ``(N, D)`` and ``(N,)`` int64 in [0, C), row by row of the map.

        Raises:
            CompatibilityError: The frame has no class map that can be used, and ``labels`` asks for one.
            FrameError: The class map cannot be read, or the map holds NaN or infinity.
        """
        if not bool(maps.isfinite().all()):
            raise FrameError(f"{frame.id}: the network's output holds values that are not finite")
        targets = self.at(frame, scene, (maps.shape[-2], maps.shape[-1]))
        rows, columns = targets.shape
        keep = targets != VOID
        return maps[0, :, :rows, :columns].permute(1, 2, 0)[keep.to(maps.device)], targets[keep]

    def at(self, frame: Frame, scene: Scene, grid: tuple[int, int]) -> Tensor:
        """Targets of those cells of a grid that lie inside the image.

        Args:
            frame: Any frame.
            scene: Its scene, of this one image.
            grid: ``(h, w)`` of a map over the padded input.

        Returns:
            ``(h', w')`` int64 on the CPU, the grid's first rows and columns: classes of the network, 255 void.
        """
        output = scene.output
        rows, columns = cells_inside(output, grid)
        mapping = self._mapping(frame)
        classes = frame.classes
        given = _at_centres(classes, output, grid)[:rows, :columns] if classes is not None else None
        if mapping is not None and given is not None:
            targets, source = torch.from_numpy(mapping.single())[given].to(torch.int64), "dataset"
        else:
            logits = F.interpolate(output.logits.float(), grid, mode="bilinear", align_corners=False)
            targets, source = logits[0, :, :rows, :columns].argmax(0).cpu(), "predicted"
            if given is not None:
                targets[given == VOID] = VOID
        self.used[source] += 1
        return targets

    def record(self) -> dict[str, Any]:
        """What to say in ``fitted_on``: how many frames had which source, and what maps onto what."""
        coverage = [mapping.coverage for mapping in self._mappings.values()]
        return {"labels": dict(self.used), **({"coverage": coverage} if coverage else {})}

    def _mapping(self, frame: Frame) -> ClassMapping | None:
        """How the frame's classes become the network's; None where the predictions are to be used."""
        if self.labels == "predicted":
            return None
        space = space_of(frame)
        if space is not None and space.names not in self._mappings:
            mapping = space.to(label_space_of(self.segmenter.classes))
            if (mapping.single() != VOID).any():
                self._mappings[space.names] = mapping
        if space is not None and space.names in self._mappings:
            return self._mappings[space.names]
        if self.labels == "dataset":
            what = "no class map of a known label space" if space is None else f"{space.name} classes that do not map"
            raise CompatibilityError(
                f"{self.detector} with labels=dataset: frame {frame.id} has {what}; use labels=auto or predicted"
            )
        return None


def valid_cells(frame: Frame, output: SegmentationOutput, grid: tuple[int, int]) -> Tensor:
    """Which cells of a grid show what is in-distribution: those of the image that no map of the frame marks otherwise.

    Left out are cells that reach into the padding, and those whose centre the class map marks void or the anomaly
    label marks void or anomalous. A frame without either map counts whole.

    Args:
        frame: Any frame.
        output: A pass over it.
        grid: ``(h, w)`` of a map over the padded input.

    Returns:
        ``(h', w')`` bool on the CPU, the grid's first rows and columns.
    """
    rows, columns = cells_inside(output, grid)
    valid = torch.ones(rows, columns, dtype=torch.bool)
    classes, label = frame.classes, frame.label
    if classes is not None:
        valid &= _at_centres(classes, output, grid)[:rows, :columns] != VOID
    if label is not None:
        valid &= _at_centres(label, output, grid)[:rows, :columns] == INLIER
    return valid


def cells_inside(output: SegmentationOutput, grid: tuple[int, int]) -> tuple[int, int]:
    """How many rows and columns of a grid over the padded input lie wholly inside the image, at least one of each."""
    rows, columns = (
        max(1, length * inside // padded)
        for length, inside, padded in zip(grid, output.input_size, output.padded_size, strict=True)
    )
    return rows, columns


def _at_centres(classes: np.ndarray, output: SegmentationOutput, grid: tuple[int, int]) -> Tensor:
    """A class map ``(H, W)`` read at the cells' centres, ``(h, w)`` int64; beyond the image its last row or column."""
    index = []
    for length, own, inside, padded in zip(grid, classes.shape, output.input_size, output.padded_size, strict=True):
        centres = (np.arange(length) + 0.5) * (padded / length) * (own / inside)
        index.append(np.minimum(centres.astype(np.int64), own - 1))
    return torch.from_numpy(classes[np.ix_(*index)].astype(np.int64))
