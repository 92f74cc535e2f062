"""The student network: its published size, its own weights, what it gives and what it refuses."""

import pytest
import torch

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters import load_saved_segmenter, save_segmenter
from anomseg.segmenters.student import DISTILLED, Student


@pytest.mark.parametrize(("encoder", "millions"), [("resnet34", 34.1), ("resnet18", 24.0), ("resnet50", 46.6)])
def test_published_sizes(encoder, millions):
    """ResNet-34 as published; the published ResNet-18 has a deeper stem and hence .2 M more."""
    with torch.device("meta"):
        student = Student(512, encoder=encoder)
    assert sum(tensor.numel() for tensor in student.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert student.least_crops == 2


@pytest.mark.parametrize("encoder", ["resnet18", "pyramid"])
def test_the_map_is_linear_and_lies_at_stride_8(encoder):
    torch.manual_seed(0)
    student = Student(12, encoder=encoder, width=4, branch=8).eval()
    images = torch.rand(2, 3, 64, 96)
    output = student(images, features=(DISTILLED,))
    guess = output.features[DISTILLED]
    assert guess.shape == (2, 12, 8, 12)
    assert output.logits.shape[1] == 0
    # No batch norm and no activation comes last: the map follows the last convolution.
    last = [module for module in student.head.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(-3)
    torch.testing.assert_close(student.distil(images), -3 * guess, rtol=1e-4, atol=1e-4)


def test_it_knows_no_classes_and_is_kept_with_its_options(tmp_path):
    student = Student(6, (64, 96), "pyramid", 4, 8).eval()
    assert student.classes == ()
    assert "logits" not in student.provides
    save_segmenter(student, tmp_path / "student")
    loaded = load_saved_segmenter(tmp_path / "student")
    assert isinstance(loaded, Student)
    assert loaded.config() == student.config()
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(loaded.distil(image), student.distil(image))


def test_its_encoder_may_start_from_weights():
    source, student = (Student(6, encoder="resnet18", width=4, branch=8) for _ in range(2))
    state = {**source.encoder.state_dict(), "fc.weight": torch.zeros(10, 32)}
    student.load_encoder(state, "weights")
    for name, tensor in source.encoder.state_dict().items():
        assert torch.equal(student.encoder.state_dict()[name], tensor)
    with pytest.raises(CompatibilityError, match="weights is of another network"):
        Student(6, encoder="pyramid", width=4, branch=8).load_encoder(state, "weights")


def test_refusals():
    with pytest.raises(ConfigError, match="did you mean 'resnet34'"):
        Student(6, encoder="resnet33")
    with pytest.raises(ConfigError, match="1 or more"):
        Student(0)
    with pytest.raises(ConfigError, match="hidden is 0 or, of a student with encoder 'pyramid'"):
        Student(6, encoder="resnet18", width=4, branch=8, hidden=8)
    with pytest.raises(ConfigError, match="hidden is 0"):
        Student(6, encoder="pyramid", width=4, branch=8, hidden=-1)


def test_one_layer_more_before_a_linear_map(tmp_path):
    torch.manual_seed(0)
    student = Student(12, encoder="pyramid", width=4, branch=8, hidden=20).eval()
    images, joined = torch.rand(2, 3, 64, 96), []
    student.head.fuse.register_forward_hook(lambda _, __, output: joined.append(output))
    guess = student.distil(images)
    assert guess.shape == (2, 12, 8, 12)
    norm, _, last = student.head.last
    with torch.no_grad():
        by_hand = torch.einsum("oi,bihw->bohw", last.weight[:, :, 0, 0], norm(joined[0]).clamp(min=0))
    torch.testing.assert_close(guess, by_hand + last.bias[:, None, None], rtol=1e-4, atol=1e-5)
    assert guess.min() < 0 < guess.max()
    save_segmenter(student, tmp_path / "student")
    assert torch.equal(load_saved_segmenter(tmp_path / "student").distil(images), guess)
    plain = Student(12, encoder="pyramid", width=4, branch=8)
    assert not any(name.startswith("head.last") for name in plain.state_dict())  # networks saved before load as ever
