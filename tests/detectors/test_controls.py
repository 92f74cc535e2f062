"""The controls: what they are allowed to see, and their figures on real sets."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from sklearn.metrics import average_precision_score, roc_curve
from tiny import CLASSES, FixedSegmenter, TinySegmenter, made_frames, made_image, scene_of, scene_with_logits

from anomseg.data import LabelSpace, load_frames
from anomseg.detectors import anomaly_maps, create_detector, load_detector, save_detector
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters.scene import make_scene
from anomseg.types import Frame


class TestChance:
    def test_depends_on_seed_and_frame_id_alone(self):
        noise = anomaly_maps(create_detector("chance"), scene_of(None, [(30, 40)] * 2))
        assert not torch.equal(noise[0], noise[1])
        other_pixels = make_scene([made_image(9, (30, 40))], ["image1"])
        assert torch.equal(anomaly_maps(create_detector("chance"), other_pixels)[0], noise[1])
        assert not torch.equal(anomaly_maps(create_detector("chance", seed=1), other_pixels)[0], noise[1])

    def test_is_uniform(self):
        noise = anomaly_maps(create_detector("chance"), scene_of(None, [(200, 300)]))[0]
        histogram = torch.histc(noise, 10, 0, 1) / noise.numel()
        assert (histogram - 0.1).abs().max() < 0.01
        assert noise.max() < 1

    def test_is_the_same_on_every_machine(self):
        noise = anomaly_maps(create_detector("chance", seed=7), scene_of(None, [(2, 2)]))[0]
        expected = torch.tensor([[0.8222933, 0.6953551], [0.3225272, 0.4489637]])
        torch.testing.assert_close(noise, expected)


class TestLocalContrast:
    def test_equal_to_scipy(self):
        image = made_image(3, (60, 90))
        score = anomaly_maps(create_detector("local_contrast"), make_scene([image], ["a"]))[0]
        grey = image.astype(np.float64) @ [0.299, 0.587, 0.114] / 255
        mean = scipy.ndimage.gaussian_filter(grey, 6, mode="nearest", truncate=3)
        expected = scipy.ndimage.gaussian_filter(np.abs(grey - mean), 1.2, mode="nearest", truncate=3.4)
        np.testing.assert_allclose(score, expected, atol=1e-4)

    def test_a_spot_stands_out_and_a_flat_image_does_not(self):
        image = np.full((80, 100, 3), 90, np.uint8)
        flat = anomaly_maps(create_detector("local_contrast"), make_scene([image], ["a"]))[0]
        assert flat.max() < 1e-5
        image[36:44, 46:54] = 250
        score = anomaly_maps(create_detector("local_contrast"), make_scene([image], ["a"]))[0]
        assert score[40, 50] > 0.3
        assert score[40, 50] == pytest.approx(score.max().item(), rel=0.05)

    def test_scale_hardly_matters(self):
        small, large = (
            anomaly_maps(create_detector("local_contrast"), make_scene([image], ["a"]))[0]
            for image in (made_image(3, (60, 90)), made_image(3, (60, 90)).repeat(3, 0).repeat(3, 1))
        )
        pooled = torch.nn.functional.avg_pool2d(large[None], 3)[0]
        assert np.corrcoef(small.flatten(), pooled.flatten())[0, 1] > 0.99

    def test_options(self):
        with pytest.raises(ConfigError, match="smoothing"):
            create_detector("local_contrast", smoothing=0)


class TestNotRoad:
    @pytest.mark.parametrize("word", ["road", "Road", "drivable", "street"])
    def test_is_one_minus_the_probability_of_road(self, word):
        logits = torch.randn(1, 3, 9, 12)
        score = anomaly_maps(create_detector("not_road"), scene_with_logits(logits, ("sky", word, "car")))[0]
        torch.testing.assert_close(score, 1 - logits.softmax(1)[0, 1])

    def test_needs_a_class_for_the_road(self):
        offroad = FixedSegmenter([0.0, 1.0], ("grass", "sea"))
        with pytest.raises(CompatibilityError, match="no class called road"):
            create_detector("not_road").needs(offroad)
        with pytest.raises(CompatibilityError, match="no class called road"):
            anomaly_maps(create_detector("not_road"), scene_of(offroad))


class TestPositionPrior:
    def test_fixed_formula(self):
        score = anomaly_maps(create_detector("position_prior"), scene_of(None, [(50, 100)]))[0]
        y, x = 12, 80
        expected = -(((x + 0.5) / 100 - 0.5) ** 2 / 0.15 + ((y + 0.5) / 50 - 0.6) ** 2 / 0.05)
        assert score[y, x].item() == pytest.approx(expected, abs=1e-5)
        assert score.argmax().item() // 100 in (29, 30)
        torch.testing.assert_close(score, score.flip(1))
        assert not create_detector("position_prior").bounded

    def test_fitted_on_labels_it_is_the_share_of_road(self):
        prior = create_detector("position_prior", rows=4, columns=2).fit(None, made_frames(3, (40, 60), classes=True))
        assert prior.state()["road"].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]  # the void row does not count
        assert prior.fitted_on["labels"] == {"dataset": 3}
        assert prior.fitted_on["segmenter"] is None
        assert prior.bounded
        score = anomaly_maps(prior, scene_of(None, [(40, 60)]))[0]
        assert score[5, 30] == 0
        assert score[35, 30] == 1
        assert score[20, 30].item() == pytest.approx(0.5, abs=0.1)

    def test_fitted_on_predictions(self):
        segmenter = TinySegmenter()
        prior = create_detector("position_prior", labels="predicted", rows=1, columns=1)
        prior.fit(segmenter, made_frames(3, classes=True))
        road = [(scene_of(segmenter, start=start).prediction() == 1).double().mean() for start in (100, 101, 102)]
        assert prior.state()["road"].item() == pytest.approx(float(sum(road) / 3), abs=1e-6)
        assert prior.fitted_on["labels"] == {"predicted": 3}
        assert prior.segmenter_identity["sha256"] == segmenter.fingerprint()

    def test_auto_takes_what_each_frame_has(self):
        frames = [*made_frames(2, classes=True), *made_frames(1, start=300)]
        prior = create_detector("position_prior").fit(TinySegmenter(), frames)
        assert prior.fitted_on["labels"] == {"dataset": 2, "predicted": 1}
        with pytest.raises(CompatibilityError, match="frame300"):
            create_detector("position_prior", labels="dataset").fit(TinySegmenter(), frames)
        with pytest.raises(CompatibilityError, match="give a segmenter"):
            create_detector("position_prior").fit(None, frames)
        with pytest.raises(CompatibilityError, match="no class called road"):
            create_detector("position_prior").fit(FixedSegmenter([0.0, 1.0], ("grass", "sea")), frames[2:])

    def test_label_space_of_the_frame(self):
        (frame,) = made_frames(1, (40, 60))
        space = LabelSpace("mine", ("street", "rest"))
        classes = np.ones((40, 60), np.uint8)
        classes[:, :30] = 0
        named = Frame("a", frame.image, classes, meta={"label_space": space})
        prior = create_detector("position_prior", rows=1, columns=2).fit(None, [named])
        assert prior.state()["road"].tolist() == [[1, 0]]

    def test_cells_always_void_take_the_overall_share(self):
        (frame,) = made_frames(1, (40, 60))
        classes = np.full((40, 60), 3, np.uint8)
        classes[:, 20:40] = 255
        classes[:20, :20] = 0
        prior = create_detector("position_prior", rows=2, columns=3)
        prior.fit(None, [Frame("a", frame.image, classes, meta={"label_space": "camvid"})])
        torch.testing.assert_close(prior.state()["road"], torch.tensor([[0, 0.75, 1], [1, 0.75, 1]]))

    def test_no_road_anywhere(self):
        (frame,) = made_frames(1)
        nothing = Frame("a", frame.image, np.zeros((45, 61), np.uint8), meta={"label_space": "camvid"})
        with pytest.raises(DataError, match="no road"):
            create_detector("position_prior").fit(None, [nothing])

    def test_saved_unfitted_and_fitted(self, tmp_path):
        save_detector(create_detector("position_prior"), tmp_path / "fixed")
        assert not load_detector(tmp_path / "fixed").bounded
        fitted = create_detector("position_prior").fit(None, made_frames(2, classes=True))
        save_detector(fitted, tmp_path / "fitted")
        assert load_detector(tmp_path / "fitted").bounded

    @pytest.mark.parametrize("state", [{"road": torch.zeros(2, 2)}, {"road": torch.full((18, 32), 1.5)}])
    def test_states_that_are_no_shares(self, state):
        with pytest.raises(CompatibilityError, match="state of position_prior"):
            create_detector("position_prior").load_state(state)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "folder", "prevalence", "ap", "fpr95"),
        [
            ("road_anomaly", "RoadAnomaly", 0.099, 0.244, 0.678),
            ("road_anomaly_21", "RoadAnomaly21", 0.148, 0.353, 0.644),
        ],
    )
    def test_measured_on_real_sets(self, shared_data, name, folder, prevalence, ap, fpr95):
        scores, labels = [], []
        for frame in load_frames(name, shared_data / "anomaly" / folder):
            label = frame.label
            scene = make_scene([frame.image()], [frame.id])
            score = anomaly_maps(create_detector("position_prior"), scene)[0].numpy()
            scores.append(score[label != 255][::7])
            labels.append(label[label != 255][::7] == 1)
        score, label = np.concatenate(scores), np.concatenate(labels)
        fpr, tpr, _ = roc_curve(label, score)
        assert label.mean() == pytest.approx(prevalence, abs=1e-3)
        assert average_precision_score(label, score) == pytest.approx(ap, abs=1e-3)
        assert fpr[np.searchsorted(tpr, 0.95)] == pytest.approx(fpr95, abs=1e-3)


def test_the_classes_of_the_tiny_network_hold_a_road():
    create_detector("not_road").needs(FixedSegmenter([0.0] * len(CLASSES)))
