"""The detector: what it scores, what of its networks runs, and what it refuses."""

import numpy as np
import pytest
import torch
from dicnet_networks import FEATURE, tiny_dicnet, tiny_student, tiny_teacher
from sklearn.metrics import average_precision_score
from tiny import TinySegmenter, made_image, scene_of
from torch.nn import functional as F

from anomseg.detectors import anomaly_maps, create_detector, load_detector, save_detector, segmenter_matches
from anomseg.detectors.dicnet import DiCNet, target_from_maps, target_from_norm
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.scene import make_scene
from anomseg.types import Needs


def plain_scene(network, sizes=((48, 64),)):
    """A scene whose first pass was not made."""
    images = [made_image(row, size) for row, size in enumerate(sizes)]
    return make_scene(images, [f"image{row}" for row in range(len(sizes))], network)


def by_hand(detector, image, size):
    """The published score of one prepared image without padding."""
    teacher = detector.segmenter.feature_maps(image, [FEATURE])[FEATURE]
    norm = detector.segmenter.feature_norm(FEATURE)
    standardized = (teacher - norm.bias.view(-1, 1, 1)) / norm.weight.view(-1, 1, 1)
    cells = ((standardized - detector.student.distil(image)) ** 2).mean(1, keepdim=True)
    return F.interpolate(cells, size, mode="bilinear", align_corners=True)[:, 0]


def test_the_published_score():
    detector = tiny_dicnet()
    scene = plain_scene(detector.segmenter)
    with torch.no_grad():
        torch.testing.assert_close(detector.score(scene), by_hand(detector, scene.images, (48, 64)))


@pytest.mark.parametrize("distance", ["cosine", "smooth_l1", "max"])
def test_other_distances_and_the_other_way_to_pixels(distance):
    detector, plain = tiny_dicnet(distance=distance, align_corners=False), tiny_dicnet()
    scene = plain_scene(detector.segmenter, [(45, 61)])
    score = detector.score(scene)
    assert score.shape == (1, 45, 61)
    torch.testing.assert_close(score, scene.resize(detector.discrepancy(scene)[:, None])[:, 0])
    assert not torch.allclose(score, plain.score(plain_scene(plain.segmenter, [(45, 61)])), atol=1e-3)


def test_compared_after_the_activation_and_averaged_over_neighbours():
    detector = tiny_dicnet(distance="max", activated=True, smooth=3)
    scene, teacher = plain_scene(detector.segmenter), detector.segmenter
    norm = teacher.feature_norm(FEATURE)
    with torch.no_grad():
        after = teacher.feature_maps(scene.images, ["bottleneck"])["bottleneck"]  # what its classifier reads
        guess = norm.weight.view(-1, 1, 1) * detector.student.distil(scene.images) + norm.bias.view(-1, 1, 1)
        cells = (after - guess.clamp(min=0)).square().amax(1)
        padded = F.pad(cells, (1, 1, 1, 1), value=float("nan"))
        windows = padded.unfold(1, 3, 1).unfold(2, 3, 1).flatten(-2)
        torch.testing.assert_close(detector.discrepancy(scene), windows.nanmean(-1), rtol=1e-4, atol=1e-5)
    assert DiCNet().get_params()["activated"] is False
    assert DiCNet().get_params()["smooth"] == 1


def test_a_student_that_gives_the_teachers_feature_finds_nothing_odd():
    detector = tiny_dicnet()
    scene = plain_scene(detector.segmenter)
    norm = detector.segmenter.feature_norm(FEATURE)
    target = target_from_norm(norm, "standardized")
    detector.student.distil = lambda image: target.of(detector.segmenter.feature_maps(image, [FEATURE])[FEATURE])
    assert torch.equal(detector.score(scene), torch.zeros(1, 48, 64))


def test_the_classifier_is_not_called(monkeypatch):
    detector = tiny_dicnet()
    expected = anomaly_maps(detector, plain_scene(detector.segmenter))[0]

    def called(*_):
        raise AssertionError("the classifier was called")

    for name in ("classifier", "auxiliary"):
        monkeypatch.setattr(getattr(detector.segmenter, name), "forward", called)
    assert torch.equal(anomaly_maps(detector, plain_scene(detector.segmenter))[0], expected)
    with pytest.raises(AssertionError, match="was called"):
        _ = plain_scene(detector.segmenter).output
    assert not detector.needs(None).logits


