"""cDNP: the equation, where its ranges come from, and the names of its parametric scores."""

import numpy as np
import pytest
import torch
from colour_cells import ColourCells, cells, frame_of, painted, painted_frames, scene_with
from scipy.spatial.distance import cdist

from anomseg import scores
from anomseg.detectors import anomaly_maps, create_detector, load_detector, save_detector
from anomseg.detectors.knn.parametric import ParametricScore
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import Scene


@pytest.fixture(scope="module")
def segmenter() -> ColourCells:
    return ColourCells()


class Constant(Segmenter):
    """The same three logits everywhere."""

    registry_name = "constant"

    def __init__(self, *logits: float) -> None:
        super().__init__(("a", "b", "c"))
        self.values = torch.tensor(logits)

    def segment(self, batch, features):
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(self.values.view(1, -1, 1, 1).expand(len(batch), -1, *size), size, size)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_softmax", 0.15621),
        ("msp", 0.15621),
        ("entropy", 0.52426 / np.log(3)),  # ours over ln C, which a range takes away again
        ("logsumexp", -1.16985),
        ("energy", -2.16985),
        ("max_logit", -2.0),
    ],
)
def test_parametric_scores_of_the_published_facts(name, expected):
    scene = Scene(torch.zeros(1, 3, 2, 2), ["a"], [(2, 2)], Constant(2.0, 0.0, -1.0))
    np.testing.assert_allclose(ParametricScore(name)(scene), expected, atol=2e-5)


def test_the_sum_of_the_published_fact():
    """-3 in [-10, 0] and a distance of 2 in [0, 4]: .7 + .5; the weight is the distance's alone."""
    scene = Scene(torch.full((1, 3, 2, 2), 0.5), ["a"], [(2, 2)], Fixed())
    for weight, clip, expected in ((1.0, False, 1.2), (0.0, False, 0.7), (3.0, False, 2.2), (3.0, True, 2.2)):
        detector = create_detector("cdnp", parametric="max_logit", weight=weight, clip=clip, feature="far")
        detector.load_state(
            {
                "bank": torch.zeros(5, 1),
                "parametric_range": torch.tensor([-10.0, 0.0]),
                "distance_max": torch.tensor(4.0),
            }
        )
        np.testing.assert_allclose(anomaly_maps(detector, scene)[0], expected, rtol=1e-6)


class Fixed(Constant):
    """A feature of 2 everywhere, and a largest logit of 3."""

    def __init__(self) -> None:
        super().__init__(3.0, 0.0, 0.0)

    @property
    def feature_info(self):
        from anomseg.types import FeatureInfo

        return {"far": FeatureInfo(1, 1)}

    def segment(self, batch, features):
        output = super().segment(batch, features)
        return SegmentationOutput(
            **{**vars(output), "features": dict.fromkeys(features, torch.full_like(batch[:, :1], 2.0))}
        )


def test_clipping_bounds_both_terms():
    scene = Scene(torch.full((1, 3, 2, 2), 0.5), ["a"], [(2, 2)], Fixed())
    state = {
        "bank": torch.zeros(5, 1),
        "parametric_range": torch.tensor([-2.0, -1.0]),  # -3 lies below
        "distance_max": torch.tensor(0.5),  # 2 lies above
    }
    for clip, expected in ((False, -1.0 + 4.0), (True, 1.0)):
        detector = create_detector("cdnp", parametric="max_logit", clip=clip, feature="far")
        detector.load_state(state)
        np.testing.assert_allclose(anomaly_maps(detector, scene)[0], expected, rtol=1e-6)


