"""SynthCP as a detector: what it computes against plain loops, what it carries, and what it refuses."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from cp_networks import made_comparator, made_generator
from tiny import CLASSES, FixedSegmenter, TinySegmenter, made_image, scene_of
from torch.nn import functional as F

from anomseg.detectors import (
    anomaly_maps,
    create_detector,
    load_detector,
    resolve_detector,
    save_detector,
    seen_frames,
)
from anomseg.detectors.synthcp import SynthCP, one_hot_layout, save_comparator, save_generator
from anomseg.detectors.synthcp.class_match import matched_classes
from anomseg.detectors.synthcp.rendering import as_image, render
from anomseg.detectors.synthcp.synthesis_data import layout_and_image
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.registry import DETECTORS, Spec, option_names
from anomseg.scores import synthcp_gate
from anomseg.segmenters import make_scene


@pytest.fixture(scope="module")
def segmenter():
    return TinySegmenter()


@pytest.fixture(scope="module")
def generator():
    return made_generator()


def resized(maps, size, mode="bilinear"):
    return F.interpolate(maps, size, mode=mode, align_corners=False if mode == "bilinear" else None)


def by_hand(segmenter, generator, images, factors=(1.0,), gate=0.999):
    """All of it, plainly, for images that need no padding, at their own size."""
    size = tuple(images.shape[-2:])
    grid = (size[0] // 4, size[1] // 4)
    with torch.no_grad():
        layout = one_hot_layout(resized(segmenter(images).logits, size).argmax(1), len(CLASSES))
        picture = resized((generator(layout) + 1) / 2, size, "nearest")
        softmax, means = torch.zeros(len(images), len(CLASSES), *size), []
        for shown in (images, picture):
            total = 0
            for factor in factors:
                own = tuple(-(-round(factor * side) // 8) * 8 for side in size)
                output = segmenter(resized(shown, own), features=["stem"])
                total = total + resized(output.features["stem"], grid)
                if shown is images:
                    softmax += resized(output.logits, size).softmax(1) / len(factors)
            means.append(total / len(factors))
        cosine = resized(F.cosine_similarity(*means, dim=1)[:, None], size)[:, 0]
    return synthcp_gate(softmax.amax(1), cosine, gate)


@pytest.mark.parametrize(
    ("scales", "factors"),
    [("", (1.0,)), ([0.5, 1.0, 1.5], (0.5, 1.0, 1.5)), ("0.5+0.75", (0.5, 0.75)), ([1.0, 0.5, 0.75, 1.25, 2.0], None)],
)
def test_the_map_is_that_of_a_plain_loop_over_scales(segmenter, generator, scales, factors):
    scene = scene_of(segmenter, [(48, 64)] * 2)
    found = torch.stack(anomaly_maps(SynthCP.of(generator, scales=scales), scene))
    wanted = by_hand(segmenter, generator, scene.images, factors or scales)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    assert found.std() > 0.05


@pytest.mark.parametrize(
    ("scales", "passes"), [("", 2), ([1.0], 2), ([0.5], 3), ([0.5, 1.0], 4), ("0.5+1.5", 5), ("published", 11)]
)
def test_passes_are_counted_right(segmenter, generator, scales, passes):
    detector = SynthCP.of(generator, scales=scales)
    before = segmenter.passes
    scene = make_scene([made_image(0, (48, 64))], ["a"], segmenter, features=detector.needs(segmenter).features)
    anomaly_maps(detector, scene)
    detector.pictures(scene)
    assert segmenter.passes - before == passes == detector.forward_passes == detector.card()["forward_passes"]
    assert detector.card()["passes"] == {"score": passes, "assess": passes}
    with_comparator = SynthCP.of(generator, made_comparator(), scales=scales)
    assert with_comparator.card()["passes"] == {"score": passes, "assess": 1}
    before = segmenter.passes
    with_comparator.assess(make_scene([made_image(0, (48, 64))], ["a"], segmenter))
    assert segmenter.passes - before == 1


def test_a_rendering_equal_to_the_image_is_certain(segmenter, generator, monkeypatch):
    scene = scene_of(segmenter, [(45, 61)])
    detector = SynthCP.of(generator, gate=1, scales=[1.0, 1.5])
    height, width = scene.input_size
    monkeypatch.setattr(detector, "rendering", lambda _: scene.images[..., :height, :width] * 2 - 1)
    alive = scene.output.features["stem"].flatten(2).norm(dim=1).min()  # a feature of zeros is like nothing
    assert alive > 0
    torch.testing.assert_close(anomaly_maps(detector, scene)[0], -torch.ones(45, 61), atol=1e-5, rtol=0)


def test_ends_of_the_gate(segmenter, generator):
    scene = scene_of(segmenter, [(45, 61)])
    msp = anomaly_maps(create_detector("msp"), scene)[0]
    pure = anomaly_maps(SynthCP.of(generator, gate=-1), scene)[0]
    torch.testing.assert_close(pure, msp - 1, atol=1e-6, rtol=0)
    detector = SynthCP.of(generator, gate=1)
    assert torch.equal(anomaly_maps(detector, scene)[0], -detector.compared(scene).cosine[0])
    sure = SynthCP.of(generator, gate=0.8, above="one")
    found, p = anomaly_maps(sure, scene)[0], sure.compared(scene).confidence[0]
    assert (found[p > 0.8] == -1).all()
    assert (p > 0.8).any()
    assert torch.equal(found[p <= 0.8], -sure.compared(scene).cosine[0][p <= 0.8])


@pytest.mark.parametrize("scales", ["", "0.5+1.5"])
@pytest.mark.parametrize("size", [(45, 61), (8, 8), (1, 1), (33, 7), (70, 50)])
def test_maps_have_the_size_of_the_image(segmenter, generator, size, scales):
    maps = anomaly_maps(SynthCP.of(generator, scales=scales), scene_of(segmenter, [size, size]))
    for one in maps:
        assert one.shape == size
        assert one.dtype == torch.float32
        assert one.isfinite().all()
        assert one.abs().max() <= 1


def test_mixed_sizes_half_sizes_and_batches(generator):
    """The network works at 40 x 52, whatever the images' size; each comes out as it does alone."""
    segmenter = TinySegmenter(size=(40, 52))
    sizes = [(45, 61), (20, 26), (45, 61), (90, 33)]
    for scales in ("", [0.5, 1.0]):
        detector = SynthCP.of(generator, scales=scales, gate=1)
        maps = anomaly_maps(detector, scene_of(segmenter, sizes))
        assert [tuple(one.shape) for one in maps] == sizes
        for row, (size, together) in enumerate(zip(sizes, maps, strict=True)):
            alone = anomaly_maps(detector, scene_of(segmenter, [size], start=row))[0]
            torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_deterministic_and_leaves_the_network_alone(segmenter, generator):
    detector, plain = SynthCP.of(generator), scene_of(segmenter)
    before = plain.logits().clone()
    print_before = segmenter.fingerprint()
    first = anomaly_maps(detector, scene_of(segmenter))[0]
    torch.manual_seed(99)
    anomaly_maps(detector, scene_of(segmenter, [(20, 20)], start=5))
    again = scene_of(segmenter)
    assert torch.equal(first, anomaly_maps(detector, again)[0])
    assert torch.equal(again.logits(), before)
    assert segmenter.fingerprint() == print_before