def test_a_pass_that_was_made_is_reused():
    detector = tiny_dicnet()
    teacher = detector.segmenter
    alone = detector.score(plain_scene(teacher))
    calls = []
    handle = teacher.encoder.register_forward_hook(lambda *_: calls.append(1))
    shared = make_scene([made_image(0, (48, 64))], ["image0"], teacher, features=(FEATURE,))
    _ = shared.output
    together = detector.score(shared)
    twice = plain_scene(teacher)
    detector.score(twice)
    detector.score(twice)
    handle.remove()
    assert len(calls) == 2  # one for the shared pass, one for the scene that is scored twice
    torch.testing.assert_close(alone, together)


def test_images_of_several_sizes_share_a_pass_that_was_made():
    detector = tiny_dicnet()
    detector.segmenter.size = (40, 56)
    sizes = [(45, 61), (30, 20), (45, 61)]
    scene = scene_of(detector.segmenter, sizes)
    _ = scene.output
    calls = []
    handle = detector.segmenter.encoder.register_forward_hook(lambda *_: calls.append(1))
    maps = anomaly_maps(detector, scene)
    handle.remove()
    assert calls == []
    assert [tuple(one.shape) for one in maps] == sizes


def test_normalising_an_image_leaves_its_ap_and_changes_the_pooled_one():
    rng = np.random.default_rng(0)
    plain, stretched = tiny_dicnet(), tiny_dicnet(normalise="image")
    scores, labels = {plain: [], stretched: []}, []
    for seed, light in enumerate((0.1, 1.0, 0.5)):
        image = (made_image(seed, (48, 64)) * light).astype(np.uint8)
        labels.append(rng.random((48, 64)) < 0.02 + 0.3 * seed)
        for detector, found in scores.items():
            found.append(anomaly_maps(detector, make_scene([image], ["a"], detector.segmenter))[0].numpy())
    for one, other, label in zip(scores[plain], scores[stretched], labels, strict=True):
        assert other.min() == 0
        assert other.max() == 1
        ours, theirs = (average_precision_score(label.ravel(), values.ravel()) for values in (one, other))
        assert ours == pytest.approx(theirs, abs=2e-3)  # float32 ties aside
    truth = np.concatenate([label.ravel() for label in labels])
    pooled = [
        average_precision_score(truth, np.concatenate([one.ravel() for one in found])) for found in scores.values()
    ]
    assert abs(pooled[0] - pooled[1]) > 1e-2
    assert stretched.bounded
    assert not plain.bounded


def test_a_constant_map_is_stretched_to_zeros():
    detector = tiny_dicnet(normalise="image")
    detector.student.distil = lambda image: torch.zeros(1, 8, 6, 8)
    detector.segmenter.feature_maps = lambda batch, names: {FEATURE: torch.zeros(1, 8, 6, 8)}
    assert torch.equal(detector.score(plain_scene(detector.segmenter)), torch.zeros(1, 48, 64))


@pytest.mark.parametrize("attached", [False, True])
def test_saved_and_loaded_it_scores_bit_for_bit_the_same(tmp_path, attached):
    detector = tiny_dicnet(attached=attached)
    teacher = tiny_teacher()
    scene = plain_scene(teacher, [(45, 61)])
    expected = detector.score(scene)
    save_detector(detector, tmp_path / "dicnet")
    loaded = load_detector(tmp_path / "dicnet")
    assert torch.equal(loaded.score(plain_scene(teacher, [(45, 61)])), expected)
    assert set(loaded.networks()) == ({"student"} if attached else {"student", "teacher"})
    assert loaded.flags.owns_network == loaded.card()["owns_network"] == (not attached)
    assert loaded.get_params() == detector.get_params()
    assert loaded.segmenter_identity["sha256"] == teacher.fingerprint()


def test_attached_it_belongs_to_its_teacher():
    detector = tiny_dicnet(attached=True)
    assert segmenter_matches(detector, tiny_teacher()) is None
    assert "another network" in segmenter_matches(detector, tiny_teacher(seed=5))
    assert detector.segmenter is None
    with pytest.raises(CompatibilityError, match="8 channels, but 'bottleneck_linear' of this network has 12"):
        detector.needs(tiny_teacher(12))
    with pytest.raises(ConfigError, match="unknown feature of tiny 'bottleneck_linear'"):
        detector.needs(TinySegmenter())