class TestRanges:
    def test_the_score_s_is_over_all_pixels_void_ones_too(self, segmenter):
        """The brightest spot is void: it is in the range of the score, and not in the bank."""
        image, void = painted(0), np.zeros((21, 30), np.uint8)
        image[8:12, 8:16], void[8:12, 8:16] = 255, 255
        detector = create_detector("cdnp", feature="fine", parametric="max_logit", rows=0)
        detector.fit(segmenter, [frame_of(image, "a", void), frame_of(painted(1), "b")])
        brightest = np.stack([image, painted(1)]).max(-1) / 255 * 9
        expected = [-brightest.max(), -brightest.min()]
        np.testing.assert_allclose(detector.state()["parametric_range"], expected, rtol=1e-6)
        np.testing.assert_allclose(detector.card()["fitted_on"]["parametric_range"], expected, rtol=1e-6)
        assert detector.state()["bank"].max() < 0.99

    @pytest.mark.parametrize(("k", "reduction"), [(3, "mean"), (2, "max")])
    def test_the_distance_s_is_of_each_feature_to_all_others(self, segmenter, k, reduction):
        frames = painted_frames()
        detector = create_detector("cdnp", feature="coarse", k=k, reduction=reduction, rows=20).fit(segmenter, frames)
        features = np.concatenate([cells(frame.image(), 4)[:, :2] for frame in frames])
        apart = np.sort(cdist(features, features), 1)[:, 1 : k + 1]
        truth = (apart.mean(1) if reduction == "mean" else apart[:, -1]).max()
        # Of all valid cells, not of the twenty in the bank.
        assert float(detector.state()["distance_max"]) == pytest.approx(truth, rel=1e-5)
        fewer = create_detector("cdnp", feature="coarse", k=k, reduction=reduction, spread_rows=15)
        assert float(fewer.fit(segmenter, frames).state()["distance_max"]) > truth

    def test_published_fact_of_the_distance(self):
        """Bank {0, 1, 2, 10}, k=2, self excluded: at most 8.5."""
        detector = create_detector("cdnp", k=2)
        assert float(detector._largest_distance(torch.tensor([[0.0], [1.0], [2.0], [10.0]]))) == 8.5

    def test_duplicates_are_left_out_once_only(self):
        detector = create_detector("cdnp", k=1)
        assert float(detector._largest_distance(torch.tensor([[0.0], [0.0], [1.0], [1.0], [4.0]]))) == 3.0

    def test_in_the_units_of_scaled_layers(self, segmenter):
        detector = create_detector("cdnp", feature="fine", scaling="layer", rows=0).fit(segmenter, painted_frames())
        plain = create_detector("cdnp", feature="fine", rows=0).fit(segmenter, painted_frames())
        scale = float(detector.state()["scale"][0])
        assert float(detector.state()["distance_max"]) == pytest.approx(
            scale * float(plain.state()["distance_max"]), rel=1e-5
        )

    def test_order_of_frames(self, segmenter):
        states = [
            create_detector("cdnp", rows=30, spread_rows=40).fit(segmenter, order).state()
            for order in (painted_frames(), painted_frames()[::-1])
        ]
        for name, tensor in states[0].items():
            assert torch.equal(tensor, states[1][name]), name


@pytest.mark.parametrize("parametric", ["logsumexp", "max_softmax", "entropy", "max_logit", "energy"])
def test_equation(segmenter, parametric):
    detector = create_detector("cdnp", parametric=parametric, weight=0.5).fit(segmenter, painted_frames())
    knn = create_detector("knn").fit(segmenter, painted_frames())
    assert torch.equal(knn.state()["bank"], detector.state()["bank"])
    scene = scene_with(painted(9), segmenter)
    logits = scene.logits()
    own = {
        "logsumexp": 1 - logits.logsumexp(1),
        "energy": -logits.logsumexp(1),
        "max_logit": -logits.amax(1),
        "max_softmax": 1 - logits.softmax(1).amax(1),
        "entropy": scores.entropy(logits, normalized=True),
    }[parametric]
    low, high = detector.fitted_on["parametric_range"]
    expected = (own - low) / (high - low) + 0.5 * anomaly_maps(knn, scene)[0] / detector.fitted_on["distance_max"]
    torch.testing.assert_close(anomaly_maps(detector, scene)[0], expected[0], rtol=1e-4, atol=1e-5)


