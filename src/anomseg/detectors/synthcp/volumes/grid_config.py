"""Classes, targets and grid as a stage is told them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomseg.data.volumes import WorkingGrid
from anomseg.detectors.synthcp.volumes.setting import VolumeSetting
from anomseg.errors import ConfigError


@dataclass(frozen=True)
class GridConfig:
    """What is judged, and at which resolution; see `WorkingGrid`.

    Attributes:
        targets: Classes whose Dice is predicted; ``[foreground]`` merges all of them.
        size: ``(D, H, W)``.
        window: Hounsfield units.
        margin: Millimetres around the targets in the judged mask; 0 for the whole volume.
    """

    targets: Sequence[str] = ("tumour",)
    size: Sequence[int] = (24, 64, 64)
    window: Sequence[float] = (-160.0, 240.0)
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not self.targets:
            raise ConfigError("targets is empty; name at least one class")
        if len(self.window) != 2:
            raise ConfigError(f"window {list(self.window)} is not two Hounsfield values, the lower one first")
        self.grid  # noqa: B018 - checked now

    @property
    def grid(self) -> WorkingGrid:
        """The grid."""
        size = tuple(int(side) for side in self.size)
        return WorkingGrid(size, (float(self.window[0]), float(self.window[1])), self.margin)  # type: ignore[arg-type]

    def setting(self, classes: tuple[str, ...]) -> VolumeSetting:
        """With the classes of the cases."""
        return VolumeSetting(classes, tuple(self.targets), self.grid)
