import pytest
import torch
from safetensors.torch import load_file, save_file

from anomseg.errors import AnomsegError, CompatibilityError, DataError
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.segmenters.erfnet import ERFNet


def test_standard_checkpoint_loads_strictly(shared_data):
    path = shared_data / "weights" / "erfnet_cityscapes.safetensors"
    segmenter = load_segmenter(f"erfnet:{path}")
    held = load_file(path)
    ours = {name for name in segmenter.state_dict() if not name.endswith("num_batches_tracked")}
    assert ours == set(held)
    for name, tensor in held.items():
        assert torch.equal(segmenter.state_dict()[name], tensor.float())
    assert len(segmenter.classes) == 19
    assert segmenter.classes[0] == "road"
    output = segmenter(torch.rand(1, 3, 64, 128))
    assert output.logits.shape == (1, 19, 64, 128)
    assert output.void_logits.shape == (1, 1, 64, 128)


def test_real_network_sees_a_real_road(shared_data):
    from anomseg.data.decoding import decode_image

    segmenter = load_segmenter(f"erfnet:{shared_data / 'weights' / 'erfnet_cityscapes.safetensors'}")
    image = decode_image(shared_data / "anomaly" / "RoadAnomaly21" / "images" / "0.png")
    scene = make_scene([image], ["0"], segmenter)
    assert tuple(scene.images.shape) == (1, 3, 512, 1024)
    bottom = scene.prediction()[0, int(0.8 * image.shape[0]) :, :]
    assert (bottom == 0).float().mean() > 0.5


def test_parameter_count_is_the_papers():
    # Romera et al. give 2.1 M parameters for 19 or 20 classes.
    assert sum(p.numel() for p in ERFNet().parameters()) == pytest.approx(2.06e6, rel=0.02)


def test_factorised_block_with_identity_weights_passes_through():
    from anomseg.segmenters.erfnet import NonBottleneck1D

    block = NonBottleneck1D(4, 0.0, 2).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    x = torch.rand(1, 4, 9, 9)
    assert torch.equal(block(x), x)


def test_void_is_not_among_the_logits_and_shifts_nothing():
    torch.manual_seed(0)
    with_void = ERFNet(classes=["a", "b"], void=True, size=(32, 32)).eval()
    x = torch.rand(1, 3, 32, 32)
    raw, _ = with_void.decoder(with_void.encoder(x)["encoder"])
    output = with_void(x)
    assert torch.equal(output.logits, raw[:, :2])
    assert torch.equal(output.void_logits, raw[:, 2:])


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    save_file({"encoder.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CompatibilityError, match="no ERFNet checkpoint"):
        load_segmenter(f"erfnet:{tmp_path / 'other.safetensors'}")
    state = dict(ERFNet(classes=["a"]).state_dict())
    state.pop("encoder.layers.3.bn1.weight")
    state["extra"] = torch.zeros(1)
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(CompatibilityError, match=r"missing encoder.layers.3.bn1.weight; unexpected extra"):
        load_segmenter(f"erfnet:{tmp_path / 'broken.safetensors'}")


def test_wrappers_and_prefixes_are_taken_off(tmp_path):
    network = ERFNet(classes=["a", "b"], void=False)
    wrapped = {"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}
    torch.save(wrapped, tmp_path / "net.pth")
    again = ERFNet(str(tmp_path / "net.pth"))
    assert again.fingerprint() == network.fingerprint()
    assert again.classes == ("class_0", "class_1")


class _Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_weights_are_never_unpickled(tmp_path):
    torch.save({"encoder": _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match="not unpickled"):
        load_segmenter(f"erfnet:{tmp_path / 'evil.pth'}")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x00" * 100])
def test_damaged_checkpoints_are_one_line_errors(tmp_path, content):
    for name in ("net.safetensors", "net.pth"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AnomsegError) as caught:
            load_segmenter(f"erfnet:{tmp_path / name}")
        assert "\n" not in str(caught.value)


def test_missing_checkpoint(tmp_path):
    with pytest.raises(DataError, match="no checkpoint at"):
        load_segmenter(f"erfnet:{tmp_path / 'nothing.safetensors'}")
