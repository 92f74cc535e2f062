from types import SimpleNamespace

import pytest
import torch
from torch import nn

from anomseg.errors import AnomsegError, CompatibilityError, ConfigError
from anomseg.segmenters import load_segmenter, save_segmenter
from anomseg.segmenters.module import ModuleSegmenter
from anomseg.types import FeatureInfo


def _logits(batch):
    return torch.cat([batch.sum(1, keepdim=True), -batch.sum(1, keepdim=True)], 1) * 3


@pytest.mark.parametrize(
    "network",
    [
        _logits,
        lambda x: {"out": _logits(x)},
        lambda x: {"logits": _logits(x), "aux": 1},
        lambda x: SimpleNamespace(logits=_logits(x)),
        lambda x: (_logits(x), "more"),
    ],
)
def test_any_usual_kind_of_answer(network):
    segmenter = load_segmenter(network)
    x = torch.rand(2, 3, 8, 10)
    assert segmenter.classes == ("class_0", "class_1")
    assert torch.equal(segmenter(x).logits, _logits(x))


def test_nineteen_outputs_are_taken_for_cityscapes():
    assert load_segmenter(nn.Conv2d(3, 19, 1)).classes[13] == "car"


def test_normalisation_happens_inside():
    segmenter = load_segmenter(lambda x: x, classes=["r", "g", "b"], mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    x = torch.rand(1, 3, 4, 4)
    expected = (x - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.2, 0.1]).view(3, 1, 1)
    torch.testing.assert_close(segmenter(x).logits, expected)


def test_probabilities_are_refused_unless_allowed():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(1))
    segmenter = load_segmenter(network, classes=list("abcd"))
    with pytest.raises(AnomsegError, match="probabilit"):
        segmenter(torch.rand(1, 3, 8, 8))
    load_segmenter(network, classes=list("abcd"), allow_probabilities=True)(torch.rand(1, 3, 8, 8))


def test_wrong_answers_are_named():
    with pytest.raises(CompatibilityError, match="expected logits"):
        load_segmenter(lambda x: "no")
    with pytest.raises(CompatibilityError, match="for 3 classes"):
        load_segmenter(_logits, classes=list("abc"))(torch.rand(1, 3, 4, 4))


def test_a_callable_cannot_be_saved(tmp_path):
    with pytest.raises(CompatibilityError, match="cannot be saved"):
        save_segmenter(load_segmenter(_logits), tmp_path)


def test_names_that_do_not_exist_are_suggested(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'erfnet'"):
        load_segmenter("erfnt")
    with pytest.raises(ConfigError, match=r"without segmenter\.json"):
        load_segmenter(tmp_path)
    with pytest.raises(ConfigError, match="from the command line"):
        load_segmenter("module")


def test_results_of_other_code_or_other_input_are_told_apart():
    def one(batch):
        return batch * 2 - 1

    def other(batch):
        return batch * 3 - 1

    def identity(network, **options):
        return ModuleSegmenter(network, classes=("a", "b", "c"), **options).identity()

    assert identity(one) == identity(one)
    assert identity(one) != identity(other)
    assert identity(one) != identity(one, mean=(0.5, 0.5, 0.5))
    assert identity(one) != identity(one, divisor=32)


def test_options_for_a_built_segmenter_are_not_swallowed():
    segmenter = load_segmenter(_logits)
    assert load_segmenter(segmenter) is segmenter
    with pytest.raises(ConfigError, match="size cannot be set"):
        load_segmenter(segmenter, size=(8, 8))


def _two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 1))


def test_layers_of_a_module_are_features_under_their_paths():
    network = _two_layers()
    segmenter = load_segmenter(network, classes=list("abcd"), divisor=2)
    batch = torch.rand(2, 3, 10, 14)
    output = segmenter(batch, features=["0", "2"])
    torch.testing.assert_close(output.features["0"], network[0](batch), rtol=0, atol=0)
    assert torch.equal(output.features["2"], output.logits)
    assert segmenter.feature_info["0"] == FeatureInfo(8, 2)


def test_wrapping_runs_nothing_and_finding_layers_runs_a_copy():
    network = _two_layers()
    calls = []
    network.register_forward_hook(lambda module, inputs, output: calls.append(module))
    segmenter = load_segmenter(network, classes=list("abcd"), divisor=2)
    assert "features" in segmenter.provides
    assert not calls
    assert len(segmenter.feature_info) == len(segmenter.feature_info) == 3
    assert len(calls) == 1
    assert calls[0] is not network


def test_a_callable_has_no_features():
    segmenter = load_segmenter(_logits)
    assert "features" not in segmenter.provides
    with pytest.raises(ConfigError, match="unknown feature"):
        segmenter(torch.rand(1, 3, 4, 4), features=["0"])


def test_a_network_of_one_size_is_looked_into_at_that_size():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 2, stride=2)
            self.places = nn.Parameter(torch.rand(2, 5, 7))

        def forward(self, x):
            return self.conv(x) + self.places

    segmenter = load_segmenter(Fixed(), classes=["a", "b"], size=(10, 14))
    assert segmenter.feature_info == {"conv": FeatureInfo(2, 2)}


def test_a_name_among_hundreds_is_suggested_in_one_readable_line():
    network = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(100)))
    segmenter = load_segmenter(network, classes=list("abc"))
    with pytest.raises(ConfigError, match=r"did you mean '77'\?.*100 known.*segmenter\.feature_info") as error:
        segmenter(torch.rand(1, 3, 4, 4), features=["77x"])
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "options",
    [
        {"mean": (0.5,)},
        {"std": (1.0, 1.0, 0.0)},
        {"mean": (0.5, float("nan"), 0.5)},
        {"divisor": 0},
        {"size": (0, 8)},
        {"palette": [(1, 2, 3)]},
        {"palette": [(1, 2)] * 4},
    ],
)
def test_options_that_would_score_nonsense_are_refused(options):
    with pytest.raises(ConfigError) as caught:
        load_segmenter(nn.Conv2d(3, 4, 1), **options)
    assert "\n" not in str(caught.value)


def test_a_single_output_has_no_classes_to_be_unsure_between():
    with pytest.raises(CompatibilityError, match="two or more"):
        load_segmenter(nn.Conv2d(3, 1, 1))
    with pytest.raises(CompatibilityError, match="two or more"):
        load_segmenter(nn.Conv2d(3, 2, 1), void=True)
