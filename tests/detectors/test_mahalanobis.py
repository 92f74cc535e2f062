"""Mahalanobis distances: statistics against NumPy and scikit-learn, what is dropped, what is refused."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import shrunk_covariance
from tiny import CLASSES, FixedSegmenter, TinySegmenter, made_frames, scene_of

from anomseg import scores
from anomseg.detectors import anomaly_maps, create_detector
from anomseg.detectors.features import default_feature
from anomseg.detectors.moments import FeatureMoments
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters.scene import make_scene
from anomseg.types import FeatureInfo


def gathered(segmenter, frames):
    """Features and predicted classes of all cells inside the frames."""
    features, classes = [], []
    for frame in frames:
        scene = make_scene([frame.image()], [frame.id], segmenter, features=("stem",))
        height, width = scene.input_size
        inside = np.s_[0, :, : height // 2, : width // 2]
        features.append(scene.output.features["stem"][inside].flatten(1).T.numpy().astype(np.float64))
        classes.append(scene.output.logits[inside].argmax(0).flatten().numpy())
    return np.concatenate(features), np.concatenate(classes)


@pytest.mark.parametrize("precision", ["class", "shared"])
def test_statistics_and_score(precision):
    segmenter, frames = TinySegmenter(), made_frames(5)
    detector = create_detector("mahalanobis", precision=precision, shrinkage=0.1, minimum=1).fit(segmenter, frames)
    features, classes = gathered(segmenter, frames)
    present = np.unique(classes)
    assert detector.state()["count"].tolist() == np.bincount(classes, minlength=len(CLASSES)).tolist()
    means = np.stack([features[classes == index].mean(0) for index in present])
    np.testing.assert_allclose(detector.state()["means"], means, rtol=1e-5)
    centred = np.concatenate([features[classes == c] - mean for c, mean in zip(present, means, strict=True)])
    within = centred.T @ centred / len(centred)
    inverses = [
        np.linalg.inv(
            shrunk_covariance(within if precision == "shared" else np.cov(features[classes == c].T, ddof=0), 0.1)
        )
        for c in present
    ]
    scene = scene_of(segmenter)
    truth = scores.mahalanobis(
        scene.output.features["stem"].double(), torch.from_numpy(means), torch.from_numpy(np.stack(inverses))
    )
    torch.testing.assert_close(
        anomaly_maps(detector, scene)[0], scene.resize(truth[:, None])[0, 0], rtol=1e-3, atol=1e-3
    )


def test_features_far_from_training_score_higher():
    segmenter = TinySegmenter()
    detector = create_detector("mahalanobis").fit(segmenter, made_frames(5))
    features = segmenter(scene_of(segmenter).images, features=("stem",)).features["stem"]
    assert detector.formula(features + 50).min() > detector.formula(features).max()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 60), max_size=3), shared=st.booleans())
def test_moments_do_not_depend_on_how_the_data_were_cut(seed, cuts, shared):
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(size=(60, 3)) + 1e4)  # a large offset costs no precision
    labels = torch.from_numpy(rng.integers(0, 4, 60))
    edges = [0, *sorted(cuts), 60]
    streamed, merged = FeatureMoments(5, 3, shared), FeatureMoments(5, 3, shared)
    for low, high in itertools.pairwise(edges):
        streamed.update(values[low:high], labels[low:high])
        part = FeatureMoments(5, 3, shared)
        part.update(values[low:high], labels[low:high])
        merged.merge(part)
    own = [values[labels == index].numpy() for index in range(5)]
    for moments in (streamed, merged):
        assert moments.count.tolist() == [len(one) for one in own]
        scatter = [len(one) * np.cov(one.T, ddof=0) if len(one) else np.zeros((3, 3)) for one in own]
        for index in np.unique(labels):
            np.testing.assert_allclose(moments.mean[index], own[index].mean(0), rtol=1e-12)
            if not shared:
                np.testing.assert_allclose(moments.scatter[index], scatter[index], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(moments.pooled_covariance(), sum(scatter) / 60, rtol=1e-6, atol=1e-6)


def test_rare_classes_are_dropped_or_share_a_covariance_and_are_listed():
    segmenter, frames = TinySegmenter(seed=1), made_frames()
    _, classes = gathered(segmenter, frames)
    counts = np.bincount(classes, minlength=len(CLASSES))
    detector = create_detector("mahalanobis", precision="class").fit(segmenter, frames)
    few = [name for name, count in zip(CLASSES, counts, strict=True) if count < 100]
    assert few
    assert detector.fitted_on["dropped_classes"] == few
    assert detector.fitted_on["pooled_classes"] == []
    assert len(detector.state()["means"]) == len(CLASSES) - len(few)
    with pytest.raises(DataError, match="lower minimum"):
        create_detector("mahalanobis", minimum=10**6).fit(segmenter, frames)
    # On frames of four cells no class is seen more often than there are channels.
    small = create_detector("mahalanobis", precision="class", minimum=1).fit(segmenter, made_frames(1, (4, 4)))
    seen = [CLASSES[index] for index in small.state()["count"].nonzero()[:, 0].tolist()]
    assert small.fitted_on["pooled_classes"] == seen
    assert anomaly_maps(small, scene_of(segmenter))[0].isfinite().all()


def test_channels_that_are_always_zero_need_shrinkage():
    segmenter = TinySegmenter()
    with torch.no_grad():
        segmenter.stem.weight[3], segmenter.stem.bias[3] = 0.0, -1.0  # a dead channel
    detector = create_detector("mahalanobis").fit(segmenter, made_frames())
    assert anomaly_maps(detector, scene_of(segmenter))[0].isfinite().all()
    with pytest.raises(ConfigError, match=r"shrinkage=0\.01"):
        create_detector("mahalanobis", shrinkage=0.0).fit(segmenter, made_frames())


def test_the_card_says_which_feature_and_which_labels():
    segmenter = TinySegmenter()
    detector = create_detector("mahalanobis").fit(segmenter, made_frames(2))
    card = detector.card()["fitted_on"]
    assert (card["feature"], card["labels"]) == ("stem", {"predicted": 2})
    assert not detector.needs(segmenter).logits
    assert create_detector("mahalanobis").needs(segmenter).logits  # predictions, for the fit
    with pytest.raises(CompatibilityError, match="labels=dataset"):
        create_detector("mahalanobis", labels="dataset").fit(segmenter, made_frames(2))


def test_default_feature():
    class Named(FixedSegmenter):
        names = ()

        @property
        def feature_info(self):
            return {name: FeatureInfo(4, 8) for name in self.names}

    segmenter = Named([0.0] * 5)
    for names, expected in (
        (("stage4", "bottleneck", "decoder"), "bottleneck"),
        (("stage1", "encoder", "decoder"), "encoder"),
        (("stage1", "encoder", "bottleneck"), "encoder"),
        (("block0", "block1"), "block1"),
        ((), None),
    ):
        segmenter.names = names
        assert default_feature(segmenter) == expected


def test_features_that_do_not_exist_or_do_not_fit():
    segmenter = TinySegmenter()
    for attempt in (
        lambda: create_detector("mahalanobis", feature="stam").needs(segmenter),
        lambda: create_detector("mahalanobis", feature="stam").fit(segmenter, made_frames()),
    ):
        with pytest.raises(ConfigError, match=r"did you mean 'stem'\? \(known: stem\)"):
            attempt()
    with pytest.raises(CompatibilityError, match="names none"):
        create_detector("mahalanobis").fit(FixedSegmenter([0.0] * 5), made_frames())
    with pytest.raises(CompatibilityError, match="give a segmenter"):
        create_detector("mahalanobis").fit(None, made_frames())
    wide = create_detector("mahalanobis", precision="class")
    wide.load_state({"means": torch.zeros(2, 9), "whitening": torch.ones(2, 9, 9), "count": torch.ones(5)})
    with pytest.raises(CompatibilityError, match="9 channels"):
        wide.needs(segmenter)


def test_a_pass_that_lacks_the_feature_is_made_again():
    segmenter = TinySegmenter()
    detector = create_detector("mahalanobis").fit(segmenter, made_frames(2))
    image = made_frames(1)[0].image()
    without = make_scene([image], ["a"], segmenter)
    with_it = make_scene([image], ["a"], segmenter, features=detector.needs(segmenter).features)
    assert torch.equal(anomaly_maps(detector, without)[0], anomaly_maps(detector, with_it)[0])


def test_states_that_do_not_fit():
    detector = create_detector("mahalanobis").fit(TinySegmenter(), made_frames(2))
    state = detector.state()
    with pytest.raises(CompatibilityError, match="precision=class"):
        create_detector("mahalanobis", precision="class").load_state(state)
    with pytest.raises(CompatibilityError, match="finite"):
        create_detector("mahalanobis").load_state({**state, "means": state["means"] * float("nan")})
    for option in ({"shrinkage": 1.5}, {"minimum": 0}, {"precision": "diagonal"}, {"labels": "guessed"}):
        with pytest.raises(ConfigError, match=next(iter(option))):
            create_detector("mahalanobis", **option)
