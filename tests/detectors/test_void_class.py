"""The void output's probability among all outputs."""

import pytest
import torch
from tiny import TinySegmenter, scene_of

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.errors import CompatibilityError
from anomseg.registry import SEGMENTERS


def test_probability_and_logit_of_the_last_output():
    scene = scene_of(TinySegmenter())
    void = scene.resize(scene.output.void_logits)
    expected = torch.cat([scene.logits(), void], 1).double().softmax(1)[0, -1]
    score = anomaly_maps(create_detector("void_class"), scene)[0].double()
    torch.testing.assert_close(score, expected.detach(), atol=1e-6, rtol=1e-5)
    detector = create_detector("void_class", form="logit")
    assert not detector.bounded
    assert torch.equal(anomaly_maps(detector, scene)[0], void[0, 0].detach())


@pytest.mark.parametrize("form", ["probability", "logit"])
def test_higher_void_is_more_anomalous(form):
    scene = scene_of(TinySegmenter())
    detector = create_detector("void_class", form=form, upsample="score")
    before = anomaly_maps(detector, scene)[0]
    scene.output.void_logits.data.add_(1.0)
    assert (anomaly_maps(detector, scene)[0] > before).all()


def test_a_network_without_void_is_refused():
    segmenter = SEGMENTERS.create("erfnet", void=False, size=(32, 64))
    detector = create_detector("void_class")
    for attempt in (detector.needs, lambda network: anomaly_maps(detector, scene_of(network))):
        with pytest.raises(CompatibilityError, match="void_class reads a void output, and erfnet has none"):
            attempt(segmenter)
    create_detector("void_class").needs(SEGMENTERS.create("erfnet", size=(32, 64)))
