import copy

import pytest
import torch
from torch import nn

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.taps import Channels, Grid, Map, Tap, Taps, Tokens, Windows
from anomseg.types import FeatureInfo

INFO = FeatureInfo(8, 2)


def _hooks(network):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.ReLU(inplace=True), nn.Conv2d(8, 5, 1))


def test_answers_stay_bit_equal_and_hooks_go():
    network, x = _network(), torch.rand(2, 3, 8, 12)
    plain = network(x)
    with Taps(network, {"a": Tap("0", INFO), "b": Tap("0", INFO), "c": Tap("1", INFO)}).recording("abc") as found:
        tapped = network(x)
    assert torch.equal(plain, tapped)
    assert list(found) == ["a", "b", "c"]
    assert _hooks(network) == 0


def test_a_later_layer_in_place_does_not_reach_what_was_heard():
    network, x = _network(), torch.randn(1, 3, 8, 12)
    with Taps(network, {"conv": Tap("0", INFO)}).recording(["conv"]) as found:
        network(x)
    assert (found["conv"] < 0).any()
    assert torch.equal(found["conv"], network[0](x))


def test_hooks_go_after_an_error_and_the_error_is_the_networks_own():
    network = _network()
    with pytest.raises(RuntimeError, match="channels"), Taps(network, {"a": Tap("0", INFO)}).recording(["a"]):
        network(torch.rand(1, 5, 8, 8))
    assert _hooks(network) == 0


def test_features_carry_gradients():
    network, x = _network(), torch.rand(1, 3, 8, 12, requires_grad=True)
    with Taps(network, {"a": Tap("1", INFO)}).recording(["a"]) as found:
        network(x)
    (theirs,) = torch.autograd.grad(network[:2](x).square().sum(), x)
    (ours,) = torch.autograd.grad(found["a"].square().sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_a_layer_that_runs_twice_gives_what_it_gave_last():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    network, x = Twice(), torch.rand(1, 3, 4, 6)
    with Taps(network, {"conv": Tap("conv", FeatureInfo(3, 1))}).recording(["conv"]) as found:
        answer = network(x)
    assert torch.equal(found["conv"], answer)


def test_a_copy_listens_to_the_copied_network():
    holder = {"network": _network()}
    holder["taps"] = Taps(holder["network"], {"a": Tap("0", INFO)})
    twin = copy.deepcopy(holder)
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        twin["network"][0].weight.zero_()
    with twin["taps"].recording(["a"]) as found:
        twin["network"](x)
    assert torch.equal(found["a"], twin["network"][0](x))
    with pytest.raises(CompatibilityError, match="did not run"), twin["taps"].recording(["a"]):
        holder["network"](x)


def test_two_networks_do_not_hear_each_other():
    first, second = _network(), _network()
    x = torch.rand(1, 3, 8, 8)
    taps = [Taps(network, {"a": Tap("0", INFO)}) for network in (first, second)]
    with taps[0].recording(["a"]) as one, taps[1].recording(["a"]) as two:
        first(x)
        second(x + 1)
    assert torch.equal(one["a"], first[0](x))
    assert torch.equal(two["a"], second[0](x + 1))


def test_names_and_places_that_do_not_exist():
    network = _network()
    with pytest.raises(CompatibilityError, match="'9', which the network does not have"):
        Taps(network, {"a": Tap("9", INFO)})
    with (
        pytest.raises(ConfigError, match="did you mean 'stem'"),
        Taps(network, {"stem": Tap("0", INFO)}).recording(["stm"]),
    ):
        pass
    with pytest.raises(CompatibilityError, match="without the tapped tensor"):
        Tap("0", INFO, ("maps", 3)).pick({"maps": [torch.rand(1)]})


def test_parts_of_an_output():
    inner = torch.rand(1, 2, 3, 4)
    assert Tap("", INFO, ("maps", 1)).pick({"maps": [0, inner]}) is inner
    assert Tap("", INFO).pick((None, {"x": "text", "y": inner})) is inner


class TokenNetwork(nn.Module):
    """Cuts patches, puts some tokens in front, and maps every token to three times the channels."""

    def __init__(self, prefix):
        super().__init__()
        self.cut = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.prefix = nn.Parameter(torch.full((1, prefix, 4), 1e6))
        self.thirds = nn.Linear(4, 12)

    def forward(self, x):
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        return self.thirds(torch.cat([self.prefix.expand(len(x), -1, -1), tokens], 1))


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (1, 5)])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_lie_on_the_grid_that_the_network_made(size, prefix):
    network, x = TokenNetwork(prefix), torch.rand(2, 3, *size)
    layout = Tokens(Grid("cut"))
    taps = Taps(
        network, {"all": Tap("thirds", INFO, layout=layout), "k": Tap("thirds", INFO, layout=Channels(layout, 1))}
    )
    with taps.recording(["all", "k"]) as found:
        network(x)
    expected = network.thirds(network.cut(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found["all"], expected)
    torch.testing.assert_close(found["k"], expected[:, 4:8])


def test_a_grid_that_does_not_fit_is_said():
    with pytest.raises(CompatibilityError, match="3 tokens do not fill a grid of 2x2"):
        Tokens(Grid("cut"))(torch.rand(1, 3, 4), {"cut": (2, 2)}, nn.Identity())
    with pytest.raises(CompatibilityError, match="'cut' did not run before"):
        Tokens(Grid("cut"))(torch.rand(1, 3, 4), {}, nn.Identity())


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_halving_a_grid_rounds_up_each_time(halvings):
    height, width = 7, 10
    for _ in range(halvings):
        height, width = (height + 1) // 2, (width + 1) // 2
    assert Grid("cut", halvings).of({"cut": (7, 10)}) == (height, width)


@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("size", [(4, 8), (5, 7), (9, 3), (1, 1)])
def test_windows_are_put_back_where_they_came_from(size, shift):
    window, (height, width) = 4, size
    places = torch.arange(2 * 3 * height * width, dtype=torch.float32).reshape(2, height, width, 3)
    below, right = -height % window, -width % window
    padded = torch.full((2, height + below, width + right, 3), -1.0)
    padded[:, :height, :width] = places
    rows, columns = padded.shape[1], padded.shape[2]
    cut = []  # window by window, token by token, as a shifted attention reads them
    for image in padded:
        for top in range(0, rows, window):
            for left in range(0, columns, window):
                cells = [(top + i, left + j) for i in range(window) for j in range(window)]
                cut.append(torch.stack([image[(i + shift) % rows, (j + shift) % columns] for i, j in cells]))
    network = nn.Module()
    network.block = nn.Module()
    network.block.window_size, network.block.shift_size = window, shift
    found = Windows(Grid("cut"), "block")(torch.stack(cut), {"cut": size}, network)
    assert torch.equal(found, places.permute(0, 3, 1, 2))


def test_maps_with_channels_last():
    tensor = torch.rand(2, 3, 4, 5)
    assert torch.equal(Map(channels_last=True)(tensor, {}, nn.Identity()), tensor.permute(0, 3, 1, 2))
