"""Likelihood of a feature under one Gaussian mixture a class."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Progress
from anomseg.detectors.features import AUTO, FeatureDetector, feature_map, feature_names
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.options import one_of, positive, whole
from anomseg.detectors.reservoir import ClassReservoir
from anomseg.detectors.targets import LABELS, ClassTargets, Labels
from anomseg.errors import CompatibilityError, DataError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Frame

_STATE = ("weights", "means", "factors", "prior")


class GaussianMixture(FeatureDetector):
    """Minus the log-likelihood of each cell's feature under the mixture of the likeliest class, resized to the image.

    The mixtures are fitted after training, by expectation maximisation on a uniform sample of each class's features
    (GMMSeg, Liang et al., NeurIPS 2022, learns them with the network). The sample is bounded, gathered in one pass
    and the same in whatever order the frames come. Classes seen on fewer than ``minimum`` cells are dropped;
    ``fitted_on`` lists them, and those whose mixture did not converge.

    Args:
        feature: Name of the feature map, or several joined by ``+``; ``"auto"`` is ``encoder`` or ``bottleneck`` where
            the network has one, else the last it names.
        components: Gaussians a class.
        covariance: ``"diag"`` (as GMMSeg), ``"full"``, or ``"tied"``: one full covariance for a class's components.
        regularization: Added to all variances, as a share of the mean variance of the features, so that a channel
            that is nearly always zero cannot decide alone.
        samples: Vectors kept of each class.
        minimum: Cells below which a class is dropped.
        iterations: Steps of expectation maximisation at most.
        reduction: ``"max"`` over the classes, or ``"logsumexp"``.
        prior: Weight the classes by how often they were seen.
        labels: Where classes come from in the fit, see `ClassTargets`.
        seed: Of the sample and of the mixtures' beginnings.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "gmm"
    flags: ClassVar[Flags] = Flags(needs_fit=True)

    def __init__(
        self,
        feature: str = AUTO,
        components: int = 5,
        covariance: Literal["diag", "full", "tied"] = "diag",
        regularization: float = 0.01,
        samples: int = 5000,
        minimum: int = 100,
        iterations: int = 100,
        reduction: Literal["max", "logsumexp"] = "max",
        prior: bool = False,
        labels: Labels = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(feature)
        self.components = whole("components", components)
        self.covariance = one_of("covariance", covariance, ("diag", "full", "tied"))
        self.regularization = positive("regularization", regularization)
        self.samples = whole("samples", samples)
        self.minimum = whole("minimum", minimum)
        self.iterations = whole("iterations", iterations)
        self.reduction = one_of("reduction", reduction, ("max", "logsumexp"))
        self.prior = prior
        self.labels = one_of("labels", labels, LABELS)
        self.seed = seed
        self._state: dict[str, Tensor] = {}

    @property
    def channels(self) -> int | None:
        """Channels of the feature map that it was fitted on; None before."""
        return self._state["means"].shape[2] if self._state else None

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Sample the features of each class in one pass, then fit a mixture to each; see `Detector.fit`."""
        segmenter, name = self.feature_to_fit(segmenter)
        reservoir = ClassReservoir(len(segmenter.classes), self.samples, self.seed)
        targets = ClassTargets(segmenter, self.labels, self.registry_name)

        def use(frame: Frame, scene: Scene) -> None:
            reservoir.update(frame.id, *targets.samples(frame, scene, feature_map(scene, name)))

        log = FitLog(self.registry_name)
        log.run(segmenter, frames, use, features=feature_names(name), size=size, progress=progress)
        record = log.record(segmenter, feature=name, **targets.record())
        self._state, lists = self._estimate(reservoir, segmenter.classes)
        self.segmenter_identity = record["segmenter"]
        self.fitted_on = {**record, **lists}
        return self

    def _estimate(
        self, reservoir: ClassReservoir, names: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
        """The state, and the classes to be listed."""
        kept = [index for index, count in enumerate(reservoir.count.tolist()) if count >= self.minimum]
        if not kept:
            raise DataError(
                f"no class was seen on {self.minimum} cells or more in the frames to fit gmm on; "
                "give more frames or a lower minimum"
            )
        samples = [reservoir.sample(index).to(torch.float64) for index in kept]
        variance = float(torch.cat(samples).var(0, unbiased=False).mean())
        models = [self._fit_one(sample, self.regularization * variance or 1.0) for sample in samples]
        prior = reservoir.count[kept].to(torch.float64)
        state = {
            "weights": torch.stack([self._padded(model.weights_, 0.0) for model in models]),
            "means": torch.stack([self._padded(model.means_, 0.0) for model in models]),
            "factors": torch.stack([self._factors(model) for model in models]),
            "prior": prior / prior.sum(),
        }
        lists = {
            "dropped_classes": [name for index, name in enumerate(names) if index not in kept],
            "not_converged": [names[index] for index, model in zip(kept, models, strict=True) if not model.converged_],
        }
        return {key: value.to(torch.float32).contiguous() for key, value in state.items()}, lists

    def _fit_one(self, sample: Tensor, regularization: float) -> Any:
        """The mixture of one class, fitted by scikit-learn."""
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - heavy, only needed to fit
        from sklearn.mixture import GaussianMixture as Estimator  # noqa: PLC0415

        model = Estimator(
            min(self.components, len(sample)),
            covariance_type=self.covariance,
            reg_covar=regularization,
            max_iter=self.iterations,
            init_params="k-means++",  # k-means itself adds up in another order on each run with several threads
            random_state=self.seed % 2**32,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `not_converged` says so
            return model.fit(np.resize(sample.numpy(), (max(2, len(sample)), sample.shape[1])))  # it wants two rows

    def _factors(self, model: Any) -> Tensor:
        """Precision factors of one mixture: ``(K, D)``, ``(K, D, D)`` or ``(1, D, D)``."""
        factors = torch.from_numpy(model.precisions_cholesky_)
        return factors[None] if self.covariance == "tied" else self._padded(factors, 1.0)

    def _padded(self, values: Any, fill: float) -> Tensor:
        """Parameters of a mixture with fewer components than asked for, filled up to the full number."""
        tensor = torch.as_tensor(values)
        missing = self.components - len(tensor)
        rest = torch.full((missing, *tensor.shape[1:]), fill, dtype=tensor.dtype)
        if tensor.ndim == 3:
            rest = fill * torch.eye(tensor.shape[1], dtype=tensor.dtype).expand(missing, -1, -1)
        return torch.cat([tensor, rest])

    def formula(self, features: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of features ``(B, D, h, w)``, in nats."""
        state = {key: value.to(features.device) for key, value in self._state.items()}
        return scores.gaussian_mixture(
            features,
            state["weights"],
            state["means"],
            state["factors"],
            self.reduction,
            state["prior"] if self.prior else None,
        )

    def state(self) -> dict[str, Tensor]:
        """Weights, means and precision factors of the mixtures, and how often each class kept was seen."""
        return dict(self._state)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: Tensors are missing, of shapes that do not fit the options, or not finite.
        """
        if sorted(state) != sorted(_STATE):
            raise CompatibilityError(f"the state of gmm holds {', '.join(_STATE)}, got {sorted(state)}")
        weights, means, factors, prior = (state[name] for name in _STATE)
        classes, channels = len(means), means.shape[-1]
        components = 1 if self.covariance == "tied" else self.components
        square = (channels,) if self.covariance == "diag" else (channels, channels)
        if (
            not classes
            or weights.shape != (classes, self.components)
            or means.shape != (classes, self.components, channels)
            or factors.shape != (classes, components, *square)
            or prior.shape != (classes,)
        ):
            shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
            raise CompatibilityError(
                f"the state of gmm does not fit components={self.components} and covariance={self.covariance}: {shapes}"
            )
        if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
            raise CompatibilityError("the state of gmm holds values that are not finite; fit it again")
        self._state = dict(state)
