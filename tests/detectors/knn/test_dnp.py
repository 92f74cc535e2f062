"""DNP: the bank against brute force, the score against the published facts, files, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from colour_cells import ColourCells, cells, frame_of, painted, painted_frames, rows_of, scene_with
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.detectors import (
    anomaly_maps,
    create_detector,
    load_detector,
    overlapping_frames,
    save_detector,
    segmenter_matches,
)
from anomseg.detectors.knn.resizing import nearest_at_size
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.scores import knn_distance
from anomseg.segmenters.base import SegmentationOutput
from anomseg.segmenters.scene import Scene, make_scene
from anomseg.types import FeatureInfo


@pytest.fixture(scope="module")
def segmenter() -> ColourCells:
    return ColourCells()


def with_bank(rows, **options):
    detector = create_detector("knn", **options)
    detector.load_state({"bank": torch.tensor(rows, dtype=getattr(torch, detector.store))})
    return detector


@pytest.mark.parametrize("store", ["float32", "float16"])
@pytest.mark.parametrize(
    ("bank", "k", "queries", "expected"),
    [
        ([[0.0], [1.0], [2.0], [10.0]], 2, [[0.0], [4.0], [10.0], [-1.0]], [0.5, 2.5, 4.0, 1.5]),
        (
            [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [10.0, 10.0]],
            3,
            [[0.0, 0.0], [3.0, 4.0], [10.0, 10.0], [1.0, 1.0]],
            [0.6667, 4.5716, 8.9691, 1.1381],
        ),
    ],
)
def test_published_facts(bank, k, queries, expected, store):
    features = torch.tensor(queries).T.reshape(1, -1, 2, 2)
    score = with_bank(bank, k=k, store=store).formula(features)
    np.testing.assert_allclose(score.flatten(), expected, atol=1e-4)


def test_max_is_the_distance_to_the_last_neighbour():
    detector = with_bank([[0.0], [1.0], [2.0], [10.0]], k=3, reduction="max")
    assert detector.formula(torch.tensor([[[[0.0, 9.0]]]])).flatten().tolist() == [2.0, 8.0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 50), shift=st.floats(-100, 100))
def test_what_changes_distances_and_what_does_not(seed, scale, shift):
    generator = torch.Generator().manual_seed(seed)
    bank, features = torch.randn(40, 5, generator=generator), torch.randn(1, 5, 3, 4, generator=generator)
    plain = with_bank(bank.tolist()).formula(features)
    assert (plain >= with_bank([*bank.tolist(), [0.0] * 5]).formula(features) - 1e-6).all()
    torch.testing.assert_close(with_bank(bank.flip(0).tolist()).formula(features), plain)
    torch.testing.assert_close(with_bank((bank * scale).tolist()).formula(features * scale), plain * scale)
    moved = with_bank((bank + shift).tolist()).formula(features + shift)
    torch.testing.assert_close(moved, plain, atol=1e-4, rtol=1e-4)
    members = bank[:12].T.reshape(1, 5, 3, 4)
    assert with_bank(bank.tolist(), k=1).formula(members).max() == 0


class TestBank:
    def test_it_is_all_valid_cells_where_there_are_fewer_than_asked(self, segmenter):
        """Void cells, anomalies and cells that reach into the padding stay out; nothing else does."""
        images = [painted(seed) for seed in range(3)]  # 21 x 30, padded to 24 x 32
        classes, label = np.zeros((21, 30), np.uint8), np.zeros((21, 30), np.uint8)
        classes[:8], label[:, :4], label[12:, 4:8] = 255, 1, 255
        frames = [frame_of(images[0]), frame_of(images[1], "b", classes), frame_of(images[2], "c", None, label)]
        detector = create_detector("knn", feature="fine").fit(segmenter, frames)
        grids = [cells(image, 2).reshape(10, 15, 3) for image in images]
        third = np.concatenate([grids[2][:6, 2:].reshape(-1, 3), grids[2][6:, 4:].reshape(-1, 3)])
        expected = torch.from_numpy(np.concatenate([grids[0].reshape(-1, 3), grids[1][4:].reshape(-1, 3), third]))
        np.testing.assert_allclose(rows_of(detector.state()["bank"]), rows_of(expected), atol=1e-6)
        told = detector.card()["fitted_on"]
        assert told["valid_cells"] == told["bank"]["rows"] == len(expected)
        assert detector.warnings == [
            f"the frames have {len(expected)} valid cells, fewer than rows=100000, so the bank was drawn from all of "
            "them; give more frames for a larger one"
        ]

    def test_all_cells_by_wish(self, segmenter):
        every = create_detector("knn", feature="coarse", rows=0).fit(segmenter, painted_frames())
        assert len(every.state()["bank"]) == every.fitted_on["valid_cells"] == 4 * 5 * 7
        assert every.warnings == []

    def test_held_out_classes_that_were_made_void(self, segmenter, tmp_path):
        """As `load_frames(held_out=..., held_out_images="void")` gives them: 255 in the class map, 1 in the label."""
        image, classes, label = painted(0), np.zeros((21, 30), np.uint8), np.zeros((21, 30), np.uint8)
        image[4:12, 8:16], classes[4:12, 8:16], label[4:12, 8:16] = 250, 255, 1
        for maps in ((classes, label), (classes, None), (None, label)):
            detector = create_detector("knn", feature="fine", rows=0).fit(segmenter, [frame_of(image, "a", *maps)])
            assert len(detector.state()["bank"]) == 150 - 16
            assert detector.state()["bank"].max() < 0.9

    def test_neither_order_nor_repetition_of_a_fit_matters_but_the_seed_does(self, segmenter):
        frames = painted_frames(6)
        banks = [
            create_detector("knn", rows=60, seed=seed).fit(segmenter, order).state()["bank"]
            for order, seed in ((frames, 0), (frames[::-1], 0), (iter(frames), 0), (frames, 1))
        ]
        assert banks[0].shape == (60, 3)
        assert torch.equal(banks[0], banks[1])
        assert torch.equal(banks[0], banks[2])
        assert not torch.equal(banks[0], banks[3])

    def test_a_bank_is_a_part_of_a_larger_one(self, segmenter):
        small, large = (
            create_detector("knn", rows=n).fit(segmenter, painted_frames()).state()["bank"] for n in (9, 40)
        )
        assert torch.equal(small, large[:9])

    def test_some_images_chosen_without_regard_to_order(self, segmenter):
        frames = painted_frames(12)
        chosen = [
            create_detector("knn", images=5, rows=10, seed=seed).fit(segmenter, order)
            for order, seed in ((frames, 0), (frames[::-1], 0), (frames, 3))
        ]
        assert [one.fitted_on["frames"] for one in chosen] == [5, 5, 5]
        assert chosen[0].fitted_on["fingerprints"] == chosen[1].fitted_on["fingerprints"]
        assert chosen[0].fitted_on["fingerprints"] != chosen[2].fitted_on["fingerprints"]
        assert torch.equal(chosen[0].state()["bank"], chosen[1].state()["bank"])
        assert len(overlapping_frames(chosen[0], frames)) == 5

    def test_balanced_by_the_predicted_class(self, segmenter):
        """Every cell predicts its strongest colour; a rare one keeps all its cells, the others share the rest."""
        image = np.zeros((16, 40, 3), np.uint8)
        image[..., 0] = 200
        image[:, 20:36] = (0, 200, 0)
        image[:, 36:] = (0, 0, 200)
        image += np.random.default_rng(0).integers(0, 20, (16, 40, 1), np.uint8)
        detector = create_detector("knn", feature="fine", balance="class", rows=96, labels="predicted")
        detector.fit(segmenter, [frame_of(image)])
        strongest = torch.bincount(detector.state()["bank"].argmax(1), minlength=3)
        assert strongest.tolist() == [40, 40, 16]
        assert detector.fitted_on["cells_of_class"] == {"red": 80, "green": 64, "blue": 16}
        assert detector.needs(segmenter).logits is False
        assert create_detector("knn", balance="class").needs(segmenter).logits
        assert not create_detector("knn").needs(segmenter).logits

    @pytest.mark.parametrize("method", ["kmeans", "coreset"])
    def test_compression_tells_what_it_costs(self, segmenter, method):
        frames = painted_frames(8, (64, 64))
        whole = create_detector("knn", rows=0, feature="fine").fit(segmenter, frames)
        small = create_detector("knn", rows=1500, feature="fine", compress=method, compressed_rows=60)
        small.fit(segmenter, frames)
        loss = small.card()["fitted_on"]["compression"]
        assert (loss["rows_before"], loss["rows_after"]) == (1500, 60)
        assert len(small.state()["bank"]) == 60
        # One sixteenth of the 8192 cells was kept out of the bank; the deviation is 22.
        assert abs(loss["held_back"] - 512) < 90
        assert loss["mean_difference"] > 0.01
        assert -1 < loss["rank_correlation"] < 1
        assert "compression" not in whole.fitted_on
        json.dumps(small.card())

    def test_no_loss_where_nothing_is_lost(self):
        from anomseg.detectors.knn.compression_loss import compression_loss

        bank, held = torch.randn(50, 4), torch.randn(20, 4)
        loss = compression_loss(held, bank, bank.flip(0), 3)
        assert loss["mean_difference"] == pytest.approx(0, abs=1e-6)
        assert loss["rank_correlation"] == pytest.approx(1)
        assert loss["mean_distance"] == pytest.approx(float(knn_distance(held, bank).mean()), rel=1e-6)
        far = compression_loss(held, bank, bank + 1000, 3)
        assert far["mean_difference"] == pytest.approx(2000, rel=0.01)
        assert compression_loss(held[:1], bank, bank, 3)["rank_correlation"] is None


class TestLayers:
    def test_several_at_the_coarsest_stride(self, segmenter):
        """The mean over each coarse cell of the fine map, beside the coarse map; here both are means of colours."""
        detector = create_detector("knn", feature="fine+coarse", rows=0).fit(
            segmenter, [frame_of(painted(0, (24, 32)))]
        )
        means = cells(painted(0, (24, 32)), 4)
        expected = torch.from_numpy(np.concatenate([means, means[:, :2]], 1))
        np.testing.assert_allclose(rows_of(detector.state()["bank"]), rows_of(expected), atol=1e-6)
        assert detector.needs(segmenter).features == ("fine", "coarse")
        assert detector.fitted_on["feature"] == "fine+coarse"

    @pytest.mark.parametrize(
        ("feature", "stride", "rows"), [("fine", 4, 48), ("fine+coarse", 2, 192), ("coarse", 8, 12)]
    )
    def test_at_a_stride_of_its_own(self, segmenter, feature, stride, rows):
        detector = create_detector("knn", feature=feature, stride=stride, rows=0)
        detector.fit(segmenter, [frame_of(painted(0, (24, 32)))])
        assert len(detector.state()["bank"]) == rows
        if (feature, stride) == ("fine", 4):
            np.testing.assert_allclose(
                rows_of(detector.state()["bank"]), rows_of(torch.from_numpy(cells(painted(0, (24, 32)), 4))), atol=1e-6
            )

    def test_layers_count_alike_where_they_are_scaled(self, segmenter):
        class Loud(ColourCells):
            def segment(self, batch, features):
                output = super().segment(batch, features)
                if "coarse" in output.features:
                    output.features["coarse"] *= 1000
                return output

        frames, image = painted_frames(), painted(50)
        maps = []
        for network in (segmenter, Loud()):
            detector = create_detector("knn", feature="fine+coarse", scaling="layer", rows=0).fit(network, frames)
            maps.append(anomaly_maps(detector, scene_with(image, network))[0])
            spread = detector.state()["bank"].double().var(0, unbiased=False)
            assert float(spread[:3].sum()) == pytest.approx(1, rel=1e-5)
            assert float(spread[3:].sum()) == pytest.approx(1, rel=1e-5)
        torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-5)

    def test_other_feature_detectors_read_several_too(self, segmenter):
        for name in ("mahalanobis", "gmm"):
            detector = create_detector(name, feature="fine+coarse", minimum=1).fit(segmenter, painted_frames())
            assert detector.channels == 5
            assert anomaly_maps(detector, scene_with(painted(9), segmenter))[0].shape == (21, 30)


class TestMaps:
    def test_every_pixel_takes_the_score_of_its_cell(self, segmenter):
        image = painted(9, (24, 32))
        detector = create_detector("knn", feature="coarse").fit(segmenter, painted_frames())
        scene = scene_with(image, segmenter)
        score = anomaly_maps(detector, scene)[0]
        distance = detector.distance(scene)
        assert torch.equal(score, distance[0].repeat_interleave(4, 0).repeat_interleave(4, 1))
        assert torch.equal(score[None], F.interpolate(distance[:, None], (24, 32), mode="nearest")[:, 0])

    def test_bilinear_is_that_of_all_other_detectors(self, segmenter):
        nearest = create_detector("knn", feature="coarse").fit(segmenter, painted_frames())
        smooth = create_detector("knn", feature="coarse", upsample="bilinear").fit(segmenter, painted_frames())
        scene = scene_with(painted(9, (24, 32)), segmenter)
        expected = F.interpolate(nearest.distance(scene)[:, None], (24, 32), mode="bilinear", align_corners=False)
        torch.testing.assert_close(anomaly_maps(smooth, scene)[0], expected[0, 0])

    @settings(max_examples=60, deadline=None)
    @given(grid=st.integers(1, 9), inside=st.integers(1, 40), more=st.integers(0, 12), own=st.integers(1, 90))
    def test_nearest_against_the_centres_of_pixels(self, grid, inside, more, own):
        padded = inside + more
        output = SegmentationOutput(torch.zeros(1, 1, 1, 1), (padded, 1), (inside, 1))
        found = nearest_at_size(torch.arange(float(grid)).reshape(1, grid, 1), output, (own, 1))[0, :, 0]
        for pixel, cell in enumerate(found.tolist()):
            centre = (pixel + 0.5) * inside / own  # in pixels of the input
            assert cell * padded / grid <= centre + 1e-9
            assert centre <= (cell + 1) * padded / grid + 1e-9

    @pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
    def test_padding_has_no_part_in_it(self, upsample):
        class Wild(ColourCells):
            """Whatever lies in the padding is far from everything."""

            def segment(self, batch, features):
                output = super().segment(batch, features)
                for name, stride in (("fine", 2), ("coarse", 4)):
                    if name in output.features:
                        output.features[name][..., -(-21 // stride) :, :] = 1e6
                        output.features[name][..., -(-30 // stride) :] = float("nan")
                return output

        maps = []
        for network in (ColourCells(), Wild()):
            detector = create_detector("knn", feature="fine", upsample=upsample).fit(network, painted_frames())
            maps.append(anomaly_maps(detector, scene_with(painted(9), network))[0])
        assert maps[0].shape == (21, 30)
        assert torch.equal(*maps)

    @pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
    def test_the_size_is_the_label_s_whatever_the_network_works_at(self, upsample):
        detector = create_detector("knn", upsample=upsample).fit(ColourCells(), painted_frames())
        scene = make_scene([painted(3, (50, 35))], ["a"], ColourCells(), size=(18, 44), features=("fine",))
        assert anomaly_maps(detector, scene)[0].shape == (50, 35)

    def test_the_network_answers_as_without_it(self, segmenter):
        """K6: the primary segmentation is bit for bit what it was."""
        image = painted(9)
        alone = make_scene([image], ["a"], segmenter).output.logits
        detector = create_detector("cdnp").fit(segmenter, painted_frames())
        scene = make_scene([image], ["a"], segmenter, features=detector.needs(segmenter).features)
        before = scene.logits().clone()
        anomaly_maps(detector, scene)
        assert torch.equal(scene.output.logits, alone)
        assert torch.equal(scene.logits(), before)
        assert all(parameter.grad is None for parameter in segmenter.parameters())


class TestSaved:
    @pytest.mark.parametrize(
        "options", [{}, {"store": "float16"}, {"feature": "fine+coarse", "scaling": "layer"}, {"compress": "kmeans"}]
    )
    def test_the_same_scores_from_a_bank_left_in_its_file(self, segmenter, tmp_path, options):
        options = {"compressed_rows": 20, **options} if "compress" in options else options
        detector = create_detector("knn", **options).fit(segmenter, painted_frames())
        save_detector(detector, tmp_path / "knn", segmenter)
        loaded = load_detector(tmp_path / "knn")
        scene, again = (scene_with(painted(9), segmenter) for _ in range(2))
        expected = anomaly_maps(detector, scene)[0]
        assert torch.equal(anomaly_maps(loaded, again)[0], expected)
        told = loaded.card()["bank"]
        assert (told["memory_mapped"], detector.card()["bank"]["memory_mapped"]) == (True, False)
        assert told["bytes"] == told["rows"] * told["channels"] * (2 if options.get("store") else 4)
        if sys.platform == "linux":
            assert str(tmp_path / "knn" / "state.safetensors") in Path("/proc/self/maps").read_text()

    def test_writing_to_a_mapped_bank_never_reaches_the_file(self, segmenter, tmp_path):
        save_detector(create_detector("knn").fit(segmenter, painted_frames()), tmp_path / "knn")
        before = (tmp_path / "knn" / "state.safetensors").read_bytes()
        loaded = load_detector(tmp_path / "knn")
        loaded.state()["bank"].zero_()
        assert (tmp_path / "knn" / "state.safetensors").read_bytes() == before
        load_detector(tmp_path / "knn")
        save_detector(load_detector(tmp_path / "knn"), tmp_path / "knn")  # into the very file it lies in
        assert (tmp_path / "knn" / "state.safetensors").read_bytes() == before

    def test_half_precision_is_close(self, segmenter):
        scene = scene_with(painted(9), segmenter)
        maps = [
            anomaly_maps(create_detector("knn", store=store).fit(segmenter, painted_frames()), scene)[0]
            for store in ("float32", "float16")
        ]
        torch.testing.assert_close(*maps, atol=1e-3, rtol=0)
        assert not torch.equal(*maps)

    def test_another_checkpoint_is_noticed(self, segmenter, tmp_path):
        save_detector(create_detector("knn").fit(segmenter, painted_frames()), tmp_path / "knn")
        other = ColourCells()
        with torch.no_grad():
            other.gain.add_(1)
        warning = segmenter_matches(load_detector(tmp_path / "knn"), other)
        assert "fitted on another network" in warning
        assert "\n" not in warning


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"k": 0}, "k must be a whole number"),
            ({"rows": -1}, "rows must be a whole number, 0 or above, got -1"),
            ({"feature": "+"}, "feature must be auto, a name, or names joined by"),
            ({"feature": ""}, "feature must be auto"),
            ({"rows": 2}, "k=3 neighbours of a bank of 2 rows"),
            ({"compress": "kmeans", "compressed_rows": 2}, "k=3 neighbours of a bank of 2 rows"),
            ({"compress": "coreset", "rows": 500}, "rows=500 cannot be compressed to compressed_rows=10000"),
            ({"reduction": "median"}, "reduction"),
            ({"balance": "image"}, "balance"),
            ({"upsample": "bicubic"}, "upsample"),
            ({"store": "int8"}, "store"),
            ({"engine": "annoy"}, "engine"),
            ({"engine_options": "nprobe:8"}, "the engine exact takes no options"),
            ({"engine": "ivf", "engine_options": "nprob:8"}, "did you mean 'nprobe'"),
            ({"engine": "ivf", "engine_options": "nprobe=8"}, "unknown option"),
            ({"engine": "ivf", "engine_options": "nprobe:many"}, "name:number"),
            ({"scaling": "channel"}, "scaling"),
            ({"stride": -8}, "stride"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ConfigError, match=message) as caught:
            create_detector("knn", **options)
        assert "\n" not in str(caught.value)

    def test_a_feature_that_does_not_exist(self, segmenter):
        for feature in ("fin", "coarse+fin"):
            with pytest.raises(ConfigError, match="did you mean 'fine'"):
                create_detector("knn", feature=feature).fit(segmenter, painted_frames())

    def test_a_bank_of_another_width(self, segmenter):
        with pytest.raises(CompatibilityError, match="3 channels, but 'coarse' of this network has 2"):
            with_bank([[0.0] * 3] * 5, feature="coarse").needs(segmenter)
        with pytest.raises(CompatibilityError, match="4 channels"):
            with_bank([[0.0] * 4] * 5, feature="coarse+fine").needs(segmenter)

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"bank": torch.empty(0, 4)}, "an empty bank, fewer than k=3"),
            ({"bank": torch.zeros(2, 4)}, "2 rows, fewer than k=3"),
            ({"bank": torch.zeros(5, 0)}, "does not fit"),
            ({"bank": torch.zeros(5)}, "does not fit"),
            ({"bank": torch.zeros(5, 4, dtype=torch.float16)}, "store=float32"),
            ({"bank": torch.full((5, 4), torch.nan)}, "not finite"),
            ({"bank": torch.zeros(5, 4), "scale": torch.ones(4)}, "holds bank"),
        ],
    )
    def test_states(self, state, message):
        with pytest.raises(CompatibilityError, match=message) as caught:
            create_detector("knn").load_state(state)
        assert "\n" not in str(caught.value)

    def test_a_scale_of_another_width(self):
        with pytest.raises(CompatibilityError, match="4 channels and a scale"):
            create_detector("knn", scaling="layer").load_state({"bank": torch.zeros(5, 4), "scale": torch.ones(3)})

    def test_too_few_valid_cells(self, segmenter):
        void = np.full((21, 30), 255, np.uint8)
        with pytest.raises(DataError, match="no valid cell"):
            create_detector("knn").fit(segmenter, [frame_of(painted(0), "a", void)])
        void[:8, :4] = 0  # two coarse cells
        detector = create_detector("knn", feature="coarse")
        with pytest.raises(DataError, match="2 valid cells for a bank, fewer than k=3"):
            detector.fit(segmenter, [frame_of(painted(0), "a", void)])
        assert not detector.is_fitted
        with pytest.raises(ConfigError, match="cannot be compressed to 10000"):
            create_detector("knn", compress="coreset").fit(segmenter, painted_frames())

    def test_features_that_are_not_finite_name_the_frame(self):
        class Broken(ColourCells):
            """NaN in one cell of any image that has a white pixel."""

            def segment(self, batch, features):
                output = super().segment(batch, features)
                for one in output.features.values():
                    one[(batch.amax((1, 2, 3)) > 0.99), :, 1, 1] = float("nan")
                return output

        white = painted(5)
        white[0, 0] = 255
        network, frames = Broken(), [*painted_frames(), frame_of(white, "bad")]
        seen = {}
        detector = create_detector("knn").fit(
            network, frames, progress=lambda frame, error: seen.update({frame.id: error})
        )
        assert detector.fitted_on["skipped"] == ["bad"]
        assert "bad: the network's features hold values that are not finite" in str(seen["bad"])
        plain = create_detector("knn").fit(network, painted_frames())
        assert torch.equal(plain.state()["bank"], detector.state()["bank"])
        images = [painted(1), white]
        with pytest.raises(FrameError, match=r"^second: the network's features hold values that are not finite$"):
            anomaly_maps(detector, make_scene(images, ["first", "second"], network))
        with pytest.raises(DataError, match="bad: the network's features"):
            create_detector("knn").fit(network, [frame_of(white, "bad")])

    def test_features_too_large_for_half_precision(self, segmenter):
        class Huge(ColourCells):
            def segment(self, batch, features):
                output = super().segment(batch, features)
                return SegmentationOutput(
                    **{**vars(output), "features": {name: one * 1e6 for name, one in output.features.items()}}
                )

        with pytest.raises(ConfigError, match="store=float32"):
            create_detector("knn", store="float16").fit(Huge(), painted_frames())

    def test_a_network_without_features(self):
        class Bare(ColourCells):
            @property
            def feature_info(self) -> dict[str, FeatureInfo]:
                return {}

        with pytest.raises(CompatibilityError, match="names none"):
            create_detector("knn").fit(Bare(), painted_frames())
        with pytest.raises(CompatibilityError, match="give a segmenter"):
            create_detector("knn").fit(None, painted_frames())


@pytest.mark.parametrize(
    ("engine", "options"), [("ivf", "nprobe:99"), ("hnsw", "ef_search:200"), ("pq", "nprobe:99+rerank:50")]
)
def test_approximate_engines(segmenter, engine, options):
    pytest.importorskip("faiss")
    exact = create_detector("knn", feature="fine").fit(segmenter, painted_frames(8))
    detector = create_detector("knn", feature="fine", engine=engine, engine_options=options)
    detector.fit(segmenter, painted_frames(8))
    assert torch.equal(exact.state()["bank"], detector.state()["bank"])
    scene = scene_with(painted(9), segmenter)
    found, truth = (anomaly_maps(one, scene)[0] for one in (detector, exact))
    assert (found >= truth - 1e-5).all()
    assert float((found - truth).mean() / truth.mean()) < 0.02


def test_one_search_a_scene_for_all_that_share_a_bank(segmenter, monkeypatch):
    detectors = [
        create_detector(name, **options).fit(segmenter, painted_frames())
        for name, options in (("knn", {}), ("cdnp", {}), ("knn", {"upsample": "bilinear"}), ("knn", {"k": 2}))
    ]
    searched = []
    for detector in detectors:
        formula = detector.formula
        monkeypatch.setattr(detector, "formula", lambda features, own=formula: (searched.append(1), own(features))[1])
    scene = scene_with(painted(9), segmenter)
    maps = [anomaly_maps(detector, scene)[0] for detector in detectors]
    assert len(searched) == 2
    for detector, score in zip(detectors, maps, strict=True):
        fresh = Scene(scene.images, ["a"], [(21, 30)], segmenter, input_size=scene.input_size)
        assert torch.equal(anomaly_maps(detector, fresh)[0], score)
    other = create_detector("knn").fit(segmenter, painted_frames(3))
    anomaly_maps(other, scene)
    assert not torch.equal(other.distance(scene), detectors[0].distance(scene))
