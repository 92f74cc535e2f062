"""Residual networks against the sizes, names and counts that are public knowledge of them."""

import pytest
import torch
from torch import nn

from anomseg.errors import AnomsegError, CompatibilityError
from anomseg.segmenters.deeplab import AtrousPooling, DeepLabV3Plus
from anomseg.segmenters.pspnet import PSPNet
from anomseg.segmenters.resnet import ResNet
from anomseg.segmenters.trainable import DeepSupervision

THIRTEEN = [f"class_{index}" for index in range(13)]


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("depth", "with_classifier", "last"),
    [("resnet18", 11_689_512, 512), ("resnet34", 21_797_672, 512), ("resnet50", 25_557_032, 2048),
     ("resnet101", 44_549_160, 2048)],
)  # fmt: skip
def test_parameter_counts_are_the_published_ones(depth, with_classifier, last):
    with torch.device("meta"):
        network = ResNet(depth)
    assert _count(network) + (last + 1) * 1000 == with_classifier


def test_parameter_names_are_those_of_imagenet_checkpoints():
    with torch.device("meta"):
        state = ResNet("resnet50").state_dict()
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.weight": (256,),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer3.5.bn3.bias": (1024,),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert len(state) == 318  # 320 of torchvision's resnet50, less fc.weight and fc.bias


def test_pans_counts_51_3_million_parameters():
    """Fontanel et al. 2021: thirteen classes, leaky activations, two bias-free (cosine) classifiers."""
    with torch.device("meta"):
        assert _count(PSPNet(THIRTEEN, norm_activation="bn_leaky", bias=False)) == pytest.approx(51.3e6, abs=0.05e6)


def test_shapes_of_pans_at_720p():
    with torch.device("meta"):
        network = PSPNet(THIRTEEN).eval()
        output = network(torch.empty(1, 3, 720, 1280), features=("stage3", "encoder", "bottleneck"))
    assert output.logits.shape == (1, 13, 90, 160)
    assert output.features["stage3"].shape == (1, 1024, 90, 160)
    assert output.features["encoder"].shape == (1, 2048, 90, 160)
    assert output.features["bottleneck"].shape == (1, 512, 90, 160)


