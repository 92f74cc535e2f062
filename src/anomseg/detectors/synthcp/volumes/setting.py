"""What a detector of failures in volumes works on: classes, targets and grid, and cases brought there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomseg.data.volumes import Case, Mask, Volume, WorkingGrid, dice_overlap, with_targets
from anomseg.data.volumes.grid import Box
from anomseg.errors import CompatibilityError, FrameError


@dataclass(frozen=True)
class VolumeSetting:
    """What is judged, and at which resolution.

    Attributes:
        classes: Names of the masks' classes, the background first.
        targets: Names of those whose Dice is predicted.
        grid: The working grid.
    """

    classes: tuple[str, ...]
    targets: tuple[str, ...]
    grid: WorkingGrid

    @property
    def indices(self) -> list[int]:
        """Class index of each target."""
        return [self.classes.index(name) for name in self.targets]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        grid = {"size": list(self.grid.size), "window": list(self.grid.window), "margin": self.grid.margin}
        return {"classes": list(self.classes), "targets": list(self.targets), "grid": grid}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> VolumeSetting:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        grid = content["grid"]
        depth, height, width = (int(side) for side in grid["size"])
        low, high = (float(value) for value in grid["window"])
        found = cls(
            tuple(str(name) for name in content["classes"]),
            tuple(str(name) for name in content["targets"]),
            WorkingGrid((depth, height, width), (low, high), float(grid["margin"])),
        )
        if not found.targets or not {*found.targets} <= {*found.classes[1:]}:
            raise ValueError(f"targets {list(found.targets)} are not among the classes {list(found.classes[1:])}")
        return found

    def adopt(self, case: Case) -> Case:
        """A case with these classes, merged to the foreground where that is judged.

        Raises:
            CompatibilityError: Its masks name other classes.
        """
        found = with_targets(case, self.targets) if self.targets == ("foreground",) else case
        if found.classes != self.classes:
            raise CompatibilityError(
                f"{case.id} has masks of {', '.join(case.classes[1:])}, and this detector judges masks of "
                f"{', '.join(self.classes[1:])}; name its labels accordingly, or train one on such cases"
            )
        return found


@dataclass(frozen=True)
class PreparedCase:
    """A case on the working grid.

    Attributes:
        image: ``(D, H, W)`` in [-1, 1].
        layout: ``(C, D, H, W)``, the share of each class in the judged mask.
        truth: The same of the true mask; None without one.
        dice: ``(T,)`` true Dice of each target at the volume's own resolution, NaN where it is not defined.
        empty: ``(T,)``, whether the judged mask holds none of a target.
        box: The region that the grid shows.
        shape: The volume's own.
        soft: ``(C, D, H, W)`` probabilities on the grid; None without them.
    """

    image: Tensor
    layout: Tensor
    truth: Tensor | None
    dice: Tensor
    empty: Tensor
    box: Box
    shape: tuple[int, ...]
    soft: Tensor | None = None


def prepare(case: Case, setting: VolumeSetting, *, judged: str = "prediction", soft: bool = False) -> PreparedCase:
    """Decode a case and bring it to the grid.

    Args:
        case: Any case.
        setting: Classes, targets and grid.
        judged: Which mask is looked at: ``prediction``, or ``truth`` for learning what true masks look like.
        soft: Read probabilities too, where there are any.

    Raises:
        FrameError: The case cannot be decoded, or has no such mask.
        CompatibilityError: Its masks name other classes.
    """
    case = setting.adopt(case)
    if judged == "truth":
        case = replace(case, prediction=None)  # it need not be decoded
    image, prediction, truth = case.decode()
    mask = prediction if judged == "prediction" else truth
    if mask is None:
        raise FrameError(f"{case.id} has no {'predicted' if judged == 'prediction' else 'true'} mask to look at")
    grid, count, indices = setting.grid, len(setting.classes), setting.indices
    box = grid.region(_looked_at(mask, indices), image.shape, case.spacing)
    dice = np.full(len(indices), np.nan) if truth is None else dice_overlap(mask, truth, indices)
    return PreparedCase(
        grid.image(image, box),
        grid.layout(mask, box, count),
        None if truth is None else grid.layout(truth, box, count),
        torch.from_numpy(dice).float(),
        torch.tensor([not (mask == index).any() for index in indices]),
        box,
        image.shape,
        _soft(case, mask, grid, box) if soft else None,
    )


def _looked_at(mask: Mask, indices: list[int]) -> Mask:
    """The targets of a mask; all of it where it holds none of them."""
    targets = np.isin(mask, indices)
    return (targets if targets.any() else mask > 0).astype(np.uint8)


def _soft(case: Case, mask: Mask, grid: WorkingGrid, box: Box) -> Tensor | None:
    if case.soft is None:
        return None
    values: Volume = case.soft()
    if values.shape[1:] != mask.shape:
        raise FrameError(f"{case.id}: probabilities have shape {values.shape} and the mask {mask.shape}; resample them")
    return torch.stack([grid.share(one, box) for one in values])
