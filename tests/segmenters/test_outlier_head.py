"""Outlier heads and extra classes of our trainable networks: one pass, old networks unchanged, everything trained."""

import pytest
import torch
from torch.nn import functional as F

from anomseg.errors import ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_saved_segmenter, load_segmenter, make_scene, save_segmenter
from anomseg.segmenters.outlier_head import OutlierHead
from anomseg.types import FeatureInfo

CLASSES = ["road", "sky", "car"]
SMALL = {
    "pyramid": {"widths": (4, 6, 8, 8), "bottleneck": 6, "outlier_layers": ["decoder8", "decoder4"]},
    "erfnet_pyramid": {"bottleneck": 8, "outlier_layers": ["stage1", "bottleneck"]},
    "pspnet": {"width": 4, "bottleneck": 12, "backbone": "resnet18", "outlier_layers": ["bottleneck"]},
    "deeplabv3plus": {
        "width": 4,
        "bottleneck": 12,
        "backbone": "resnet18",
        "decoder": 8,
        "outlier_layers": ["decoder"],
    },
    "ladder_densenet": {"growth": 2, "ladder": (8, 6, 6, 4), "outlier_layers": ["ladder4"]},
}
every_network = pytest.mark.parametrize("name", SMALL)


def build(name, **options):
    torch.manual_seed(0)
    return SEGMENTERS.create(name, classes=CLASSES, size=(32, 64), **{**SMALL[name], **options})


def test_the_head_is_batch_norm_relu_and_one_convolution_on_maps_side_by_side():
    torch.manual_seed(0)
    head = OutlierHead({"coarse": FeatureInfo(3, 8), "fine": FeatureInfo(2, 4)}).eval()
    norm, _, last = head.body
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    coarse, fine = torch.randn(2, 3, 4, 6), torch.randn(2, 2, 8, 12)
    x = torch.cat([F.interpolate(coarse, (8, 12), mode="bilinear", align_corners=False), fine], 1)
    x = (x - norm.running_mean.view(-1, 1, 1)) / (norm.running_var.view(-1, 1, 1) + norm.eps).sqrt()
    x = (x * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)).clamp_min(0)
    expected = torch.einsum("oc,bchw->bohw", last.weight[:, :, 0, 0], x) + last.bias.view(-1, 1, 1)
    torch.testing.assert_close(head({"coarse": coarse, "fine": fine, "other": fine}), expected)


def test_a_wider_head_has_two_convolutions_before_the_last():
    head = OutlierHead({"a": FeatureInfo(5, 8)}, 7)
    shapes = [tuple(m.weight.shape) for m in head.modules() if isinstance(m, torch.nn.Conv2d)]
    assert shapes == [(7, 5, 3, 3), (7, 7, 3, 3), (2, 7, 1, 1)]
    assert head({"a": torch.rand(1, 5, 3, 4)}).shape == (1, 2, 3, 4)
    with pytest.raises(ConfigError, match="at least one layer"):
        OutlierHead({})


@every_network
def test_one_pass_gives_both(name):
    network = build(name).eval()
    calls = []
    network.register_forward_hook(lambda *_: calls.append("network"))
    network.outlier.register_forward_hook(lambda *_: calls.append("head"))
    scene = make_scene([torch.zeros(40, 50, 3, dtype=torch.uint8).numpy()], ["a"], network)
    assert scene.logits().shape == (1, 3, 40, 50)
    assert scene.upsampled("outlier", lambda: scene.output.outlier_logits).shape == (1, 2, 40, 50)
    assert calls == ["head", "network"]
    assert "outlier_head" in network.provides
    assert scene.output.void_logits is None


@every_network
def test_the_segmentation_is_the_one_of_the_same_seed_without_the_head(name):
    x = torch.rand(1, 3, 32, 64)
    plain, headed = build(name, outlier_layers=()).eval(), build(name).eval()
    assert torch.equal(plain(x).logits, headed(x).logits)
    assert plain(x).outlier_logits is None
    assert "outlier_head" not in plain.provides
    assert not {"outlier_layers", "outlier_width", "extra_class"} & set(plain.config())
    extra = set(headed.state_dict()) - set(plain.state_dict())
    assert extra
    assert all(key.startswith(("outlier.", "outlier_auxiliary.")) for key in extra)