@pytest.mark.parametrize(("stride", "dilations"), [(8, (1, 1, 2, 4)), (16, (1, 1, 1, 2)), (32, (1, 1, 1, 1))])
def test_late_stages_trade_stride_for_dilation(stride, dilations):
    with torch.device("meta"):
        network = ResNet("resnet50", stride)
        maps = network(torch.empty(1, 3, 64, 96))
    for stage, dilation in zip(
        (network.layer1, network.layer2, network.layer3, network.layer4), dilations, strict=True
    ):
        assert {block.conv2.dilation for block in stage} == {(dilation, dilation)}
    assert [64 // one.shape[-2] for one in maps.values()] == list(network.strides)
    assert maps["encoder"].shape[-2:] == (64 // stride, 96 // stride)


def test_a_dilated_network_samples_the_strided_ones_last_map():
    """Dilation computes the strided network's values at every place: each fourth one is the same, up to borders."""
    torch.manual_seed(0)
    plain, dilated = ResNet("resnet18", 32, width=8).eval(), ResNet("resnet18", 8, width=8).eval()
    dilated.load_state_dict(plain.state_dict())
    first = ("layer3.0", "layer4.0")  # blocks of dilated stages dilate from their first convolution on
    for name in first:
        dilated.get_submodule(name).conv1.dilation = dilated.get_submodule(name).conv1.padding = (
            (1, 1) if name == first[0] else (2, 2)
        )
    x = torch.randn(1, 3, 128, 128)
    coarse, fine = plain(x)["encoder"], dilated(x)["encoder"]
    torch.testing.assert_close(fine[..., ::4, ::4], coarse, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("leak", [0.0, 0.01])
def test_a_bottleneck_block_written_out(leak):
    from anomseg.segmenters.resnet import Bottleneck

    torch.manual_seed(1)
    block = Bottleneck(8, 2, 1, 2, leak).eval()
    x = torch.randn(1, 8, 6, 6)

    def act(t):
        return torch.where(t > 0, t, leak * t)

    def norm(t, bn):
        return (t - bn.running_mean[:, None, None]) / (bn.running_var[:, None, None] + 1e-5).sqrt()

    y = act(norm(torch.einsum("oc,bchw->bohw", block.conv1.weight[:, :, 0, 0], x), block.bn1))
    padded = nn.functional.pad(y, (2, 2, 2, 2))
    y = sum(
        torch.einsum("oc,bchw->bohw", block.conv2.weight[:, :, i, j], padded[..., 2 * i : 2 * i + 6, 2 * j : 2 * j + 6])
        for i in range(3)
        for j in range(3)
    )
    y = norm(torch.einsum("oc,bchw->bohw", block.conv3.weight[:, :, 0, 0], act(norm(y, block.bn2))), block.bn3)
    torch.testing.assert_close(block(x), act(y + x), rtol=1e-5, atol=1e-5)


def _small(kind, **options):
    torch.manual_seed(0)
    return kind(["a", "b", "c"], width=4, bottleneck=8, **options)


@pytest.mark.parametrize("kind", [PSPNet, DeepLabV3Plus])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_training_reaches_every_parameter_on_crops_of_any_size(kind, backbone):
    network = _small(kind, backbone=backbone).train()
    assert isinstance(network, DeepSupervision)
    main, early = network.training_logits(torch.rand(2, 3, 45, 61))
    assert main.shape[1] == early.shape[1] == 3
    (main.square().mean() + early.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_encoder_checkpoints_load_strictly_but_for_the_classifier():
    network = _small(PSPNet)
    state = {name: torch.full_like(value, 0.5) for name, value in network.encoder.state_dict().items()}
    network.load_encoder({**state, "fc.weight": torch.zeros(9, 2), "fc.bias": torch.zeros(9)}, "resnet50.pth")
    assert (network.encoder.layer3[2].conv2.weight == 0.5).all()
    with pytest.raises(CompatibilityError, match=r"resnet50.pth is of another network: unexpected head.weight"):
        network.load_encoder({**state, "head.weight": torch.zeros(1)}, "resnet50.pth")
    with pytest.raises(CompatibilityError, match=r"resnet18.pth is of another network: missing layer1.0.bn3.bias"):
        network.load_encoder(_small(PSPNet, backbone="resnet18").encoder.state_dict(), "resnet18.pth")


def test_the_bottleneck_is_read_before_and_after_its_activation():
    network = _small(PSPNet, norm_activation="bn_leaky").eval()
    features = network(torch.rand(1, 3, 32, 32), features=("bottleneck", "bottleneck_linear")).features
    linear = features["bottleneck_linear"]
    assert (linear < 0).any()
    torch.testing.assert_close(features["bottleneck"], torch.where(linear > 0, linear, 0.01 * linear))


def test_input_is_normalised_as_imagenet_checkpoints_want_it():
    network, seen = _small(PSPNet).eval(), []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.ones(1, 3, 8, 8))
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))


def test_atrous_pooling_has_the_published_branches():
    with torch.device("meta"):
        deep, shallow = DeepLabV3Plus(THIRTEEN), DeepLabV3Plus(THIRTEEN, output_stride=16, bottleneck=256)
    for network, rates in ((deep, [1, 12, 24, 36]), (shallow, [1, 6, 12, 18])):
        assert [branch[0].dilation[0] for branch in network.pooling.branches] == rates
    assert deep.pooling.fuse[0].weight.shape == (512, 1280, 1, 1)
    assert shallow.pooling.fuse[0].weight.shape == (256, 1280, 1, 1)
    assert deep.feature_info["bottleneck"].channels == 512


def test_atrous_pooling_sees_the_whole_map_everywhere():
    torch.manual_seed(0)
    pooling = AtrousPooling(2, 2, 3, (2,), 0.1).eval()
    x = torch.zeros(1, 2, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(pooling(x + 1)[0, :, 0, 0].sum(), x)
    assert gradient[0, :, -1, -1].abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"backbone": "resnet51"}, "did you mean 'resnet"), ({"output_stride": 4}, "choose 8, 16 or 32"),
     ({"norm_activation": "abn"}, "unknown norm_activation")],
)  # fmt: skip
def test_wrong_options_are_one_line(options, message):
    with pytest.raises(AnomsegError, match=message):
        _small(PSPNet, **options)
