import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anomseg.errors import AnomsegError, CompatibilityError, ConfigError, DataError
from anomseg.segmenters import load_saved_segmenter, load_segmenter, make_scene, save_segmenter
from anomseg.segmenters.guarded import MissingExtraError
from anomseg.segmenters.pixels import IMAGENET
from anomseg.segmenters.smp_library import library

try:
    smp = library()
except MissingExtraError as error:
    pytest.skip(str(error), allow_module_level=True)

CLASSES = list("abcde")
# Architecture, encoder, further options, and the stages that the encoder has.
NETWORKS = [
    ("unet", "resnet18", {"decoder_channels": [32, 16, 16, 8, 8]}, 5),
    ("fpn", "resnet18", {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}, 5),
    ("pspnet", "resnet18", {"psp_out_channels": 32}, 3),
    ("deeplabv3plus", "resnet18", {"decoder_channels": 32}, 5),
    ("upernet", "tu-test_convnext", {"decoder_channels": 32}, 4),
    ("segformer", "mit_b0", {"decoder_segmentation_channels": 32}, 4),
    ("pan", "resnet18", {}, 5),
    ("dpt", "tu-test_vit", {"decoder_fusion_channels": 16, "decoder_intermediate_channels": [8, 16, 16, 16]}, 4),
]


def _network(arch="pspnet", encoder="resnet18", classes=5, **options):
    torch.manual_seed(0)
    return smp.create_model(arch, encoder, encoder_weights=None, classes=classes, **options).eval()


