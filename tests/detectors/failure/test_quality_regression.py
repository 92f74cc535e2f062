"""Uncertainty as a failure detector: its maps are those of the named detectors, its lines those of SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import linregress
from tiny import CLASSES, TinySegmenter, made_frames, scene_of, scene_with_logits

from anomseg.detectors import create_detector, load_detector, save_detector
from anomseg.detectors.failure import QualityRegression
from anomseg.detectors.failure.uncertainty import class_uncertainty, fit_lines, predicted_quality
from anomseg.detectors.mc_dropout import MCDropout
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters.module import ModuleSegmenter
from anomseg.types import Frame


class TestUncertainty:
    def test_by_a_loop(self):
        generator = torch.Generator().manual_seed(0)
        p = torch.randn(2, 4, 5, 6, generator=generator).softmax(1)
        prediction = torch.randint(0, 3, (2, 5, 6), generator=generator)
        for entropy in (True, False):
            found = class_uncertainty(p, prediction, entropy)
            for image in range(2):
                for index in range(3):
                    own = p[image, index][prediction[image] == index].double()
                    doubt = -(own * own.log() + (1 - own) * (1 - own).log()) if entropy else 1 - own
                    assert found[image, index].item() == pytest.approx(doubt.mean().item(), rel=1e-6)
            assert found[:, 3].tolist() == pytest.approx([math.log(2) if entropy else 1.0] * 2)

    def test_certainty_is_zero(self):
        p = torch.tensor([[[1.0], [0.0]]])
        assert class_uncertainty(p, torch.tensor([[0]]))[0, 0] == 0

    def test_volumes(self):
        p = torch.full((1, 2, 2, 3, 4), 0.5)
        found = class_uncertainty(p, torch.zeros(1, 2, 3, 4, dtype=torch.long))
        assert found[0, 0].item() == pytest.approx(math.log(2))

    def test_shapes_that_do_not_fit(self):
        with pytest.raises(CompatibilityError, match="do not fit"):
            class_uncertainty(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 4, dtype=torch.long))


class TestLines:
    def test_those_of_scipy(self):
        rng = np.random.default_rng(0)
        x, y = rng.random((20, 3)), rng.random((20, 3))
        y[rng.random((20, 3)) < 0.3] = np.nan
        slope, intercept, count = fit_lines(x, y)
        for index in range(3):
            shown = ~np.isnan(y[:, index])
            expected = linregress(x[shown, index], y[shown, index])
            assert slope[index] == pytest.approx(expected.slope)
            assert intercept[index] == pytest.approx(expected.intercept)
            assert count[index] == shown.sum()

    def test_perfect_where_quality_is_linear(self):
        x = np.linspace(0, 0.6, 7)[:, None]
        y = 1 - 1.5 * x
        slope, intercept, _ = fit_lines(x, y)
        found = predicted_quality(torch.from_numpy(x), torch.from_numpy(slope), torch.from_numpy(intercept)).numpy()
        assert np.abs(found - y).mean() == pytest.approx(0, abs=1e-6)
        assert np.corrcoef(found[:, 0], y[:, 0])[0, 1] == pytest.approx(1)

    def test_what_never_changes_and_what_is_never_shown(self):
        slope, intercept, count = fit_lines(np.full((3, 2), 0.5), np.array([[0.2, np.nan]] * 2 + [[0.8, np.nan]]))
        assert slope[0] == 0
        assert intercept[0] == pytest.approx(0.4)
        assert np.isnan([slope[1], intercept[1]]).all()
        assert count.tolist() == [3, 0]
        quality = predicted_quality(torch.zeros(1, 2), torch.from_numpy(slope), torch.from_numpy(intercept))
        assert quality[0].isnan().tolist() == [False, True]


def fitted(of="entropy", **options):
    return QualityRegression(of, passes=3, **options).fit(TinySegmenter(), made_frames(5, classes=True))


class TestDetector:
    @pytest.mark.parametrize(
        ("of", "same"),
        [
            ("entropy", lambda: create_detector("entropy")),
            ("msp", lambda: create_detector("msp")),
            ("mc_dropout", lambda: MCDropout(3, average="logits")),
        ],
    )
    def test_error_map_is_that_of_the_named_detector(self, of, same):
        scene = scene_of(TinySegmenter(), [(45, 61)] * 2)
        torch.testing.assert_close(fitted(of).score(scene), same().score(scene), atol=1e-6, rtol=1e-5)

    def test_quality_by_hand(self):
        detector, scene = fitted(), scene_of(TinySegmenter())
        found = detector.assess(scene)
        state = detector.state()
        shown = state["frames"] > 0
        assert shown.tolist() == [name in ("sky", "road") for name in CLASSES]
        assert found.class_quality[0].isnan().tolist() == (~shown).tolist()
        doubt = class_uncertainty(scene.logits().softmax(1), scene.prediction())
        expected = (state["slope"] * doubt + state["intercept"]).clamp(0, 1)[0, shown]
        assert found.class_quality[0, shown].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
        assert found.measure == "iou"

    def test_learns_that_doubt_means_less_overlap(self):
        """One image is sure and right, one unsure and half wrong: a sure image is then expected to be right."""
        space = {"dataset": "camvid", "split": "train"}
        names = ("sky", "road")

        class Given(ModuleSegmenter):
            def segment(self, batch, features):
                from anomseg.segmenters.base import SegmentationOutput

                sure = batch.mean() > 0.5
                size = tuple(batch.shape[-2:])
                logits = torch.zeros(1, 2, *size)
                if sure:
                    logits[:, 0, :4], logits[:, 1, 4:] = 9.0, 9.0
                else:
                    logits[:, 0, :6], logits[:, 1, 6:] = 0.5, 0.5
                return SegmentationOutput(logits, size, size)

        network = Given(torch.nn.Identity(), names)
        truth = np.zeros((8, 8), np.uint8)
        truth[4:] = 3
        frames = [
            Frame(f"f{level}", lambda level=level: np.full((8, 8, 3), level, np.uint8), truth, None, "", space)
            for level in (250, 20)
        ]
        detector = QualityRegression().fit(network, frames)
        from anomseg.segmenters.scene import make_scene

        found = [detector.assess(make_scene([frame.image()], ["x"], network)).class_quality[0] for frame in frames]
        assert found[0].tolist() == pytest.approx([1, 1], abs=1e-4)
        assert found[1].tolist() == pytest.approx([32 / 48, 16 / 32], abs=1e-4)

    def test_saved_and_loaded(self, tmp_path):
        detector, scene = fitted("msp"), scene_of(TinySegmenter())
        save_detector(detector, tmp_path)
        again = load_detector(tmp_path).assess(scene)
        assert torch.equal(again.error_map, detector.assess(scene).error_map)
        assert torch.equal(again.class_quality.nan_to_num(-1), detector.assess(scene).class_quality.nan_to_num(-1))

    def test_frames_without_class_maps_are_skipped(self):
        frames = [*made_frames(2, classes=True), *made_frames(1, start=200)]
        detector = QualityRegression().fit(TinySegmenter(), frames)
        assert detector.fitted_on["skipped"] == ["frame200"]
        assert detector.fitted_on["shown_by"]["road"] == 2
        with pytest.raises(DataError, match="class map"):
            QualityRegression().fit(TinySegmenter(), made_frames(2))

    def test_what_cannot_be(self):
        with pytest.raises(ConfigError, match="of must be"):
            QualityRegression("energy")
        with pytest.raises(CompatibilityError, match="fit it again"):
            fitted().needs(TinySegmenter(classes=("sky", "road")))
        with pytest.raises(CompatibilityError, match="or in another order"):
            fitted().needs(TinySegmenter(classes=CLASSES[::-1]))
        with pytest.raises(CompatibilityError, match="no dropout layer"):
            QualityRegression("mc_dropout").needs(ModuleSegmenter(torch.nn.Identity(), CLASSES))
        with pytest.raises(CompatibilityError, match="has not been fitted"):
            QualityRegression().assess(scene_with_logits(torch.zeros(1, len(CLASSES), 4, 4)))

    def test_passes_are_told(self):
        assert QualityRegression("mc_dropout").forward_passes == 51
        assert QualityRegression().forward_passes == 1
