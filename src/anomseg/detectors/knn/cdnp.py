"""cDNP: a parametric score and the distance to in-distribution features, each over its range, added up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Progress
from anomseg.detectors.features import AUTO
from anomseg.detectors.knn.bank import Balance
from anomseg.detectors.knn.dnp import KNN, Compress, Engine, Store
from anomseg.detectors.knn.parametric import ParametricScore, ScoreRange
from anomseg.detectors.knn.search import build_index
from anomseg.detectors.options import not_negative, whole
from anomseg.detectors.targets import Labels
from anomseg.errors import CompatibilityError, DataError
from anomseg.scores.neighbors import reduce_distances
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Frame, Needs


class CDNP(KNN):
    """``(s - s_min) / (s_max - s_min) + weight * d / d_max`` (Galesso, Argus and Brox, ICCV-W 2023).

    s is a score of the logits and d the distance of `KNN`. Both ranges come from the pass that draws the bank: s_min
    and s_max over all pixels, void ones too; d_max is the largest distance of a feature to its nearest ones, itself
    left out, within a second uniform sample. Test scores may lie outside, so the sum is not bounded.

    Args:
        feature: See `KNN`.
        parametric: The score of the logits: ``logsumexp`` (published: 1 - logsumexp, the energy), ``max_softmax`` or
            ``msp``, ``entropy``, ``max_logit``, or any other detector tagged ``posthoc``.
        weight: Of the distance; 1 as published.
        clip: Bring both terms into [0, 1] before they are added.
        spread_rows: Cells in the sample that d_max is found in.
        stride: See `KNN`.
        scaling: See `KNN`.
        k: See `KNN`.
        reduction: See `KNN`.
        rows: See `KNN`.
        images: See `KNN`.
        balance: See `KNN`.
        labels: See `KNN`.
        compress: See `KNN`; d_max is that of features as they come.
        compressed_rows: See `KNN`.
        engine: See `KNN`; d_max is always found by exact search.
        engine_options: See `KNN`.
        store: See `KNN`.
        upsample: See `KNN`; of the distance. The logits are always resized bilinearly, then scored.
        seed: See `KNN`.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "cdnp"
    more_state = ("parametric_range", "distance_max")

    def __init__(
        self,
        feature: str = AUTO,
        parametric: str = "logsumexp",
        weight: float = 1.0,
        clip: bool = False,
        spread_rows: int = 30_000,
        stride: int = 0,
        scaling: Literal["none", "layer"] = "none",
        k: int = 3,
        reduction: Literal["mean", "max"] = "mean",
        rows: int = 100_000,
        images: int = 500,
        balance: Balance = "none",
        labels: Labels = "auto",
        compress: Compress = "none",
        compressed_rows: int = 10_000,
        engine: Engine = "exact",
        engine_options: str = "",
        store: Store = "float32",
        upsample: Literal["nearest", "bilinear"] = "nearest",
        seed: int = 0,
    ) -> None:
        super().__init__(
            feature,
            stride,
            scaling,
            k,
            reduction,
            rows,
            images,
            balance,
            labels,
            compress,
            compressed_rows,
            engine,
            engine_options,
            store,
            upsample,
            seed,
        )
        self._parametric = ParametricScore(parametric)
        self.parametric = parametric
        self.weight = not_negative("weight", weight)
        self.clip = clip
        self.spread_rows = whole("spread_rows", spread_rows)

    @property
    def fit_reads_logits(self) -> bool:
        """For the range of the parametric score."""
        return True

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The features, and the logits."""
        return super().needs(segmenter) | self.ask(segmenter, Needs(logits=True))

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Draw the bank and find both ranges in one pass; see `KNN.fit`.

        Raises:
            CompatibilityError: See `KNN.fit`.
            DataError: See `KNN.fit`; or a term has no range: all scores, or all features, are the same.
        """
        span = ScoreRange(self._parametric)
        drawn = self._draw(segmenter, frames, size, progress, span.update, self.spread_rows)
        ranges = {
            "parametric_range": span.tensor(self.registry_name),
            "distance_max": self._largest_distance(drawn.spread),
        }
        told = {"parametric_range": [span.low, span.high], "distance_max": float(ranges["distance_max"])}
        self._adopt({**drawn.state, **ranges}, {**drawn.record, **told})
        return self

    def _largest_distance(self, sample: Tensor) -> Tensor:
        """d_max: of the features of a sample, each against all others."""
        if len(sample) <= self.k:
            raise DataError(
                f"{self.registry_name} compares {len(sample)} features with k={self.k} others each to find the range "
                "of distances; give more frames, a lower k or more spread_rows"
            )
        nearest = build_index(sample).distances(sample, self.k + 1)[:, 1:]  # the first is the feature itself
        largest = reduce_distances(nearest, self.reduction).max()
        if not float(largest) > 0:
            raise DataError(
                f"{self.registry_name}: all features of the frames are the same, so distances have no range; "
                "give other frames or another feature"
            )
        return largest

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size, where both terms are added up."""
        distance = super().score(scene)
        low, high = self._state["parametric_range"].tolist()
        largest = float(self._state["distance_max"])
        parametric = self._parametric(scene)
        return scores.combine_dnp(parametric, distance, (low, high), largest, weight=self.weight, clip=self.clip)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned; see `KNN.load_state`.

        Raises:
            CompatibilityError: See `KNN.load_state`; or a range is none.
        """
        span, largest = (state.get(name, torch.empty(0)) for name in self.more_state)
        if set(self.more_state) <= set(state) and (
            span.shape != (2,) or largest.ndim or not (span[0] < span[1] and largest > 0)
        ):
            raise CompatibilityError(f"the state of {self.registry_name} has ranges that are none; fit it again")
        super().load_state(state)
