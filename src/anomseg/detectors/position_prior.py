"""The control that knows nothing but where in the picture it looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.base import Detector, Progress
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.options import one_of, whole
from anomseg.detectors.road import road_classes, space_of
from anomseg.detectors.targets import LABELS, Labels
from anomseg.errors import CompatibilityError, DataError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import VOID, Flags, Frame, Needs

CENTRE, SPREAD = (0.5, 0.6), (0.15, 0.05)
"""Centre (x, y) of the fixed prior, in fractions from the top left, and its squared reach along each."""


class PositionPrior(Detector):
    """A score that depends on the position alone: the same map for every image.

    As built it is -((x - .5)^2 / .15 + (y - .6)^2 / .05), with x and y at the pixels' centres and running over
    [0, 1] from the top left. After `fit` it is the share of in-distribution frames that show road at the place, on a
    coarse grid: objects to be found stand where the road usually is.

    Args:
        labels: Where `fit` takes the road from: the ``dataset``'s class maps, the network's ``predicted`` classes,
            or ``auto``, the former for frames that have them.
        rows: Grid cells from top to bottom.
        columns: Grid cells from left to right.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "position_prior"
    flags: ClassVar[Flags] = Flags(forward_passes=0)

    def __init__(self, labels: Labels = "auto", rows: int = 18, columns: int = 32) -> None:
        super().__init__()
        self.labels = one_of("labels", labels, LABELS)
        self.rows = whole("rows", rows)
        self.columns = whole("columns", columns)
        self._road: Tensor | None = None

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: once fitted it is a frequency."""
        return self._road is not None

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Nothing of the network."""
        del segmenter
        return Needs(logits=False)

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Count road at each place of the grid; see `Detector.fit`. No network is needed where labels suffice."""
        road = torch.zeros(self.rows, self.columns, dtype=torch.float64)
        known = torch.zeros_like(road)
        used: Counter[str] = Counter()

        def use(frame: Frame, scene: Scene) -> None:
            is_road, is_known, source = self._road_of(frame, scene)
            masks = torch.from_numpy(np.stack([is_road & is_known, is_known])).to(torch.float64)
            cells = F.adaptive_avg_pool2d(masks[None], (self.rows, self.columns))[0]
            road.add_(cells[0])
            known.add_(cells[1])
            used[source] += 1

        log = FitLog(self.registry_name)
        log.run(segmenter, frames, use, size=size, progress=progress)
        record = log.record(segmenter if used["predicted"] else None)
        if not bool(road.any()):
            raise DataError("the frames to fit position_prior on show no road; give frames of road scenes")
        overall = float(road.sum() / known.sum())
        self._road = torch.where(known > 0, road / known.clamp(min=1e-12), overall).to(torch.float32)
        self.segmenter_identity = record["segmenter"]
        self.fitted_on = {**record, "labels": dict(used)}
        return self

    def _road_of(self, frame: Frame, scene: Scene) -> tuple[np.ndarray, np.ndarray, str]:
        """Where the frame shows road, where that is known at all, and who says so."""
        space = space_of(frame) if self.labels != "predicted" else None
        classes = frame.classes if space is not None else None
        if space is not None and classes is not None:
            return np.isin(classes, road_classes(space.names)), classes != VOID, "dataset"
        if self.labels == "dataset":
            raise CompatibilityError(f"frame {frame.id} has no class map of a known label space; use labels=auto")
        if scene.segmenter is None:
            raise CompatibilityError(f"frame {frame.id} has no class map of a known label space; give a segmenter")
        predicted = scene.prediction()[0].cpu().numpy()
        is_road = np.isin(predicted, road_classes(scene.segmenter.classes))
        return is_road, np.ones(is_road.shape, bool), "predicted"

    def score(self, scene: Scene) -> Tensor:
        """The same map for each image, ``(B, H, W)`` float32 at the images' own size."""
        height, width = scene.image_size
        if self._road is not None:
            grid = self._road[None, None].to(scene.images.device)
            score = F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)[0, 0].clamp(0, 1)
        else:
            y = (torch.arange(height, device=scene.images.device) + 0.5) / height
            x = (torch.arange(width, device=scene.images.device) + 0.5) / width
            score = -((x - CENTRE[0]) ** 2 / SPREAD[0] + ((y - CENTRE[1]) ** 2 / SPREAD[1])[:, None])
        return score.expand(len(scene.frame_ids), height, width).clone()

    def state(self) -> dict[str, Tensor]:
        """The share of road at each place, once fitted."""
        return {} if self._road is None else {"road": self._road}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: It is not a grid of shares of this detector's shape.
        """
        if not state:
            self._road = None
            return
        if set(state) != {"road"} or state["road"].shape != (self.rows, self.columns):
            shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
            raise CompatibilityError(f"the state of position_prior is a {self.rows}x{self.columns} grid, got {shapes}")
        if not bool(((state["road"] >= 0) & (state["road"] <= 1)).all()):
            raise CompatibilityError("the state of position_prior holds values that are no shares; fit it again")
        self._road = state["road"].to(torch.float32)
