import numpy as np
import pytest
import torch

from anomseg.errors import ConfigError
from anomseg.segmenters import make_scene
from anomseg.segmenters.image_classifier import ImageClassifier


def test_one_answer_covers_the_image_at_its_own_size():
    torch.manual_seed(0)
    network = ImageClassifier(["a", "b", "c"], widths=(4, 6, 8), blocks=2).eval()
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    logits = make_scene([image], ["x"], network).logits()[0]
    assert logits.shape == (3, 20, 30)
    torch.testing.assert_close(logits, logits[:, :1, :1].expand_as(logits))
    assert logits.std(0).max() > 0


def test_the_logits_are_the_classifier_on_the_pooled_feature():
    torch.manual_seed(0)
    network = ImageClassifier(["a", "b"], widths=(4, 6, 8)).eval()
    output = network(torch.rand(3, 3, 32, 32), features=("stage4", "pooled"))
    torch.testing.assert_close(output.features["pooled"][..., 0, 0], output.features["stage4"].mean((2, 3)))
    torch.testing.assert_close(network.classifier(output.features["pooled"][..., 0, 0]), output.logits[..., 0, 0])


@pytest.mark.parametrize("options", [{"widths": (4, 6)}, {"widths": (4, 6, 0)}, {"blocks": 0}])
def test_shapes_that_are_none_are_refused(options):
    with pytest.raises(ConfigError, match="three stages"):
        ImageClassifier(["a"], **options)