def test_needs_are_answered_before_any_work(segmenter, generator):
    before = segmenter.passes
    assert SynthCP.of(generator).needs(segmenter).features == ("stem",)
    assert SynthCP.of(generator).needs(None).forward
    assert SynthCP.of(generator, scales="0.5+2").needs(segmenter).features == ()  # the plain pass gives classes alone
    assert segmenter.passes == before


def test_deep_copies_are_independent(segmenter, generator):
    detector = SynthCP.of(generator, made_comparator())
    clone, scene = copy.deepcopy(detector), scene_of(segmenter)
    expected = anomaly_maps(detector, scene)[0]
    assert torch.equal(anomaly_maps(clone, scene)[0], expected)
    for tensor in clone.state().values():
        tensor.zero_()
    assert torch.equal(anomaly_maps(detector, scene_of(segmenter))[0], expected)


def test_extreme_logits(generator):
    class Scaled(TinySegmenter):
        scale = 1.0

        def segment(self, batch, features):
            output = super().segment(batch, features)
            return type(output)(**{**vars(output), "logits": output.logits * self.scale})

    for scale in (0.0, 1e-3, 1e4):
        network = Scaled()
        network.scale = scale
        found = anomaly_maps(SynthCP.of(generator), scene_of(network))[0]
        assert found.isfinite().all()
        assert found.abs().max() <= 1


