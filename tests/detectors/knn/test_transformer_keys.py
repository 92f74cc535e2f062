"""The paper's features: keys of a vision transformer's last block, against a packed in-projection done by hand."""

import numpy as np
import pytest
import torch
from colour_cells import frame_of, rows_of
from torch.nn import functional as F

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.segmenters.huggingface.backbone import TransformersBackbone
from anomseg.segmenters.scene import make_scene


@pytest.fixture(scope="module")
def network():
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, image_size=32, patch_size=8
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    return TransformersBackbone(model, size=(32, 48))


def packed_keys(segmenter: TransformersBackbone, image: np.ndarray) -> torch.Tensor:
    """``(D, h, w)``: the middle third of one projection, with its bias, of what the last block's first norm gives."""
    model = segmenter.network
    block = model.get_submodule("layers.2") if hasattr(model, "layers") else model.get_submodule("encoder.layer.2")
    heard = {}
    norm = block.layernorm_before
    handle = norm.register_forward_hook(lambda module, inputs, output: heard.update(normed=output))
    parts = {}
    for name, module in block.named_modules():
        for part, names in (("q", ("query", "q_proj")), ("k", ("key", "k_proj")), ("v", ("value", "v_proj"))):
            if name.rpartition(".")[2] in names:
                parts[part] = module
    try:
        with torch.no_grad():
            segmenter(segmenter.prepare(image)[None], features=("block0.output",))  # all of it runs
    finally:
        handle.remove()
    weight = torch.cat([parts[part].weight for part in "qkv"])
    bias = torch.cat([parts[part].bias for part in "qkv"])
    assert weight.shape == (48, 16)
    packed = F.linear(heard["normed"], weight, bias)
    keys = packed[0, 1:, 16:32]  # without the class token
    return keys.T.reshape(16, 4, 6).detach()


def test_keys_of_the_last_block(network):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    keys = packed_keys(network, image)
    assert bool(next(parameter for name, parameter in network.named_parameters() if name.endswith("bias")).any())
    detector = create_detector("knn", feature="block2.key", rows=0).fit(network, [frame_of(image)])
    np.testing.assert_allclose(rows_of(detector.state()["bank"]), rows_of(keys.flatten(1).T), atol=1e-5)
    # Its own image is at distance 0 with one neighbour; the next image's distances are those to these keys.
    nearest = create_detector("knn", feature="block2.key", rows=0, k=1).fit(network, [frame_of(image)])
    assert anomaly_maps(nearest, make_scene([image], ["a"], network))[0].max() < 1e-4
    other = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
    found = nearest.distance(make_scene([other], ["b"], network))[0]
    differences = packed_keys(network, other).flatten(1).T[:, None] - keys.flatten(1).T[None]
    torch.testing.assert_close(found.flatten(), differences.norm(dim=2).amin(1), rtol=1e-4, atol=1e-4)


def test_a_network_without_classes_is_enough_for_dnp(network):
    needs = create_detector("knn", feature="block2.key").needs(network)
    assert needs.features == ("block2.key",)
    assert not needs.logits
