import copy

import pytest
import torch

from anomseg.data import load_frames
from anomseg.detectors import create_detector
from anomseg.detectors.pans import PAnS
from anomseg.detectors.sharing import share_networks
from anomseg.evaluation import evaluate
from anomseg.segmenters import run_as
from anomseg.segmenters.erfnet_pyramid import ERFNetPyramid
from anomseg.segmenters.pspnet import PSPNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    classes = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
    return ERFNetPyramid(classes, size=(32, 48), bottleneck=8, classifier="cosine").eval()


def test_equal_networks_become_one_and_others_stay(network):
    same, other, resized = copy.deepcopy(network), copy.deepcopy(network), copy.deepcopy(network)
    other.classifier.weight.data += 1
    resized.size = (40, 48)
    owners = [PAnS.of(one) for one in (same, other, resized, copy.deepcopy(other))]
    share_networks([*owners, create_detector("msp")], network)
    assert owners[0].segmenter is network
    assert owners[1].segmenter is other
    assert owners[2].segmenter is resized
    assert owners[3].segmenter is other


def test_equal_weights_do_not_make_networks_equal(network):
    torch.manual_seed(0)
    options = {"backbone": "resnet18", "bottleneck": 8, "width": 4, "classifier": "cosine", "size": (32, 48)}
    plain, leaky, again = (
        PSPNet(["a", "b"], norm_activation=kind, **options).eval() for kind in ("bn_relu", "bn_leaky", "bn_relu")
    )
    for one in (leaky, again):
        one.load_state_dict(plain.state_dict())
    assert plain.fingerprint() == leaky.fingerprint()
    short, long, longer = (
        run_as(copy.deepcopy(network), precision=kind) for kind in ("bfloat16", "float16", "float16")
    )
    owners = [PAnS.of(one) for one in (plain, leaky, again, short, long, longer)]
    share_networks(owners, None)
    shared = [owner.segmenter for owner in owners]
    assert [shared.index(one) for one in shared] == [0, 1, 0, 3, 4, 4]


def test_a_run_passes_an_equal_network_once(network, tmp_path, monkeypatch):
    from PIL import Image

    for folder, colour in (("images", (90, 20, 200)), ("labels", None)):
        path = tmp_path / "camvid" / folder / "test" / "0001TP_000001.png"
        path.parent.mkdir(parents=True)
        if colour:
            Image.new("RGB", (48, 32), colour).save(path)
        else:
            label = Image.new("L", (48, 32), 3)
            label.paste(10, (0, 0, 20, 20))
            label.save(path)
    assert len(list(load_frames("camvid", root=tmp_path / "camvid", split="test"))) == 1
    passes = []
    segment = ERFNetPyramid.segment
    monkeypatch.setattr(ERFNetPyramid, "segment", lambda self, *given: (passes.append(self), segment(self, *given))[1])
    own = PAnS.of(copy.deepcopy(network))
    cards = evaluate(
        "camvid", root=tmp_path / "camvid", split="test", held_out=["bicyclist"], segmenter=network,
        detectors=["max_logit", own], out=tmp_path / "out",
    )  # fmt: skip
    assert len(passes) == 1
    assert len(cards) == 2