def test_several_features_are_compared_as_one(segmenter, generator):
    class Split(TinySegmenter):
        @property
        def feature_info(self):
            one = super().feature_info["stem"]
            return {"low": type(one)(2, 2), "high": type(one)(4, 2), "stem": one}

        def segment(self, batch, features):
            output = super().segment(batch, features)
            stem = output.features.get("stem", next(iter(output.features.values()), None))
            cut = {"low": slice(0, 2), "high": slice(2, 6), "stem": slice(0, 6)}
            return type(output)(**{**vars(output), "features": {name: stem[:, cut[name]] for name in features}})

    joint = SynthCP.of(generator, feature="low + high", gate=1)
    whole = SynthCP.of(generator, feature="stem", gate=1)
    maps = [anomaly_maps(one, scene_of(Split()))[0] for one in (joint, whole)]
    torch.testing.assert_close(*maps, atol=1e-5, rtol=1e-5)
    assert joint.needs(Split()).features == ("low", "high")


class TestRendering:
    def test_the_layout_is_the_prediction_under_the_generator_s_names(self, segmenter):
        shuffled = ("wall", "car", "street", "vegetation", "sky", "bridge")
        generator = made_generator(shuffled)
        scene = scene_of(segmenter, [(45, 61)])
        table = torch.tensor([4, 2, 1, 3, 0])  # road is street, tree vegetation
        with torch.no_grad():
            wanted = generator(one_hot_layout(table[scene.prediction()], 6))
        assert torch.equal(SynthCP.of(generator).rendering(scene), wanted)

    def test_small_layouts_are_those_of_the_generator(self, generator):
        prediction = torch.randint(0, 5, (2, 37, 53), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted = generator(one_hot_layout(prediction, 5))
        assert torch.equal(render(generator, prediction, range(5)), wanted)

    @pytest.mark.parametrize("size", [(36, 80), (37, 53), (16, 32), (9, 20)])
    def test_a_prediction_is_laid_out_as_true_classes_were_in_training(self, generator, size):
        classes = np.random.default_rng(0).integers(0, 5, size, np.uint8)
        layout, _ = layout_and_image(np.zeros((*size, 3), np.uint8), classes, (16, 32))
        with torch.no_grad():
            wanted = generator(one_hot_layout(torch.from_numpy(layout.astype(np.int64))[None], 5))
        assert torch.equal(render(generator, torch.from_numpy(classes).long()[None], range(5)), wanted)

    def test_as_an_image(self):
        rendering = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]).expand(1, 3, 2, 2)
        picture = as_image(rendering, (4, 6))
        assert torch.equal(picture[0, 0, 0], torch.tensor([0.0, 0.0, 0.0, 0.5, 0.5, 0.5]))
        assert as_image(rendering, (4, 6), "bilinear").unique().numel() > 4
        assert as_image(rendering, (2, 2)).max() == 1

    def test_names_before_synonyms(self):
        assert matched_classes(["tree", "vegetation"], ["vegetation", "tree"]) == [1, 0]
        assert matched_classes(["Road", "bus"], ["drivable"]) == [0, None]


