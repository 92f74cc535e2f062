import pytest
import torch
from torch.nn import functional as F

from anomseg.errors import CompatibilityError
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.segmenters.erfnet import ERFNet
from anomseg.segmenters.erfnet_pyramid import ERFNetPyramid
from anomseg.segmenters.pyramid_pooling import PyramidPooling
from anomseg.segmenters.trainable import DeepSupervision


def test_the_encoder_is_erfnets_to_the_bit():
    torch.manual_seed(0)
    whole, ours = ERFNet(classes=["a", "b"]).eval(), ERFNetPyramid(["a", "b", "c"]).eval()
    ours.load_encoder(whole.state_dict(), "erfnet")
    x = torch.rand(1, 3, 48, 64)
    theirs, mine = whole.encoder(x), ours.encode(x)
    assert torch.equal(theirs["encoder"], mine["encoder"])
    assert torch.equal(theirs["stage1"], mine["stage1"])
    assert mine["bottleneck"].shape == (1, 128, 6, 8)
    assert mine["bottleneck"].min() >= 0


def test_real_checkpoint_starts_the_encoder(shared_data):
    path = shared_data / "weights" / "erfnet_cityscapes.safetensors"
    state, ours = load_checkpoint(path), ERFNetPyramid(["a"])
    head = ours.pooling.fuse[0].weight.clone()
    ours.load_encoder(state, str(path))
    for name, tensor in ours.encoder.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, state[f"encoder.{name}"])
    assert torch.equal(ours.pooling.fuse[0].weight, head)


def test_an_encoders_checkpoint_alone_will_do_but_not_another_networks():
    donor, ours = ERFNet(classes=["a"]), ERFNetPyramid(["a"])
    state = donor.encoder.state_dict()
    ours.load_encoder(state, "encoder alone")
    assert torch.equal(ours.encoder.layers[3].bn1.weight, state["layers.3.bn1.weight"])
    state.pop("layers.3.bn1.weight")
    state["layers.99.weight"] = torch.zeros(1)
    with pytest.raises(CompatibilityError, match=r"missing layers.3.bn1.weight; unexpected layers.99.weight"):
        ours.load_encoder(state, "broken")


def test_training_gives_two_logits_and_reaches_every_parameter():
    torch.manual_seed(0)
    network = ERFNetPyramid(["a", "b", "c"], bottleneck=16).train()
    assert isinstance(network, DeepSupervision)
    main, early = network.training_logits(torch.rand(2, 3, 32, 48))
    assert main.shape == early.shape == (2, 3, 4, 6)
    (main.square().mean() + early.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_auxiliary_classifier_is_not_run_in_use():
    network = ERFNetPyramid(["a", "b"], bottleneck=8).eval()
    network.auxiliary.register_forward_hook(lambda *_: pytest.fail("only training reads it"))
    network(torch.rand(1, 3, 32, 32))


def test_pyramid_pooling_is_means_over_grids_written_out():
    torch.manual_seed(0)
    pooling = PyramidPooling(3, 2, 4, leak=0.1, norm=False, grids=(1, 2)).eval()
    x = torch.randn(2, 3, 4, 6)
    maps = [x]
    for grid, branch in zip((1, 2), pooling.branches, strict=True):
        cells = x.reshape(2, 3, grid, 4 // grid, grid, 6 // grid).mean((3, 5))
        weight, bias = branch[0].weight[:, :, 0, 0], branch[0].bias
        y = torch.einsum("oc,bchw->bohw", weight, cells) + bias[:, None, None]
        y = torch.where(y > 0, y, 0.1 * y)
        maps.append(F.interpolate(y, (4, 6), mode="bilinear", align_corners=False))
    torch.testing.assert_close(pooling(x), pooling.fuse(torch.cat(maps, 1)))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5)])
def test_pyramid_pooling_takes_maps_smaller_than_its_grids(size):
    assert PyramidPooling(3, 2, 4, norm=False)(torch.rand(2, 3, *size)).shape == (2, 4, *size)
