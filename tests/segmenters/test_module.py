from types import SimpleNamespace

import pytest
import torch
from torch import nn

from anomseg.errors import AnomsegError, CompatibilityError, ConfigError
from anomseg.segmenters import load_segmenter, save_segmenter
from anomseg.segmenters.module import ModuleSegmenter


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
