"""Encoders of ours under a mask head of the library, against the networks that they are taken from."""

import pytest
import torch
from safetensors.torch import save_file

from anomseg.errors import CompatibilityError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_segmenter, save_segmenter
from anomseg.segmenters.catalog import BUNDLED
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.segmenters.erfnet import ERFNet
from anomseg.segmenters.erfnet_pyramid import ERFNetTrunk


def network(kind="pyramid", **options):
    architecture = {
        "model_type": "mask2former", "num_queries": 4, "feature_size": 32, "mask_feature_size": 8, "hidden_dim": 32,
        "encoder_layers": 1, "encoder_feedforward_dim": 16, "decoder_layers": 2, "dim_feedforward": 16,
        "num_attention_heads": 2, "feature_strides": [4, 8, 16, 16] if kind == "pyramid" else [4, 8, 8, 16],
        "backbone_config": {"model_type": "anomseg_encoder", "kind": kind, **options},
    }  # fmt: skip
    torch.manual_seed(0)
    return SEGMENTERS.create(
        "hf", classes=["road", "sky"], random_weights=True, architecture=architecture, mean=[0.45] * 3, std=[0.27] * 3
    )


def test_maps_of_the_pyramid_are_those_of_the_bundled_network():
    segmenter = network()
    segmenter.load_encoder(load_checkpoint(BUNDLED / "model.safetensors"), "bundled")
    names = ("stage4", "stage8", "stage16", "bottleneck")
    batch = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    ours, theirs = segmenter(batch, features=names), load_segmenter("bundled")(batch, features=names)
    for name in names:
        torch.testing.assert_close(ours.features[name], theirs.features[name], rtol=1e-4, atol=1e-5)
        assert segmenter.feature_info[name] == load_segmenter("bundled").feature_info[name]


@pytest.mark.parametrize("prefix", ["encoder.", ""])
def test_maps_of_erfnet_are_those_of_its_encoder(tmp_path, prefix):
    torch.manual_seed(1)
    whole = ERFNet().state_dict()
    path = tmp_path / "erfnet.safetensors"
    kept = {name: value for name, value in whole.items() if name.startswith("encoder.")}
    save_file({f"{prefix}{name.removeprefix('encoder.')}": value for name, value in kept.items()}, path)
    segmenter = network("erfnet")
    segmenter.load_encoder(load_checkpoint(path), str(path))
    trunk = ERFNetTrunk()
    own = {name.removeprefix("encoder."): value for name, value in kept.items() if "output_conv" not in name}
    trunk.load_state_dict(own)
    batch = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    names = ("stage1", "stage2", "encoder", "coarse")
    ours, theirs = segmenter(batch, features=names).features, trunk.eval()((batch - 0.45) / 0.27)
    for name in names[:3]:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5)
        assert ours[name].shape[1] == segmenter.feature_info[name].channels
    means = theirs["encoder"].reshape(1, 128, 4, 2, 6, 2).mean((3, 5))
    torch.testing.assert_close(ours["coarse"], means, rtol=1e-4, atol=1e-5)


def test_inputs_are_padded_to_the_coarsest_stride_alone():
    assert network().divisor == 16
    assert network("erfnet").divisor == 16


def test_a_saved_one_comes_back_the_same_with_its_widths(tmp_path):
    segmenter = network(widths=[8, 8, 16, 16], bottleneck=16)
    save_segmenter(segmenter, tmp_path / "net")
    again = load_segmenter(tmp_path / "net")
    batch = torch.rand(1, 3, 32, 48)
    assert torch.equal(segmenter(batch).mask_logits, again(batch).mask_logits)
    assert again.fingerprint() == segmenter.fingerprint()
    assert again.feature_info == segmenter.feature_info


def test_what_does_not_fit_is_told_in_one_line():
    with pytest.raises(CompatibilityError, match=r"kinds pyramid and erfnet, not 'cone'") as found:
        network("cone")
    assert "\n" not in str(found.value)
    with pytest.raises(CompatibilityError, match="bundled"):
        network(widths=[8, 8, 16, 16], bottleneck=16).load_encoder(
            load_checkpoint(BUNDLED / "model.safetensors"), "bundled"
        )
