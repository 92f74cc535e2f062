"""Claim M1: one step on the raw outputs of any mask transformer, tiny random ones of every family."""

import numpy as np
import pytest
import torch
from hf_networks import CLASSES, MASKS, tiny_model
from torch.nn import functional as F

from anomseg.detectors import anomaly_maps, create_detector, load_detector, save_detector
from anomseg.detectors.maskomaly.resample import area_resize
from anomseg.segmenters import load_segmenter
from anomseg.segmenters.scene import make_scene
from anomseg.types import Frame

SIZES = [(64, 96), (45, 61)]  # the second is no multiple of anything


@pytest.fixture(scope="module", params=MASKS)
def network(request):
    return load_segmenter(tiny_model(request.param, CLASSES)).eval()


def picture(size, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


def by_hand(output, ground, anomaly, reject):
    """The published order: masks at the padded input's size, padding off, the formula with all pairs."""
    masks = F.interpolate(output.mask_logits, output.padded_size, mode="bilinear", align_corners=False)
    m = masks[0, :, : output.input_size[0], : output.input_size[1]].double().sigmoid()
    p, k = output.class_logits[0].double().softmax(-1).max(-1)
    known = k != output.class_logits.shape[-1] - 1
    chosen = [q for q in range(len(p)) if (known[q] and p[q] > reject) or q in ground]
    s = 1 - torch.stack([torch.zeros_like(m[0]), *(p[q] * m[q] for q in chosen)]).amax(0)
    s[(m[known] > 0.1).sum(0) >= 2] = 0
    a = torch.stack([torch.zeros_like(m[0]), *(p[q] * m[q] for q in anomaly)]).amax(0)
    return 0.6 * s + 0.4 * a


@pytest.mark.parametrize("size", SIZES)
def test_on_the_networks_own_outputs(network, size):
    scene = make_scene([picture(size)], ["a"], network)
    output = scene.output
    reject = float(output.class_logits[0].softmax(-1).amax(-1).median())
    detector = create_detector("maskomaly", ground=[1], anomaly=[2, 5], reject=reject - 1e-4)
    found = anomaly_maps(detector, scene)[0]
    truth = by_hand(output, [1], [2, 5], reject - 1e-4)
    if truth.shape != size:  # EoMT reads squares of one size, into which the picture is brought
        assert network.family.fixed
        truth = area_resize(truth, size)
    torch.testing.assert_close(found.double(), truth, atol=1e-5, rtol=0)
    assert found.min() >= 0
    assert found.max() <= 1


def test_every_profile_is_fitted_and_comes_back(network, tmp_path):
    def frame(index, label=None):
        classes = np.full((45, 61), 3, np.uint8)
        classes[:10] = 0
        meta = {"dataset": "camvid", "split": "train"}
        return Frame(f"f{index}{label is None}", lambda: picture((45, 61), index), classes, label, "", meta)

    label = np.zeros((45, 61), np.uint8)
    label[10:30, 10:30] = 1
    frames, odd = [frame(index) for index in range(2)], [frame(index, label) for index in range(2, 4)]
    for profile in ("+ground", "+anomaly"):
        detector = create_detector("maskomaly", profile=profile, mask_threshold=0.3, min_iou=0.01)
        detector.fit(network, frames, anomalies=odd)
        assert len(detector.state()["ground_iou"]) == 7
        save_detector(detector, tmp_path / profile, network)
        scene = make_scene([picture((45, 61), 9)], ["x"], network)
        found = anomaly_maps(load_detector(tmp_path / profile), scene)[0]
        assert torch.equal(found, anomaly_maps(detector, scene)[0])
        assert found.shape == (45, 61)


def test_a_batch_of_other_sizes(network):
    sizes = [(45, 61), (45, 61), (64, 96)]
    working = (network.divisor, network.divisor) if network.family.fixed else (64, 96)
    images = [picture(size, seed) for seed, size in enumerate(sizes)]
    detector = create_detector("maskomaly", reject=0.2, ground=[0])
    together = anomaly_maps(detector, make_scene(images, list("abc"), network, size=working))
    for image, found in zip(images, together, strict=True):
        alone = anomaly_maps(detector, make_scene([image], ["x"], network, size=working))[0]
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)