def test_owning_it_scores_its_teacher_whatever_network_is_given():
    detector = tiny_dicnet()
    own = detector.score(plain_scene(detector.segmenter, [(48, 64)]))
    other = detector.score(plain_scene(TinySegmenter(), [(48, 64)]))
    torch.testing.assert_close(own, other)


def test_needs_and_card():
    detector = tiny_dicnet()
    assert detector.needs(None) == Needs(logits=False, features=(FEATURE,))
    assert create_detector("dicnet").needs(TinySegmenter()).features == ("stem",)
    card = detector.card()
    assert card["passes"] == {"teacher": 1, "student": 1}
    assert set(card["networks"]) == {"teacher", "student"}
    student = {id(tensor) for tensor in detector.student.state_dict(keep_vars=True).values()}
    assert not student & {id(tensor) for tensor in detector.segmenter.state_dict(keep_vars=True).values()}


def test_another_stride_is_brought_to_the_teachers_cells():
    teacher = TinySegmenter()
    target = target_from_maps(6, [teacher.feature_maps(torch.rand(1, 3, 48, 64), ["stem"])["stem"][0]], "standardized")
    detector = DiCNet.of(teacher, tiny_student(6), "stem", target)
    scene = plain_scene(teacher, [(45, 61)])
    assert detector.discrepancy(scene).shape == (1, 24, 32)
    assert detector.score(scene).shape == (1, 45, 61)


def test_refusals():
    teacher = tiny_teacher()
    target = target_from_norm(teacher.feature_norm(FEATURE), "standardized")
    with pytest.raises(ConfigError, match="did you mean 'bottleneck_linear'"):
        DiCNet.of(teacher, tiny_student(), "bottleneck_liner", target)
    with pytest.raises(CompatibilityError, match="student gives 6 channels"):
        DiCNet.of(teacher, tiny_student(6), FEATURE, target)
    with pytest.raises(CompatibilityError, match="no student; run 'anomseg train camvid-dicnet"):
        anomaly_maps(create_detector("dicnet"), plain_scene(teacher))
    with pytest.raises(CompatibilityError, match="carries the networks"):
        DiCNet().load_networks({"student": teacher, "teacher": teacher})
    for options in ({"teacher_norm": "batch"}, {"distance": "l3"}, {"normalise": "batch"}):
        with pytest.raises(ConfigError, match="must be one of"):
            create_detector("dicnet", **options)
    for smooth in (0, 2, -1):
        with pytest.raises(ConfigError, match="smooth is an odd number"):
            create_detector("dicnet", smooth=smooth)
    with pytest.raises(CompatibilityError, match="state of dicnet"):
        DiCNet().load_state({"scale": torch.ones(3), "shift": torch.ones(4)})


def test_an_evaluation_calls_the_classifier_only_where_classes_are_compared(monkeypatch):
    from anomseg.evaluation.sources import NetworkSource, Sample

    detector, calls = tiny_dicnet(), []
    network = detector.segmenter
    for part in ("encoder", "classifier"):
        getattr(network, part).register_forward_hook(lambda *_, part=part: calls.append(part))
    sample = Sample("a", (48, 64), made_image(0, (48, 64)))
    answer = next(iter(NetworkSource({"dicnet": detector}, None).answers(sample, ["dicnet"])))
    assert calls == ["encoder"]
    calls.clear()
    source = NetworkSource({"dicnet": detector}, None, judged=frozenset({"dicnet"}))
    judged = next(iter(source.answers(sample, ["dicnet"])))
    assert source.prediction("dicnet").shape == (48, 64)
    assert calls == ["encoder", "classifier"]
    np.testing.assert_allclose(answer.score, judged.score, rtol=1e-5)


def test_predicting_and_exporting_run_the_teacher_once():
    from anomseg.export.graph import DetectorGraph
    from anomseg.inference import predict

    detector, calls = tiny_dicnet(), []
    detector.segmenter.encoder.register_forward_hook(lambda *_: calls.append(1))
    image = made_image(0, (48, 64))
    prediction = predict(image, None, detector)
    assert len(calls) == 1
    assert prediction.segmentation.shape == (48, 64)
    graph = DetectorGraph(detector.segmenter, detector, (48, 64))
    with torch.no_grad():
        score, _, classes = graph(torch.from_numpy(image).permute(2, 0, 1)[None], torch.tensor(0.5))
    assert len(calls) == 2
    np.testing.assert_allclose(score[0], prediction.anomaly_map, rtol=1e-4, atol=1e-5)
    assert np.array_equal(classes[0], prediction.segmentation)
