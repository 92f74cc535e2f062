"""What a bank must be like to be taken back from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError

PIECE = 8192
"""Rows looked at together: a mapped bank may be larger than the memory."""


def check_state(detector: str, state: Mapping[str, Tensor], expected: Sequence[str], store: str, k: int) -> None:
    """Refuse a state that cannot be searched.

    Args:
        detector: Registry name, for messages.
        state: Tensors by name.
        expected: Names that there must be.
        store: Type of the bank's numbers.
        k: Neighbours that will be asked for.

    Raises:
        CompatibilityError: Tensors are missing, of shapes or types that do not fit, not finite, or fewer rows than k.
    """
    if sorted(state) != sorted(expected):
        raise CompatibilityError(f"the state of {detector} holds {', '.join(expected)}, got {sorted(state)}")
    bank = state["bank"]
    if bank.ndim != 2 or not bank.shape[1] or bank.dtype != getattr(torch, store):
        raise CompatibilityError(
            f"the state of {detector} does not fit store={store}: its bank is {tuple(bank.shape)} in {bank.dtype}, "
            "expected (rows, channels)"
        )
    if len(bank) < k:
        raise CompatibilityError(
            f"the state of {detector} has {f'a bank of {len(bank)} rows' if len(bank) else 'an empty bank'}, fewer "
            f"than k={k}; fit it again"
        )
    if "scale" in state and state["scale"].shape != bank.shape[1:]:
        raise CompatibilityError(
            f"the state of {detector} has a bank of {bank.shape[1]} channels and a scale of shape "
            f"{tuple(state['scale'].shape)}; fit it again"
        )
    if not all(all_finite(tensor) for tensor in state.values()):
        raise CompatibilityError(f"the state of {detector} holds values that are not finite; fit it again")


def all_finite(tensor: Tensor) -> bool:
    """Whether all values are finite, looked at piece by piece."""
    pieces = tensor.split(PIECE) if tensor.ndim else (tensor,)
    return all(bool(part.isfinite().all()) for part in pieces)