def test_energy_and_the_published_name_for_it_agree(segmenter):
    scene = scene_with(painted(9), segmenter)
    maps = [
        anomaly_maps(create_detector("cdnp", parametric=name).fit(segmenter, painted_frames()), scene)[0]
        for name in ("logsumexp", "energy")
    ]
    torch.testing.assert_close(*maps, rtol=1e-5, atol=1e-5)


def test_saved_and_loaded(segmenter, tmp_path):
    detector = create_detector("cdnp", weight=2.0, parametric="entropy").fit(segmenter, painted_frames())
    save_detector(detector, tmp_path / "cdnp", segmenter)
    loaded = load_detector(tmp_path / "cdnp")
    maps = [anomaly_maps(one, scene_with(painted(9), segmenter))[0] for one in (detector, loaded)]
    assert torch.equal(*maps)
    assert loaded.card()["bank"]["memory_mapped"]


class TestRefused:
    def test_options(self):
        with pytest.raises(ConfigError, match="did you mean 'entropy'"):
            create_detector("cdnp", parametric="entropi")
        with pytest.raises(ConfigError, match="parametric score"):
            create_detector("cdnp", parametric="mahalanobis")
        with pytest.raises(ConfigError, match="weight"):
            create_detector("cdnp", weight=-1.0)

    def test_needs_logits(self, segmenter):
        assert create_detector("cdnp").fit(segmenter, painted_frames()).needs(segmenter).logits

        class Backbone(ColourCells):
            def __init__(self):
                super().__init__()
                self.classes = ()

        with pytest.raises(CompatibilityError, match="no classes"):
            create_detector("cdnp").needs(Backbone())
        create_detector("knn").needs(Backbone())

    def test_no_range(self, segmenter):
        flat = [frame_of(np.full((24, 32, 3), 90, np.uint8), name) for name in "ab"]
        with pytest.raises(DataError, match="at every pixel of the frames"):
            create_detector("cdnp").fit(segmenter, flat)
        bright = np.full((24, 32, 3), 90, np.uint8)
        bright[0, 0] = 200
        void = np.zeros((24, 32), np.uint8)
        void[:4, :4] = 255
        with pytest.raises(DataError, match="all features of the frames are the same"):
            create_detector("cdnp", feature="coarse").fit(segmenter, [frame_of(bright, "a", void)])
        few = np.full((21, 30), 255, np.uint8)
        few[:12, :4] = 0  # three cells
        with pytest.raises(DataError, match="compares 3 features with k=3 others"):
            create_detector("cdnp", feature="coarse").fit(segmenter, [frame_of(painted(0), "a", few)])

    def test_logits_that_are_not_finite_name_the_frame(self):
        class Broken(ColourCells):
            def segment(self, batch, features):
                output = super().segment(batch, features)
                output.logits[batch.amax((1, 2, 3)) > 0.99] = float("nan")
                return output

        white = painted(5)
        white[0, 0] = 255
        detector = create_detector("cdnp").fit(Broken(), [*painted_frames(), frame_of(white, "bad")])
        assert detector.fitted_on["skipped"] == ["bad"]
        plain = create_detector("cdnp").fit(Broken(), painted_frames())
        for name, tensor in plain.state().items():
            assert torch.equal(tensor, detector.state()[name])

    @pytest.mark.parametrize(
        "ranges",
        [
            {"parametric_range": torch.tensor([1.0, 1.0]), "distance_max": torch.tensor(1.0)},
            {"parametric_range": torch.tensor([0.0, 1.0, 2.0]), "distance_max": torch.tensor(1.0)},
            {"parametric_range": torch.tensor([0.0, 1.0]), "distance_max": torch.tensor(0.0)},
            {"parametric_range": torch.tensor([0.0, float("nan")]), "distance_max": torch.tensor(1.0)},
        ],
    )
    def test_states(self, ranges):
        with pytest.raises(CompatibilityError, match="the state of cdnp has ranges that are none"):
            create_detector("cdnp").load_state({"bank": torch.zeros(5, 2), **ranges})
        with pytest.raises(CompatibilityError, match="holds bank, parametric_range, distance_max"):
            create_detector("cdnp").load_state({"bank": torch.zeros(5, 2)})
