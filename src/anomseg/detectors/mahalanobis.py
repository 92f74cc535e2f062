"""Distance of a feature to the Gaussian of the nearest class (Lee et al., NeurIPS 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Progress
from anomseg.detectors.features import AUTO, FeatureDetector, feature_map, feature_names
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.moments import FeatureMoments
from anomseg.detectors.options import fraction, one_of, whole
from anomseg.detectors.targets import LABELS, ClassTargets, Labels
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Frame

_STATE = ("means", "whitening", "count")


class Mahalanobis(FeatureDetector):
    """Squared Mahalanobis distance of each cell's feature to the nearest class, resized to the image.

    Mean and covariance of each class come from one pass over in-distribution frames, in float64. Classes seen on
    fewer than ``minimum`` cells are dropped; with one precision a class, those seen on no more cells than the feature
    has channels take the covariance within all classes, since their own has no inverse. ``fitted_on`` lists both.

    Args:
        feature: Name of the feature map, or several joined by ``+``; ``"auto"`` is ``encoder`` or ``bottleneck`` where
            the network has one, else the last it names.
        precision: ``"shared"``: the covariance within the classes, one for all, as the paper; ``"class"``: each class
            has its own, as SegmentMeIfYouCan's baseline. Of unequal covariances the widest class wins everywhere,
            since no log-determinant is counted.
        shrinkage: Share of ``trace / D`` times the identity mixed into each covariance, in [0, 1]. Some is needed
            where channels are always zero; the default bounds the ratio of its eigenvalues by 100 D.
        minimum: Cells below which a class is dropped.
        labels: Where classes come from in the fit, see `ClassTargets`.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "mahalanobis"
    flags: ClassVar[Flags] = Flags(needs_fit=True)

    def __init__(
        self,
        feature: str = AUTO,
        precision: Literal["class", "shared"] = "shared",
        shrinkage: float = 0.01,
        minimum: int = 100,
        labels: Labels = "auto",
    ) -> None:
        super().__init__(feature)
        self.precision = one_of("precision", precision, ("class", "shared"))
        self.shrinkage = fraction("shrinkage", shrinkage)
        self.minimum = whole("minimum", minimum)
        self.labels = one_of("labels", labels, LABELS)
        self._state: dict[str, Tensor] = {}

    @property
    def channels(self) -> int | None:
        """Channels of the feature map that it was fitted on; None before."""
        return self._state["means"].shape[1] if self._state else None

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Estimate mean and covariance of the feature for each class, in one pass; see `Detector.fit`."""
        segmenter, name = self.feature_to_fit(segmenter)
        shared = self.precision == "shared"
        moments: list[FeatureMoments] = []
        targets = ClassTargets(segmenter, self.labels, self.registry_name)

        def use(frame: Frame, scene: Scene) -> None:
            vectors, classes = targets.samples(frame, scene, feature_map(scene, name))
            if not moments:
                moments.append(FeatureMoments(len(segmenter.classes), vectors.shape[1], shared))
            moments[0].update(vectors, classes)

        log = FitLog(self.registry_name)
        log.run(segmenter, frames, use, features=feature_names(name), size=size, progress=progress)
        record = log.record(segmenter, feature=name, **targets.record())
        self._state, lists = self._estimate(moments[0], segmenter.classes)
        self.segmenter_identity = record["segmenter"]
        self.fitted_on = {**record, **lists}
        return self

    def _estimate(
        self, moments: FeatureMoments, names: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
        """The state, and the classes to be listed."""
        counts = moments.count.tolist()
        kept = [index for index, count in enumerate(counts) if count >= self.minimum]
        if not kept:
            raise DataError(
                f"no class was seen on {self.minimum} cells or more in the frames to fit mahalanobis on; "
                "give more frames or a lower minimum"
            )
        lists = {"dropped_classes": [name for index, name in enumerate(names) if index not in kept]}
        common = moments.pooled_covariance()
        if self.precision == "shared":
            whitening = self._whitening(common)
        else:
            pooled = [index for index in kept if counts[index] <= moments.mean.shape[1]]
            lists["pooled_classes"] = [names[index] for index in pooled]
            whitening = torch.stack(
                [self._whitening(common if index in pooled else moments.covariance(index)) for index in kept]
            )
        state = {"means": moments.mean[kept], "whitening": whitening, "count": moments.count}
        # Contiguous, as it comes back from a file: a product rounds otherwise in another layout.
        return {
            key: value.float().contiguous() if value.is_floating_point() else value for key, value in state.items()
        }, lists

    def _whitening(self, covariance: Tensor) -> Tensor:
        """W with ``W^T W`` the inverse of the shrunk covariance."""
        identity = torch.eye(len(covariance), dtype=covariance.dtype)
        scale = float(covariance.trace()) / len(covariance) or 1.0  # features that never vary leave the identity
        shrunk = (1 - self.shrinkage) * covariance + self.shrinkage * scale * identity
        factor, failed = torch.linalg.cholesky_ex(shrunk)
        if int(failed):
            raise ConfigError("mahalanobis: a covariance has no inverse; fit it with shrinkage=0.01 or more")
        return torch.linalg.solve_triangular(factor, identity, upper=False)

    def formula(self, features: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of features ``(B, D, h, w)``."""
        means, whitening = (self._state[name].to(features.device) for name in ("means", "whitening"))
        return scores.mahalanobis_whitened(features, means, whitening)

    def state(self) -> dict[str, Tensor]:
        """Means and whitening factors of the classes kept, and how many cells each class was seen on."""
        return dict(self._state)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: Tensors are missing, of shapes that do not fit, or not finite.
        """
        if sorted(state) != sorted(_STATE):
            raise CompatibilityError(f"the state of mahalanobis holds {', '.join(_STATE)}, got {sorted(state)}")
        means, whitening, count = (state[name] for name in _STATE)
        channels = means.shape[-1]
        square = (channels, channels) if self.precision == "shared" else (len(means), channels, channels)
        if means.ndim != 2 or not len(means) or whitening.shape != square or count.ndim != 1:
            shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
            raise CompatibilityError(f"the state of mahalanobis does not fit precision={self.precision}: {shapes}")
        if not bool(means.isfinite().all() and whitening.isfinite().all()):
            raise CompatibilityError("the state of mahalanobis holds values that are not finite; fit it again")
        self._state = dict(state)