class TestSavedForm:
    @pytest.fixture
    def folders(self, tmp_path):
        generator, comparator = made_generator(prints=("a", "b")), made_comparator(prints=("b", "c"))
        save_generator(generator, tmp_path / "generator", generator.meta)
        save_comparator(comparator, tmp_path / "comparator", comparator.meta)
        return tmp_path

    def test_it_carries_copies_and_needs_no_paths(self, folders, segmenter):
        text = f"synthcp:generator={folders / 'generator'};comparator={folders / 'comparator'};gate=0.5;scales=0.5+1"
        detector = create_detector(text)
        expected = anomaly_maps(detector, scene_of(segmenter))[0]
        judged = detector.assess(scene_of(segmenter))
        save_detector(detector, folders / "saved", segmenter)
        for name in ("generator", "comparator"):
            shutil.rmtree(folders / name)
        loaded = resolve_detector(folders / "saved")
        assert loaded.get_params() == detector.get_params()
        assert torch.equal(anomaly_maps(loaded, scene_of(segmenter))[0], expected)
        again = loaded.assess(scene_of(segmenter))
        assert torch.equal(again.error_map, judged.error_map)
        assert torch.equal(again.class_quality, judged.class_quality)
        assert loaded.card() == detector.card()
        save_detector(loaded, folders / "again", segmenter)
        for file in (path for path in (folders / "saved").rglob("*") if path.is_file()):
            assert (folders / "again" / file.relative_to(folders / "saved")).read_bytes() == file.read_bytes()

    def test_it_remembers_the_frames_of_both_networks(self, folders, segmenter):
        detector = create_detector(f"synthcp:generator={folders / 'generator'};comparator={folders / 'comparator'}")
        detector.needs(segmenter)
        assert seen_frames(detector) == {"a", "b", "c"}
        save_detector(detector, folders / "saved", segmenter)
        loaded = load_detector(folders / "saved")
        assert seen_frames(loaded) == {"a", "b", "c"}
        assert loaded.fitted_on["data"] == "camvid@train; camvid@val"

    def test_a_saved_one_is_used_with_other_options(self, folders, segmenter):
        text = f"synthcp:generator={folders / 'generator'};comparator={folders / 'comparator'}"
        save_detector(create_detector(text), folders / "saved", segmenter)
        other = create_detector(f"synthcp:generator={folders / 'saved'};gate=0.5;stride=8")
        same = create_detector(f"{text};gate=0.5;stride=8")
        assert torch.equal(*(anomaly_maps(one, scene_of(segmenter))[0] for one in (other, same)))
        assert torch.equal(*(one.assess(scene_of(segmenter)).class_quality for one in (other, same)))
        assert seen_frames(other) == {"a", "b", "c"}
        save_detector(create_detector("msp"), folders / "msp", segmenter)
        with pytest.raises(CompatibilityError, match="msp detector, which carries no generator"):
            create_detector(f"synthcp:generator={folders / 'msp'}").needs(segmenter)

    def test_equal_to_networks_at_hand(self, folders, segmenter):
        named = create_detector("synthcp", generator=str(folders / "generator"))
        maps = [anomaly_maps(one, scene_of(segmenter))[0] for one in (named, SynthCP.of(made_generator()))]
        assert torch.equal(*maps)

    @pytest.mark.parametrize(
        "state",
        [
            {"something": torch.zeros(3)},
            {"generator.config": torch.tensor([1, 2], dtype=torch.uint8)},
            {"gate": torch.tensor(0.5)},
            {"gate": torch.zeros(2)},
        ],
    )
    def test_a_state_of_another_kind_is_refused(self, state):
        with pytest.raises(CompatibilityError, match="state"):
            SynthCP().load_state(state)

    def test_damaged_weights_are_refused(self, generator):
        state = SynthCP.of(generator).state()
        name = next(key for key in state if key.startswith("generator.weights"))
        for wrong in ({**state, name: state[name][:1]}, {**state, name: torch.full_like(state[name], torch.nan)}):
            with pytest.raises(CompatibilityError, match="the generator in the state of synthcp"):
                SynthCP().load_state(wrong)

    def test_numbers_of_its_networks_are_counted(self, generator, segmenter):
        from anomseg.evaluation.sizes import parameter_counts

        found = parameter_counts(SynthCP.of(generator), segmenter)
        assert found["state"] >= sum(one.numel() for one in generator.parameters())


