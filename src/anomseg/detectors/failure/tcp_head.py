"""The head that guesses the probability of the true class."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from anomseg.errors import CompatibilityError


class TCPHead(nn.Module):
    """Two convolutions and a pointwise one on a feature map whose channels are normalised.

    Args:
        channels: Of the feature map.
        hidden: Channels in between.
        side: Side of the convolutions, odd.
    """

    def __init__(self, channels: int, hidden: int = 64, side: int = 3) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.conv1 = nn.Conv2d(channels, hidden, side, padding=side // 2)
        self.conv2 = nn.Conv2d(hidden, hidden, side, padding=side // 2)
        self.last = nn.Conv2d(hidden, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, channels, h, w)`` to the probability ``(B, h, w)``, in [0, 1]."""
        x = torch.relu(self.conv1(self.norm(features.float())))
        return self.last(torch.relu(self.conv2(x)))[:, 0].sigmoid()

    @property
    def channels(self) -> int:
        """Of the feature map."""
        return self.conv1.in_channels


def head_of(state: Mapping[str, Tensor]) -> TCPHead:
    """A head of its weights, in evaluation mode.

    Raises:
        CompatibilityError: They are of something else, or not finite.
    """
    first = state.get("conv1.weight")
    if first is None or first.ndim != 4:
        raise CompatibilityError(f"the state of tcp is the weights of its head, got {sorted(state)[:3]}")
    head = TCPHead(first.shape[1], first.shape[0], first.shape[2])
    own = head.state_dict()
    wrong = [name for name in own.keys() | state.keys() if name not in state or name not in own]
    wrong += [name for name in own if name in state and own[name].shape != state[name].shape]
    if wrong or not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise CompatibilityError("the state of tcp is damaged; train it again")
    head.load_state_dict(dict(state))
    return head.eval()
