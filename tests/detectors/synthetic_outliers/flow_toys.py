"""Flows whose couplings do something, for tests."""

import torch
from torch import nn

from anomseg.detectors.synthetic_outliers.flow import AffineCoupling, Chain, RealNVP


def stirred(seed=0, amount=0.05, **options):
    """A small flow that is not the identity."""
    torch.manual_seed(seed)
    flow = RealNVP(**{"width": 6, "blocks": 1, **options})
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(amount * torch.randn_like(parameter))
    return flow.eval()


def plane_flow(seed=0, couplings=4):
    """Couplings of two numbers, conditioned by small perceptrons."""
    torch.manual_seed(seed)
    made = []
    for index in range(couplings):
        parts = ([0], [1]) if index % 2 == 0 else ([1], [0])
        made.append(AffineCoupling(parts, nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 2))))
    return Chain(made).eval()
