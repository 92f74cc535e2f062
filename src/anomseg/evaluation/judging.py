"""Each pixel of a frame against the network's class map: classified rightly, wrongly, or not to be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anomseg.data import LabelSpace
from anomseg.evaluation.class_table import ClassTable, class_table
from anomseg.metrics import PixelKinds, pixel_kinds
from anomseg.segmenters import Segmenter
from anomseg.types import ANOMALY, INLIER, VOID, Frame, UInt8Array

RIGHT, WRONG, UNJUDGED = 0, 1, VOID


@dataclass(frozen=True)
class Judgement:
    """What one class map says of one frame.

    Attributes:
        judged: ``(H, W)`` uint8: 0 where the pixel is classified rightly, 1 wrongly, 255 where that cannot be said.
        kinds: The same pixels, and the anomalous ones, by class; for `OpenSetCurve`.
    """

    judged: UInt8Array
    kinds: PixelKinds


@dataclass(frozen=True)
class Judge:
    """Compares class maps in a network's classes with those of a data set, as closed-set figures do.

    Pixels of classes that no network class stands for, and of no class at all, are not judged. Where a network class
    may be several of the data set, it is right on any of them.

    Args:
        table: How the classes compare.
    """

    table: ClassTable

    @property
    def num_classes(self) -> int:
        """The data set's classes, and one for predictions that are none of them."""
        return len(self.table.target) + 1

    def judge(self, prediction: UInt8Array | None, classes: UInt8Array | None, label: UInt8Array) -> Judgement:
        """Judge one frame.

        Args:
            prediction: ``(H, W)`` uint8, in the network's classes; None where there is none.
            classes: ``(H, W)`` uint8, in the data set's classes, 255 void; None where the frame has no class map.
            label: ``(H, W)`` uint8: 0 inlier, 1 anomaly, 255 void.
        """
        if prediction is None or classes is None:
            nothing = np.full(label.shape, UNJUDGED, np.uint8)
            return Judgement(nothing, pixel_kinds(nothing, nothing, self.num_classes))
        known = (label == INLIER) & self._judgeable[classes]
        mapped = self._first[prediction]
        mapped[known] = self._lookup[prediction[known], classes[known]]
        target = np.full(label.shape, VOID, np.uint8)
        target[known] = classes[known]
        target[label == ANOMALY] = self.num_classes
        judged = np.full(label.shape, UNJUDGED, np.uint8)
        judged[known] = np.where(mapped[known] == classes[known], RIGHT, WRONG)
        return Judgement(judged, pixel_kinds(mapped, target, self.num_classes))

    @cached_property
    def _lookup(self) -> UInt8Array:
        return self.table.lookup()

    @cached_property
    def _judgeable(self) -> NDArray[np.bool_]:
        judgeable = np.zeros(256, bool)
        judgeable[: len(self.table.target)] = self.table.reachable()
        return judgeable

    @cached_property
    def _first(self) -> UInt8Array:
        """``(C,)`` what each network class counts as where the pixel's own class does not matter."""
        first = np.full(len(self.table.network), len(self.table.target), np.uint8)
        for index, allowed in enumerate(self.table.network.to(self.table.target).sets):
            if allowed:
                first[index] = allowed[0]
        return first


class Comparison:
    """How the classes of several networks compare with those of the frames; each network is looked at once.

    Args:
        space: The data set's classes; None where it has none.
        frames: The frames of the run.
    """

    def __init__(self, space: LabelSpace | None, frames: Sequence[Frame]) -> None:
        self._space = space if any(frame.has_classes for frame in frames) else None
        self._tables: dict[int, ClassTable | None] = {}

    def table(self, network: Segmenter | None) -> ClassTable | None:
        """How a network's classes compare; None where there is nothing to compare."""
        if network is None or self._space is None:
            return None
        if id(network) not in self._tables:
            self._tables[id(network)] = class_table(network.classes, network.registry_name, self._space)
        return self._tables[id(network)]

    def judges(self, networks: Mapping[str, Segmenter | None]) -> dict[str, Judge]:
        """Who compares the class map of each network, by the name of its detector; one for all that share it."""
        judges: dict[int, Judge] = {}
        for network in networks.values():
            table = self.table(network)
            if table is not None:
                judges.setdefault(id(network), Judge(table))
        return {name: judges[id(network)] for name, network in networks.items() if id(network) in judges}


def known_classes(table: ClassTable, held_out: Sequence[str]) -> tuple[int, ...]:
    """The data set's classes over which means are taken: those that some network class stands for, less those held out.

    Args:
        table: How the classes compare.
        held_out: Names of classes that count as anomalies.
    """
    unknown = {table.target.index(name) for name in held_out}
    reachable = np.flatnonzero(table.reachable()).tolist()
    return tuple(index for index in reachable if index not in unknown)
