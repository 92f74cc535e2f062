"""Failures by the comparator: what it is given, what comes of it, and what is said without one."""

import pytest
import torch
from cp_networks import made_comparator, made_generator
from tiny import CLASSES, TinySegmenter, scene_of

from anomseg.detectors import anomaly_maps
from anomseg.detectors.synthcp import SynthCP, judge
from anomseg.errors import CompatibilityError
from anomseg.segmenters.scene import Scene

SHUFFLED = ("wall", "bridge", "street", "sky", "vegetation")


@pytest.fixture(scope="module")
def segmenter():
    return TinySegmenter()


@pytest.fixture(scope="module")
def generator():
    return made_generator()


def read(scene):
    height, width = scene.input_size
    return scene.logits().softmax(1), scene.images[..., :height, :width] * 2 - 1


def test_it_is_the_comparator_s_answer(segmenter, generator):
    comparator = made_comparator()
    detector, scene = SynthCP.of(generator, comparator, scales="0.5+1"), scene_of(segmenter, [(45, 61)] * 2)
    found = detector.assess(scene)
    probabilities, images = read(scene)
    with torch.no_grad():
        error, quality = judge(comparator, probabilities, images, detector.rendering(scene))
    torch.testing.assert_close(found.error_map, error)
    torch.testing.assert_close(found.class_quality, quality)
    assert found.error_map.shape == (2, 45, 61)
    assert found.class_quality.shape == (2, len(CLASSES))
    assert found.measure == "iou"
    assert found.error_map.min() >= -2
    assert found.error_map.max() <= 0
    assert SynthCP.of(generator, made_comparator(measure="dice")).assess(scene).measure == "dice"


def test_classes_are_told_apart_by_name_and_strangers_are_not_judged(segmenter, generator):
    """The comparator has not learned cars, and knows a bridge that the network does not."""
    comparator = made_comparator(SHUFFLED)
    detector, scene = SynthCP.of(generator, comparator), scene_of(segmenter, [(45, 61)])
    found = detector.assess(scene)
    probabilities, images = read(scene)
    asked = torch.zeros(1, 5, 45, 61)
    for place, own in {0: 4, 2: 1, 3: 0, 4: 3}.items():
        asked[:, place] = probabilities[:, own]
    with torch.no_grad():
        error, quality = judge(comparator, asked, images, detector.rendering(scene))
    wanted = torch.stack([quality[0, 3], quality[0, 2], torch.tensor(float("nan")), quality[0, 4], quality[0, 0]])
    torch.testing.assert_close(found.class_quality[0], wanted, equal_nan=True)
    confidence = -error - asked.amax(1)
    torch.testing.assert_close(found.error_map, -(confidence + probabilities.amax(1)))


def test_quality_is_clamped(segmenter, generator):
    comparator = made_comparator()
    with torch.no_grad():
        comparator.quality.bias.copy_(torch.tensor([9.0, -9.0, 9.0, -9.0, 9.0]))
    found = SynthCP.of(generator, comparator).assess(scene_of(segmenter))
    assert found.class_quality.tolist() == [[1.0, 0.0, 1.0, 0.0, 1.0]]


def test_of_equal_confidence_the_order_is_that_of_msp(segmenter, generator):
    comparator = made_comparator()
    with torch.no_grad():
        comparator.pixel.weight.zero_()
        comparator.pixel.bias.fill_(0.3)
    scene = scene_of(segmenter)
    error = SynthCP.of(generator, comparator).assess(scene).error_map[0]
    p = scene.logits().softmax(1).amax(1)[0]
    torch.testing.assert_close(error, -p - torch.tensor(0.3).sigmoid())


def test_the_rendering_matters_and_one_generator_serves_both_tasks(segmenter, generator):
    comparator = made_comparator()
    scene = scene_of(segmenter)
    detectors = [SynthCP.of(one, comparator, gate=1) for one in (generator, made_generator(seed=5))]
    errors = [detector.assess(scene).error_map for detector in detectors]
    assert (errors[0] - errors[1]).abs().max() > 1e-4
    scores = [anomaly_maps(detector, scene)[0] for detector in detectors]
    assert (scores[0] - scores[1]).abs().max() > 1e-4


def test_without_a_comparator_it_is_the_gate_s_map(segmenter, generator):
    detector, scene = SynthCP.of(generator), scene_of(segmenter)
    found = detector.assess(scene)
    assert torch.equal(found.error_map[0], anomaly_maps(detector, scene)[0])
    assert found.class_quality is None


def test_a_batch_equals_its_images_one_by_one(segmenter, generator):
    detector = SynthCP.of(generator, made_comparator())
    scene = scene_of(segmenter, [(45, 61)] * 3)
    together = detector.assess(scene)
    for row in range(3):
        images, ids = scene.images[row : row + 1], scene.frame_ids[row : row + 1]
        alone = detector.assess(Scene(images, ids, [(45, 61)], segmenter, input_size=scene.input_size))
        torch.testing.assert_close(alone.error_map[0], together.error_map[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.class_quality[0], together.class_quality[row], atol=1e-4, rtol=1e-4)


def test_a_comparator_of_other_classes_is_refused(segmenter, generator):
    detector = SynthCP.of(generator, made_comparator(("cat", "dog", "cow", "elk", "owl")))
    with pytest.raises(CompatibilityError, match="predicts none of them"):
        detector.assess(scene_of(segmenter))
    nameless = made_comparator()
    nameless.meta = {}
    with pytest.raises(CompatibilityError, match="does not name its 5 classes"):
        SynthCP.of(generator, nameless)