def _checkpoint(network, path):
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small network of the library, and its checkpoint."""
    network = _network(psp_out_channels=16)
    return network, _checkpoint(network, tmp_path_factory.mktemp("smp") / "net.safetensors")


def _normalised(x, mean=IMAGENET[0], std=IMAGENET[1]):
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize(("arch", "encoder", "options", "stages"), NETWORKS)
def test_logits_and_features_are_those_of_the_library(arch, encoder, options, stages, tmp_path):
    network = _network(arch, encoder, **options, **({"dynamic_img_size": True} if arch == "dpt" else {}))
    path = _checkpoint(network, tmp_path / "net.safetensors")
    mean, std = ((0.2, 0.3, 0.4), (0.5, 0.6, 0.7))
    segmenter = load_segmenter(f"smp:{path};arch={arch};encoder={encoder}", options=options, mean=mean, std=std)
    assert segmenter.classes == tuple(f"class_{index}" for index in range(5))
    x = torch.rand(1, 3, 8 * segmenter.divisor, 9 * segmenter.divisor)[..., :160, :192]
    x = segmenter.pad(x)
    with torch.inference_mode():
        inputs = _normalised(x, mean, std)
        maps = network.encoder(inputs)
        decoded = network.decoder(*maps) if arch == "dpt" else network.decoder(maps)
        output = segmenter(x, features=tuple(segmenter.feature_info))
        assert torch.equal(output.logits, network(inputs))
    assert torch.equal(output.features.pop("decoder"), decoded)
    if arch == "dpt":
        maps = [None, *maps[0]]
    assert len(output.features) == stages
    for name, feature in output.features.items():
        assert torch.equal(feature, maps[int(name.removeprefix("stage"))])


def test_imagenet_statistics_unless_timm_says_otherwise(small):
    network, path = small
    segmenter = load_segmenter(f"smp:{path};arch=pspnet;encoder=resnet18", options={"psp_out_channels": 16})
    x = torch.rand(1, 3, 64, 72)
    with torch.inference_mode():
        assert torch.equal(segmenter(x).logits, network(_normalised(x)))
    other = load_segmenter("smp:random_weights=true;arch=fpn;encoder=tu-test_convnext", classes=CLASSES)
    assert other.mean == other.std == (0.5, 0.5, 0.5)


def test_directory_of_save_pretrained(small, tmp_path):
    network, _ = small
    network.save_pretrained(tmp_path / "own")
    segmenter = load_segmenter(f"smp:{tmp_path / 'own'}", classes=CLASSES, size=(48, 64))
    x = torch.rand(1, 3, 64, 72)
    with torch.inference_mode():
        assert torch.equal(segmenter(x).logits, network(_normalised(x)))
    with pytest.raises(CompatibilityError, match="holds pspnet on resnet18, not unet"):
        load_segmenter(f"smp:{tmp_path / 'own'};arch=unet")
    config = json.loads((tmp_path / "own" / "config.json").read_text())
    (tmp_path / "own" / "config.json").write_text(json.dumps({**config, "in_channels": 4}))
    with pytest.raises(CompatibilityError, match="takes 4 channels"):
        load_segmenter(f"smp:{tmp_path / 'own'}")
    (tmp_path / "own" / "config.json").write_text(json.dumps({"model_type": "segformer"}))
    with pytest.raises(DataError, match="hf:DIR"):
        load_segmenter(f"smp:{tmp_path / 'own'}")


def test_an_activation_is_left_off(tmp_path):
    network = _network(psp_out_channels=16, activation="softmax2d", aux_params={"classes": 2})
    network.save_pretrained(tmp_path / "own")
    segmenter = load_segmenter(f"smp:{tmp_path / 'own'}")
    x = torch.rand(1, 3, 64, 72)
    with torch.inference_mode():
        logits = segmenter(x).logits
        torch.testing.assert_close(logits.softmax(1), network(_normalised(x))[0])
    assert logits.min() < 0
    with pytest.raises(ConfigError, match="leave activation out"):
        load_segmenter("smp:random_weights=true;arch=unet;encoder=resnet18;classes=[a,b]", options={"activation": "x"})
    network.classification_head = None
    with pytest.raises(AnomsegError, match="probabilit"):
        load_segmenter(network)(x)


def test_saved_segmenter_says_what_it_is(small, tmp_path):
    _, path = small
    told = {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3], "options": {"psp_out_channels": 16}, "classes": list("abcd")}
    segmenter = load_segmenter(f"smp:{path};arch=pspnet;encoder=resnet18;void=true", **told)
    assert "void" in segmenter.provides
    save_segmenter(segmenter, tmp_path / "saved")
    again = load_saved_segmenter(tmp_path / "saved")
    assert again.identity() == segmenter.identity()
    assert again.identity()["random_weights"] is False
    image = np.random.default_rng(0).integers(0, 256, (50, 61, 3), np.uint8)
    one, two = (make_scene([image], ["a"], net).output for net in (segmenter, again))
    assert torch.equal(one.logits, two.logits)
    assert torch.equal(one.void_logits, two.void_logits)


def test_names_that_do_not_exist():
    def create(arch="unet", encoder="resnet18", **options):
        load_segmenter(f"smp:random_weights=true;arch={arch};encoder={encoder}", classes=CLASSES, options=options)

    with pytest.raises(ConfigError, match="did you mean 'unet'"):
        create(arch="unett")
    with pytest.raises(ConfigError, match="did you mean 'resnet18'"):
        create(encoder="resnet_18")
    with pytest.raises(ConfigError, match="did you mean 'tu-test_vit'"):
        create(encoder="tu-test_vitt")
    with pytest.raises(ConfigError, match="unknown encoder"):
        create(encoder="tu-hf-hub:someone/something")
    with pytest.raises(ConfigError, match="did you mean 'decoder_channels'"):
        create(decoder_chanels=[1])
    with pytest.raises(ConfigError, match="cannot build unet"):
        create(decoder_channels=[8, 8])
    with pytest.raises(ConfigError, match="does not run on an image"):
        create(encoder="tu-swin_tiny_patch4_window7_224")


def test_weights_that_do_not_fit(small, tmp_path):
    _, path = small
    with pytest.raises(ConfigError, match="add arch="):
        load_segmenter(f"smp:{path}")
    with pytest.raises(CompatibilityError, match="is of another network: missing"):
        load_segmenter(f"smp:{path};arch=fpn;encoder=resnet18")
    with pytest.raises(CompatibilityError, match="5 outputs, but 2 classes"):
        load_segmenter(f"smp:{path};arch=pspnet;encoder=resnet18;classes=[a,b]")
    with pytest.raises(CompatibilityError, match="one class cannot be unsure"):
        load_segmenter("smp:random_weights=true;arch=pspnet;encoder=resnet18;classes=[road]")
    with pytest.raises(DataError, match="no checkpoint at"):
        load_segmenter("smp:nowhere.safetensors;arch=unet;encoder=resnet18")
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CompatibilityError, match="no segmentation_head"):
        load_segmenter(f"smp:{tmp_path / 'other.safetensors'};arch=unet;encoder=resnet18")
    for text in ("smp", f"smp:{path};arch=pspnet;encoder=resnet18;random_weights=true"):
        with pytest.raises(ConfigError, match="either weights"):
            load_segmenter(text)


def test_pan_takes_images_below_eight_cells():
    segmenter = load_segmenter("smp:arch=pan;encoder=resnet18;classes=[a,b,c];random_weights=true")
    image = np.zeros((40, 130, 3), np.uint8)
    assert make_scene([image], ["a"], segmenter).logits().shape == (1, 3, 40, 130)
