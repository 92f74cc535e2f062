"""The comparator: its losses against figures of the publication's code, its heads against a plain reading of them."""

import math

import pytest
import torch
from torch.nn import functional as F

from anomseg.detectors.synthcp import Comparator, comparator_meta, judge, load_comparator, save_comparator
from anomseg.detectors.synthcp.comparator import to_size
from anomseg.detectors.synthcp.comparator_losses import class_overlap, confidence_loss, quality_loss
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.metrics.segmentation import confusion_matrix, iou_of_confusion

SMALL = {"widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1), "hidden": 4}
SIZE = (32, 48)


def inputs(classes=3, size=SIZE, channels=3, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(batch, classes, *size, generator=generator).mul(3).softmax(1)
    image, rendering = torch.rand(2, batch, channels, *size, generator=generator) * 2 - 1
    return probabilities, image, rendering


def made(seed=0, **options):
    torch.manual_seed(seed)
    return Comparator(**{"classes": 3, **SMALL, **options})


class TestLosses:
    def test_of_one_right_pixel_that_is_doubted(self):
        pixel = torch.tensor([[[[0.8]], [[0.2]]]])
        value = confidence_loss(torch.zeros(1, 1, 1), pixel, torch.tensor([[[0]]]))
        assert value.item() == pytest.approx(math.log(2) * 0.64, abs=1e-6)

    def test_void_costs_nothing_and_stays_in_the_mean(self):
        pixel = torch.tensor([[[[0.8, 0.9]], [[0.2, 0.1]]]])
        value = confidence_loss(torch.zeros(1, 1, 2), pixel, torch.tensor([[[0, 255]]]))
        assert value.item() == pytest.approx(math.log(2) * 0.64 / 2, abs=1e-6)

    def test_smooth_l1(self):
        assert quality_loss(torch.tensor([[0.5]]), torch.tensor([[1.0]])).item() == 0.125
        assert quality_loss(torch.tensor([[0.5]]), torch.tensor([[math.nan]])).item() == 0

    def test_absent_classes_count_in_the_mean_and_give_no_gradient(self):
        quality = torch.tensor([[0.5, 0.3], [0.1, 0.2]], requires_grad=True)
        loss = quality_loss(quality, torch.tensor([[1.0, math.nan], [math.nan, math.nan]]))
        loss.backward()
        assert loss.item() == pytest.approx(0.125 / 4)
        assert quality.grad.tolist() == [[-0.125, 0], [0, 0]]

    def test_confidence_against_a_loop(self):
        probabilities, _, _ = inputs(size=(3, 4))
        generator = torch.Generator().manual_seed(1)
        confidence = torch.randn(2, 3, 4, generator=generator)
        truth = torch.randint(0, 3, (2, 3, 4), generator=generator)
        truth[0, 0] = 255
        total = 0.0
        for image in range(2):
            for row in range(3):
                for column in range(4):
                    p, y = probabilities[image, :, row, column].tolist(), int(truth[image, row, column])
                    sure = 1 / (1 + math.exp(-float(confidence[image, row, column])))
                    right = p.index(max(p)) == y
                    total += (y != 255) * max(p) ** 2 * -math.log(sure if right else 1 - sure)
        assert confidence_loss(confidence, probabilities, truth).item() == pytest.approx(total / 24, rel=1e-5)

    def test_overlap_against_the_metric(self):
        generator = torch.Generator().manual_seed(3)
        prediction, truth = torch.randint(0, 4, (2, 2, 9, 9), generator=generator)
        truth[truth == 2] = 255
        found = class_overlap(prediction, truth, 5)
        for row in range(2):
            valid = truth[row] != 255
            expected = iou_of_confusion(confusion_matrix(truth[row][valid].numpy(), prediction[row][valid].numpy(), 5))
            assert found[row].isnan().tolist() == [False, False, True, False, True]
            assert found[row][[0, 1, 3]].tolist() == pytest.approx(expected[[0, 1, 3]].tolist())

    def test_shapes_that_differ(self):
        probabilities, _, _ = inputs()
        with pytest.raises(CompatibilityError, match="goes with"):
            confidence_loss(torch.zeros(2, 3, 3), probabilities, torch.zeros(2, 3, 3, dtype=torch.long))
        with pytest.raises(CompatibilityError, match="differ"):
            quality_loss(torch.zeros(2, 3), torch.zeros(2, 4))


class TestComparator:
    def test_shapes(self):
        quality, confidence = made().eval()(*inputs())
        assert quality.shape == (2, 3)
        assert confidence.shape == (2, *SIZE)

    def test_volumes_of_one_class_and_one_channel(self):
        comparator = made(classes=1, channels=1, spatial_dims=3, size=None, stem=3, norm="group")
        quality, confidence = comparator(*inputs(1, (8, 16, 12), 1))
        assert quality.shape == (2, 1)
        assert confidence.shape == (2, 8, 16, 12)

    def test_gradients_reach_every_parameter(self):
        comparator = made()
        probabilities, image, rendering = inputs()
        quality, confidence = comparator(probabilities, image, rendering)
        truth = torch.zeros(2, *SIZE, dtype=torch.long)
        (quality_loss(quality, torch.rand(2, 3)) + confidence_loss(confidence, probabilities, truth)).backward()
        for name, parameter in comparator.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_branches_share_no_weights(self):
        comparator = made()
        one, other = (set(map(id, branch.parameters())) for branch in comparator.branch.values())
        assert one
        assert not one & other

    def test_pixel_head_is_the_one_of_the_publication(self):
        """There, 64 channels of each stage are upsampled, put together, and then go through a 1x1 convolution."""
        comparator = made().eval()
        probabilities, image, rendering = inputs()
        mean, deviation = comparator.get_buffer("mean"), comparator.get_buffer("deviation")
        compressed = comparator.compress(probabilities)
        stages = [
            branch(torch.cat([((x + 1) / 2 - mean) / deviation, compressed], 1))
            for branch, x in zip(comparator.branch.values(), (image, rendering), strict=True)
        ]
        wide = [
            F.interpolate(lateral(torch.cat(pair, 1)), SIZE, mode="bilinear", align_corners=False)
            for lateral, pair in zip(comparator.lateral, zip(*stages, strict=True), strict=True)
        ]
        expected = F.conv2d(torch.cat(wide, 1), comparator.pixel.weight[:, :, None, None], comparator.pixel.bias)[:, 0]
        pooled = torch.cat([maps[-1].mean((2, 3)) for maps in stages], 1)
        quality, confidence = comparator(probabilities, image, rendering)
        torch.testing.assert_close(confidence, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(quality, comparator.quality(pooled))

    def test_published_size(self):
        both, image = Comparator(19), Comparator(19, branches="image")
        count = [sum(parameter.numel() for parameter in network.parameters()) for network in (both, image)]
        assert [round(number / 1e6, 1) for number in count] == [22.5, 11.3]

    def test_baseline_does_not_look_at_the_rendering(self):
        comparator = made(branches="image").eval()
        probabilities, image, rendering = inputs()
        assert not comparator.needs_rendering
        for one, other in zip(
            comparator(probabilities, image), comparator(probabilities, image, rendering), strict=True
        ):
            assert torch.equal(one, other)

    def test_rendering_matters(self):
        comparator = made().eval()
        probabilities, image, rendering = inputs()
        assert not torch.allclose(
            comparator(probabilities, image, rendering)[1], comparator(probabilities, image, image)[1]
        )

    @pytest.mark.parametrize("which", ["image", "rendering", "classes", "missing"])
    def test_what_does_not_fit_is_told_in_one_line(self, which):
        probabilities, image, rendering = inputs()
        given = {
            "image": (probabilities, image[..., :-1], rendering),
            "rendering": (probabilities, image, rendering[..., :-1, :]),
            "classes": (probabilities[:, :2], image, rendering),
            "missing": (probabilities, image, None),
        }
        with pytest.raises(CompatibilityError) as caught:
            made()(*given[which])
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"widths": (4, 4)},
            {"branches": "rendering"},
            {"spatial_dims": 1},
            {"stem": 4},
            {"size": (3,)},
            {"classes": 0},
        ],
    )
    def test_options_that_cannot_be(self, wrong):
        with pytest.raises(ConfigError):
            made(**wrong)

    def test_starts_from_a_network_for_colour_images(self):
        from anomseg.segmenters.resnet import ResNet

        torch.manual_seed(5)
        state = ResNet("resnet18", 32, 4).state_dict() | {"fc.weight": torch.zeros(3, 3)}
        comparator = made(widths=(4, 8, 16, 32), blocks=(2, 2, 2, 2))
        before = comparator.branch["rendering"].conv1.weight[:, 3].clone()
        comparator.load_imagenet(state, "a test")
        for branch in comparator.branch.values():
            assert torch.equal(branch.conv1.weight[:, :3], state["conv1.weight"])
            assert torch.equal(branch.layer3[1].conv2.weight, state["layer3.1.conv2.weight"])
        assert torch.equal(comparator.branch["rendering"].conv1.weight[:, 3], before)
        with pytest.raises(CompatibilityError, match="another network"):
            made().load_imagenet(state, "a test")


