import torch
from torch import nn

from anomseg.segmenters.taps import Tap, Taps, measured, module_taps
from anomseg.types import FeatureInfo


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.deep = nn.Conv2d(6, 9, 3, 4, 1)
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.squares = nn.AdaptiveAvgPool2d(2)
        self.flat = nn.Linear(9, 4)
        self.unused = nn.Conv2d(3, 1, 1)
        self.same = self.deep
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape))
        deep = self.deep(self.stem(x))
        self.squares(deep)
        return self.flat(self.pooled(deep).flatten(1))


def test_maps_are_told_from_everything_else():
    taps = module_taps(Branches(), (32, 48))
    stem, deep = FeatureInfo(6, 2), FeatureInfo(9, 8)
    assert taps.info == {"stem": stem, "stem.0": stem, "stem.1": stem, "stem.2": stem, "deep": deep}


def test_finding_them_leaves_the_network_as_it_was():
    network = Branches().train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    module_taps(network, (32, 48))
    assert network.training
    assert network.sizes == []
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_each_map_is_what_its_layer_gives():
    network = Branches().eval()
    taps = module_taps(network, torch.rand(2, 3, 16, 24))
    x = torch.rand(1, 3, 24, 40)
    with taps.recording(list(taps.info)) as found:
        network(x)
    assert torch.equal(found["stem.1"], network.stem[:2](x))
    assert torch.equal(found["deep"], network.deep(network.stem(x)))


def test_another_way_to_call_the_network():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 2, 2)

        def forward(self, *, pixels, factor):
            return {"maps": self.conv(pixels) * factor}

    network = Named()
    run = lambda module, batch: module(pixels=batch, factor=2)  # noqa: E731
    assert module_taps(network, (8, 12), run).info == {"conv": FeatureInfo(4, 2)}
    taps = measured(network, {"out": Tap("", FeatureInfo(0, 1), ("maps",))}, (8, 12), run)
    assert taps.info == {"out": FeatureInfo(4, 2)}
    assert isinstance(taps, Taps)
