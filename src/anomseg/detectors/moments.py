"""Count, mean and (co)variance of a value or vector for each class, gathered in one pass over any amount of data."""

from __future__ import annotations

import torch
from torch import Tensor


class ClassMoments:
    """Running moments of values that carry a class, in float64.

    Each batch is reduced around its own means and merged (Chan, Golub and LeVeque, 1979), so a large common offset
    costs no precision and the result does not depend on how the data were cut.

    Args:
        classes: Number of classes C.

    Attributes:
        count: ``(C,)`` int64.
        mean: ``(C,)`` float64, 0 where nothing was seen.
        squares: ``(C,)`` float64, sum of squared deviations from the mean.
    """

    def __init__(self, classes: int) -> None:
        self.count = torch.zeros(classes, dtype=torch.int64)
        self.mean = torch.zeros(classes, dtype=torch.float64)
        self.squares = torch.zeros(classes, dtype=torch.float64)

    def update(self, values: Tensor, labels: Tensor) -> None:
        """Add data.

        Args:
            values: ``(N,)`` float.
            labels: ``(N,)`` integer in [0, C).
        """
        classes = len(self.count)
        # On the CPU: weighted counts on a GPU add up in another order each time.
        values, labels = values.detach().cpu().to(torch.float64), labels.cpu()
        count = torch.bincount(labels, minlength=classes)
        mean = torch.bincount(labels, values, minlength=classes) / count.clamp(min=1)
        squares = torch.bincount(labels, (values - mean[labels]) ** 2, minlength=classes)
        total = self.count + count
        share = count.to(torch.float64) / total.clamp(min=1)  # two integers would divide in float32
        delta = mean - self.mean
        self.squares += squares + delta**2 * self.count * share
        self.mean += delta * share
        self.count = total

    def variance(self, unbiased: bool = False) -> Tensor:
        """``(C,)`` float64 population variance (or divided by n - 1); 0 where too little was seen."""
        return self.squares / (self.count - int(unbiased)).clamp(min=1)

    def pooled(self, unbiased: bool = False) -> tuple[float, float]:
        """Mean and variance over all classes together; both 0 when nothing was seen."""
        count = int(self.count.sum())
        mean = float((self.mean * self.count).sum()) / max(count, 1)
        squares = float((self.squares + self.count * (self.mean - mean) ** 2).sum())
        return mean, squares / max(count - int(unbiased), 1)


class FeatureMoments:
    """Running count, mean and scatter of vectors that carry a class, in float64, merged as in `ClassMoments`.

    Args:
        classes: Number of classes C.
        channels: Length D of the vectors.
        shared: Keep one scatter matrix, the sum over the classes, each around its own mean: C times less memory.

    Attributes:
        count: ``(C,)`` int64.
        mean: ``(C, D)`` float64, 0 where nothing was seen.
        scatter: ``(C, D, D)`` float64, or ``(1, D, D)``: sums of outer products of deviations from the mean.
    """

    def __init__(self, classes: int, channels: int, shared: bool = False) -> None:
        self.count = torch.zeros(classes, dtype=torch.int64)
        self.mean = torch.zeros(classes, channels, dtype=torch.float64)
        self.scatter = torch.zeros(1 if shared else classes, channels, channels, dtype=torch.float64)

    def update(self, values: Tensor, labels: Tensor) -> None:
        """Add data.

        Args:
            values: ``(N, D)`` float.
            labels: ``(N,)`` integer in [0, C).
        """
        values, labels = values.detach().cpu().to(torch.float64), labels.cpu()
        for index in labels.unique().tolist():
            own = values[labels == index]
            mean = own.mean(0)
            self._add(index, len(own), mean, (own - mean).T @ (own - mean))

    def merge(self, other: FeatureMoments) -> None:
        """Add what another one of the same shape has gathered.

        Args:
            other: Left as it is.
        """
        for index, count in enumerate(other.count.tolist()):
            if count:
                self._add(index, count, other.mean[index], 0.0 if len(other.scatter) == 1 else other.scatter[index])
        if len(other.scatter) == 1:
            self.scatter += other.scatter

    def _add(self, index: int, count: int, mean: Tensor, scatter: Tensor | float) -> None:
        before = int(self.count[index])
        delta = mean - self.mean[index]
        row = 0 if len(self.scatter) == 1 else index
        self.scatter[row] += scatter + torch.outer(delta, delta) * (before * count / (before + count))
        self.mean[index] += delta * (count / (before + count))
        self.count[index] = before + count

    def covariance(self, index: int) -> Tensor:
        """``(D, D)`` population covariance of one class; not for ``shared`` moments."""
        return self.scatter[index] / self.count[index].clamp(min=1)

    def pooled_covariance(self) -> Tensor:
        """``(D, D)`` covariance within the classes, over all of them together."""
        return self.scatter.sum(0) / self.count.sum().clamp(min=1)
