import pytest
import torch
from torch.nn import functional as F

from anomseg.errors import CompatibilityError
from anomseg.segmenters import load_saved_segmenter, save_segmenter
from anomseg.segmenters.cosine import CosineClassifier, PrototypeNetwork
from anomseg.segmenters.deeplab import DeepLabV3Plus
from anomseg.segmenters.erfnet_pyramid import ERFNetPyramid
from anomseg.segmenters.pspnet import PSPNet

SMALL = {"backbone": "resnet18", "bottleneck": 8, "width": 8}
NETWORKS = [
    lambda kind: ERFNetPyramid(["a", "b", "c"], size=(32, 48), bottleneck=8, classifier=kind),
    lambda kind: PSPNet(["a", "b", "c"], size=(32, 48), classifier=kind, **SMALL),
    lambda kind: DeepLabV3Plus(["a", "b", "c"], size=(32, 48), decoder=8, classifier=kind, **SMALL),
]


def test_logits_are_the_cosines_times_the_scale_whatever_the_lengths():
    torch.manual_seed(0)
    layer, features = CosineClassifier(5, 3), torch.randn(2, 5, 4, 6)
    by_torch = 10 * F.cosine_similarity(features[:, None], layer.weight[None, :, :, None, None], dim=2)
    torch.testing.assert_close(layer(features), by_torch)
    layer.weight.data *= torch.tensor([[0.1], [3.0], [50.0]])
    torch.testing.assert_close(layer(features * 7), by_torch)
    assert layer.prototypes.norm(dim=1).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("build", NETWORKS)
def test_every_network_over_an_encoder_may_have_one(build, tmp_path):
    torch.manual_seed(0)
    network = build("cosine").eval()
    assert "prototypes" in network.provides
    assert isinstance(network, PrototypeNetwork)
    x = torch.rand(1, 3, 32, 48)
    main, early = network.training_logits(x)
    assert max(main.abs().max(), early.abs().max()) <= 10 + 1e-4
    assert network.prototypes.shape[0] == 3
    assert network.cosine_scale == 10
    assert not any("bias" in name for name, _ in network.classifier.named_parameters())
    save_segmenter(network, tmp_path / "network")
    again = load_saved_segmenter(tmp_path / "network")
    assert torch.equal(again(x).logits, network(x).logits)


@pytest.mark.parametrize("build", NETWORKS)
def test_a_linear_classifier_has_no_prototypes(build):
    network = build("linear")
    assert "prototypes" not in network.provides
    with pytest.raises(CompatibilityError, match="linear and has no prototypes; train one with the option classifier"):
        _ = network.prototypes


@pytest.mark.parametrize("build", NETWORKS)
def test_the_head_on_the_encoders_maps_is_the_whole_network(build):
    torch.manual_seed(0)
    network, x = build("linear").eval(), torch.rand(1, 3, 32, 48)
    whole = network.training_logits(x)
    for mine, other in zip(network.head_logits(network.encoder_maps(x)), whole, strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(network(x).logits, whole[0])


@pytest.mark.parametrize("build", NETWORKS)
def test_feature_maps_never_run_a_classifier(build):
    network, x = build("linear").eval(), torch.rand(1, 3, 32, 48)
    names = tuple(network.feature_info)
    expected = network(x, features=names).features
    network.classifier.register_forward_hook(lambda *_: pytest.fail("the classifier ran"))
    found = network.feature_maps(x, names)
    assert set(found) == set(names)
    assert all(torch.equal(found[name], expected[name]) for name in names)


@pytest.mark.parametrize("build", NETWORKS[:2])
def test_the_norm_of_a_feature_is_what_makes_it(build):
    torch.manual_seed(0)
    network, x = build("linear").eval(), torch.rand(1, 3, 32, 48)
    norm, seen = network.feature_norm("bottleneck_linear"), []
    norm.register_forward_hook(lambda _, inputs, output: seen.append(output))
    maps = network.feature_maps(x, ("bottleneck_linear", "bottleneck"))
    assert torch.equal(seen[0], maps["bottleneck_linear"])
    assert maps["bottleneck_linear"].min() < 0 <= maps["bottleneck"].min()
    assert network.feature_norm("bottleneck") is None
