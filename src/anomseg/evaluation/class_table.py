"""How a network's classes count against a data set's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomseg.data import LabelSpace, label_space_of


@dataclass(frozen=True)
class ClassTable:
    """How a network's classes count against a data set's.

    A network class that may be several classes of the data set is right on any of them; one that is none of them is
    wrong everywhere. Data-set classes that no network class stands for are void.

    Attributes:
        network: The network's classes.
        target: The data set's classes.
    """

    network: LabelSpace
    target: LabelSpace

    @property
    def coverage(self) -> str:
        """What maps onto what, in one line."""
        return self.network.to(self.target).coverage

    def lookup(self) -> NDArray[np.uint8]:
        """``(C, K)``: what network class c counts as on a pixel of class k; K where it is none of the classes."""
        count = len(self.target)
        table = np.full((len(self.network), count), count, np.uint8)
        for index, allowed in enumerate(self.network.to(self.target).sets):
            if allowed:
                table[index] = allowed[0]
            for target in allowed:
                table[index, target] = target
        return table

    def reachable(self) -> NDArray[np.bool_]:
        """``(K,)``: whether some network class stands for the data set's class."""
        reached = np.zeros(len(self.target), bool)
        for allowed in self.network.to(self.target).sets:
            reached[list(allowed)] = True
        return reached


def class_table(classes: Sequence[str], network: str, target: LabelSpace) -> ClassTable | None:
    """How a network's classes compare to a data set's; None where none of them does.

    Args:
        classes: The network's class names, in the order of its logits.
        network: What the network is called.
        target: The data set's classes.
    """
    table = ClassTable(label_space_of(classes, network), target)
    return table if table.reachable().any() else None