def test_entry_options_and_text():
    entry = DETECTORS.get("synthcp")
    assert entry.factory is SynthCP
    assert {"trained", "features"} <= entry.tags
    detector = SynthCP()
    parameters = detector.get_params()
    assert list(parameters) == option_names(SynthCP)
    assert json.loads(json.dumps(parameters)) == parameters
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in parameters.items()}
    assert DETECTORS.create_from(Spec("synthcp", None, texts)).get_params() == parameters
    assert create_detector("synthcp:gate=fit").gate == "fit"
    assert create_detector("synthcp:gate=-1").gate == -1
    assert detector.fitted_on is None
    assert detector.state() == {}
    assert not detector.bounded
    assert not detector.flags.owns_network
    json.dumps(detector.card())
    json.dumps(SynthCP.of(made_generator(), made_comparator()).card())


@pytest.mark.parametrize(
    "options",
    [
        {"gate": 1.5},
        {"gate": "fitt"},
        {"stride": 0},
        {"scales": "0+1"},
        {"above": "two"},
        {"share": 2.0},
        {"pixels": 0},
        {"enlarge": "cubic"},
        {"feature": " + "},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))) as caught:
        SynthCP(**options)
    assert "\n" not in str(caught.value)


def test_what_cannot_score_is_told_before_any_work(segmenter, generator, tmp_path):
    grey, volumes, nameless = made_generator(channels=1), made_generator(), made_generator()
    volumes = made_generator(spatial_dims=3, size=(8, 8, 8))
    nameless.meta = {}
    cases = (
        (lambda: SynthCP().needs(segmenter), ConfigError, r"no generator.*synthcp:generator=DIR"),
        (lambda: SynthCP(str(tmp_path)).needs(None), DataError, "generator"),
        (lambda: SynthCP.of(grey), CompatibilityError, "colour pictures"),
        (lambda: SynthCP.of(volumes), CompatibilityError, "3 dimensions"),
        (lambda: SynthCP.of(nameless), CompatibilityError, "does not name its 5 classes"),
        (lambda: SynthCP.of(generator, made_comparator(channels=1)), CompatibilityError, "colour pictures"),
        (lambda: SynthCP.of(generator, feature="stm").needs(segmenter), ConfigError, "did you mean 'stem'"),
        (lambda: SynthCP.of(generator).needs(FixedSegmenter([0.0] * 5)), CompatibilityError, "names none"),
        (
            lambda: SynthCP.of(generator).needs(TinySegmenter(classes=("sky", "road", "dragon", "elf"))),
            CompatibilityError,
            r"has not learned 'dragon', 'elf'.*train a generator on this network's classes",
        ),
        (lambda: SynthCP.of(generator).score(scene_of(None)), CompatibilityError, "segmenter"),
    )
    for attempt, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_probabilities_and_broken_features_are_refused(generator):
    class Softmaxed(TinySegmenter):
        def segment(self, batch, features):
            output = super().segment(batch, features)
            return type(output)(**{**vars(output), "logits": output.logits.softmax(1)})

    with pytest.raises(CompatibilityError, match="check_logits=false"):
        anomaly_maps(SynthCP.of(generator), scene_of(Softmaxed()))
    assert anomaly_maps(SynthCP.of(generator, check_logits=False), scene_of(Softmaxed()))[0].isfinite().all()

    class Broken(TinySegmenter):
        def segment(self, batch, features):
            output = super().segment(batch, features)
            return type(output)(**{**vars(output), "features": dict.fromkeys(features, output.logits / 0)})

    with pytest.raises(FrameError, match=r"image0.*not finite"):
        anomaly_maps(SynthCP.of(generator), scene_of(Broken()))


def test_pictures_are_the_rendering_at_the_image_s_size(segmenter, generator):
    scene = scene_of(segmenter, [(45, 61)] * 2)
    detector = SynthCP.of(generator)
    ((name, picture),) = detector.pictures(scene).items()
    assert name == "rendering"
    assert picture.shape == (2, 45, 61, 3)
    assert picture.dtype == torch.uint8
    wanted = as_image(detector.rendering(scene), (45, 61))[1].permute(1, 2, 0).numpy() * 255
    np.testing.assert_allclose(picture[1].numpy(), wanted, atol=0.51)
    assert create_detector("msp").pictures(scene) == {}