@every_network
@pytest.mark.parametrize("options", [{"outlier_width": 5}, {"extra_class": True, "outlier_layers": ()}])
def test_saved_and_loaded_bit_for_bit(name, options, tmp_path):
    network = build(name, **options).eval()
    save_segmenter(network, tmp_path)
    loaded, x = load_saved_segmenter(tmp_path), torch.rand(1, 3, 32, 64)
    assert loaded.config() == network.config()
    assert loaded.fingerprint() == network.fingerprint()
    one, other = network(x), loaded(x)
    assert torch.equal(one.logits, other.logits)
    for kind in ("outlier_logits", "void_logits"):
        assert (getattr(one, kind) is None) == (getattr(other, kind) is None)
        assert getattr(one, kind) is None or torch.equal(getattr(one, kind), getattr(other, kind))


@every_network
def test_an_extra_class_is_the_void_output_and_no_class(name):
    network = build(name, extra_class=True, outlier_layers=()).eval()
    x = torch.rand(1, 3, 32, 64)
    output = network(x)
    assert output.logits.shape[1] == len(network.classes) == 3
    assert output.void_logits.shape == (1, 1, *output.logits.shape[-2:])
    assert "void" in network.provides
    heads = network.heads(network.encode(x))
    assert torch.equal(heads.logits, torch.cat([output.logits, output.void_logits], 1))
    assert {maps.shape[1] for maps in heads.auxiliary} == {4}
    assert [maps.shape[1] for maps in network.training_logits(x)] == [3, 3]


@every_network
def test_every_parameter_is_reached_by_some_head(name):
    """In the reference code the outlier head and the auxiliary ones are not given to the optimiser."""
    network = build(name, outlier_width=4).train()
    heads = network.heads(network.encode(torch.rand(2, 3, 32, 64)))
    every = (heads.logits, *heads.auxiliary, heads.outlier, *heads.outlier_auxiliary)
    sum(maps.square().mean() for maps in every).backward()
    assert not [key for key, parameter in network.named_parameters() if parameter.grad is None]
    heads = [parameter for key, parameter in network.named_parameters() if key.startswith("outlier")]
    assert all(parameter.grad.abs().sum() > 0 for parameter in heads if parameter.ndim == 4)


@pytest.mark.parametrize(
    ("backbone", "encoder", "millions"), [("densenet121", 6_953_856, 11.1), ("densenet169", 12_484_480, 17.1)]
)
def test_the_ladder_has_the_published_sizes_and_names(backbone, encoder, millions):
    """Parameters of the encoder are those of the ImageNet classifier without its last layer."""
    options = {"backbone": backbone, "classes": [str(n) for n in range(19)], "outlier_layers": ["ladder4"]}
    with torch.device("meta"):
        network = SEGMENTERS.create("ladder_densenet", **options)
    assert sum(value.numel() for value in network.encoder.parameters()) == encoder
    assert round(sum(value.numel() for value in network.parameters()) / 1e6, 1) == millions
    names = set(network.encoder.state_dict())
    assert {
        "features.conv0.weight", "features.norm0.running_var", "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock3.denselayer24.conv2.weight", "features.transition3.conv.weight", "features.norm5.bias",
    } <= names  # fmt: skip


def test_a_ladders_encoder_starts_from_a_classifiers_checkpoint_old_names_included():
    donor, ours = build("ladder_densenet"), build("ladder_densenet")
    state = {name: torch.rand_like(value.float()) for name, value in donor.encoder.state_dict().items()}
    old = {name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value for name, value in state.items()}
    assert set(old) != set(state)
    ours.load_encoder({**old, "classifier.weight": torch.zeros(3)}, "checkpoint")
    for name, value in ours.encoder.state_dict().items():
        torch.testing.assert_close(value.float(), state[name].to(value.dtype).float())


def test_what_cannot_be_built_is_told():
    with pytest.raises(ConfigError, match="did you mean 'bottleneck'"):
        build("erfnet_pyramid", outlier_layers=["botleneck"])
    with pytest.raises(ConfigError, match="a list of names"):
        build("erfnet_pyramid", outlier_layers="bottleneck")
    with pytest.raises(ConfigError, match="extra_class needs classifier: linear"):
        build("erfnet_pyramid", extra_class=True, classifier="cosine")


def test_networks_saved_without_these_options_still_load():
    bundled = load_segmenter("bundled")
    assert bundled.fingerprint() == "8cb78602703eebbd1f61fe743aa9770fb9188389ac01e5aa66d44a7016ec0c60"
    assert bundled.outlier is None
    assert not bundled.void
