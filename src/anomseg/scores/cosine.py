"""Cosine of two feature maps, cell by cell, also where their channels come piece by piece."""

from __future__ import annotations

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError


def feature_cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of two feature maps at each cell (Xia et al., ECCV 2020, section 3.3).

    Args:
        first: ``(B, D, *S)`` float.
        second: The same shape.

    Returns:
        ``(B, *S)`` in [-1, 1], float32 or wider; it forgets how long the features are. 0 where one is all zeros.

    Raises:
        CompatibilityError: The shapes differ.

    Example:
        >>> first = torch.tensor([[3.0, 4.0]])
        >>> feature_cosine(first, torch.tensor([[30.0, 40.0]])), feature_cosine(first, torch.tensor([[4.0, -3.0]]))
        (tensor([1.]), tensor([0.]))
    """
    return StreamedCosine().update(first, second).compute()


class StreamedCosine:
    """Cosine of features whose channels come piece by piece: what it keeps are a product and two norms a cell.

    A cosine is made of three sums over channels, so this is exact, and no piece is needed again.

    Example:
        >>> first, second = torch.ones(1, 4), torch.tensor([[1.0, 1.0, -1.0, -1.0]])
        >>> streamed = StreamedCosine()
        >>> for piece in (slice(0, 3), slice(3, 4)):
        ...     _ = streamed.update(first[:, piece], second[:, piece])
        >>> streamed.compute()
        tensor([0.])
    """

    def __init__(self) -> None:
        self._sums: tuple[Tensor, Tensor, Tensor] | None = None

    def update(self, first: Tensor, second: Tensor) -> StreamedCosine:
        """Add some channels.

        Args:
            first: ``(B, d, *S)`` float.
            second: The same shape.

        Returns:
            Itself.

        Raises:
            CompatibilityError: The shapes differ, or the cells from those before.
        """
        if first.shape != second.shape or first.ndim < 2:
            raise CompatibilityError(
                f"features that are compared must have one shape (batch, channels, ...), got {tuple(first.shape)} and "
                f"{tuple(second.shape)}"
            )
        kind = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
        first, second = first.to(kind), second.to(kind)
        found = tuple(torch.linalg.vecdot(one, other, dim=1) for one, other in _pairs(first, second))
        if self._sums is None:
            self._sums = found
        elif self._sums[0].shape != found[0].shape:
            raise CompatibilityError(
                f"these channels have cells of shape {tuple(found[0].shape)}, those before {tuple(self._sums[0].shape)}"
            )
        else:
            for total, part in zip(self._sums, found, strict=True):
                total.add_(part)
        return self

    def compute(self) -> Tensor:
        """The cosine ``(B, *S)`` of all channels so far, in [-1, 1]; 0 where a feature is all zeros.

        Raises:
            CompatibilityError: There were none.
        """
        if self._sums is None:
            raise CompatibilityError("no features were given, so there is no cosine")
        product, first, second = self._sums
        length = first.sqrt() * second.sqrt()  # of the product of squares more would under- or overflow
        # Rounding may leave a cosine just outside of [-1, 1].
        return torch.where(length > 0, product / torch.where(length > 0, length, 1.0), 0.0).clamp(-1, 1)


def _pairs(first: Tensor, second: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    return (first, second), (first, first), (second, second)