class TestJudge:
    def test_equal_confidence_leaves_the_order_of_msp(self):
        comparator = made().eval()
        with torch.no_grad():
            comparator.pixel.weight.zero_()
        probabilities, image, rendering = inputs(batch=1)
        errors, _ = judge(comparator, probabilities, image, rendering)
        by_msp = errors.detach().flatten()[(-probabilities.amax(1)).flatten().argsort()]
        assert (by_msp.diff() >= 0).all()
        assert by_msp[-1] > by_msp[0]
        assert errors.min() >= -2
        assert errors.max() <= 0

    def test_answers_at_the_size_of_the_prediction_whatever_the_others(self):
        comparator = made(size=SIZE).eval()
        probabilities, image, _ = inputs(size=(45, 61))
        errors, quality = judge(comparator, probabilities, image, to_size(image, (16, 32)))
        assert errors.shape == (2, 45, 61)
        assert quality.min() >= 0
        assert quality.max() <= 1

    def test_sizes_of_its_own(self):
        x = torch.arange(16.0).view(1, 1, 4, 4)
        assert to_size(x, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
        assert to_size(x, (4, 4)) is x
        assert to_size(x, (8, 2)).shape == (1, 1, 8, 2)


class TestSaved:
    def test_comes_back_bit_for_bit(self, tmp_path):
        comparator = made(branches="image", pool=False, size=None)
        comparator(*inputs()[:2])  # batch norms have counted
        save_comparator(comparator.eval(), tmp_path, {"classes": ["a", "b", "c"], "measure": "iou"})
        loaded = load_comparator(tmp_path)
        assert not loaded.training
        assert loaded.options == comparator.options
        assert loaded.meta == comparator_meta(tmp_path) == {"classes": ["a", "b", "c"], "measure": "iou"}
        for one, other in zip(loaded(*inputs()[:2]), comparator(*inputs()[:2]), strict=True):
            assert torch.equal(one, other)

    def test_damage_is_told(self, tmp_path):
        with pytest.raises(DataError, match=r"comparator\.json"):
            load_comparator(tmp_path)
        save_comparator(made(), tmp_path)
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
        with pytest.raises(DataError, match="sha256"):
            load_comparator(tmp_path)
        weights.unlink()
        with pytest.raises(DataError, match="missing"):
            load_comparator(tmp_path)
