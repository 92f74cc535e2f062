"""Mixtures on features: scores against scikit-learn, the sample, what is dropped, what is refused."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from tiny import CLASSES, TinySegmenter, made_frames, scene_of

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.detectors.reservoir import ClassReservoir
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters.scene import make_scene


def gathered(segmenter, frames):
    """Features of all cells inside the frames, by predicted class."""
    features, classes = [], []
    for frame in frames:
        output = make_scene([frame.image()], [frame.id], segmenter, features=("stem",)).output
        features.append(output.features["stem"][0, :, :22, :30].flatten(1).T.numpy().astype(np.float64))
        classes.append(output.logits[0, :, :22, :30].argmax(0).flatten().numpy())
    features, classes = np.concatenate(features), np.concatenate(classes)
    return [features[classes == index] for index in range(len(CLASSES))]


@pytest.mark.parametrize("covariance", ["diag", "full", "tied"])
def test_one_component_is_the_gaussian_of_its_class(covariance):
    """With one component EM has one answer: mean and covariance of the sample, which here is all there is."""
    segmenter, frames = TinySegmenter(), made_frames(3)
    detector = create_detector("gmm", components=1, covariance=covariance, minimum=1, reduction="logsumexp", prior=True)
    detector.fit(segmenter, frames)
    groups = [group for group in gathered(segmenter, frames) if len(group)]
    added = 0.01 * np.concatenate(groups).var(0).mean()
    models = [GaussianMixture(1, covariance_type=covariance, reg_covar=added).fit(group) for group in groups]
    scene = scene_of(segmenter)
    rows = scene.output.features["stem"].permute(0, 2, 3, 1).reshape(-1, 6).numpy().astype(np.float64)
    share = np.array([len(group) for group in groups]) / sum(len(group) for group in groups)
    each = np.stack([model.score_samples(rows) + np.log(p) for model, p in zip(models, share, strict=True)])
    found = detector.formula(scene.output.features["stem"]).flatten()
    np.testing.assert_allclose(found, -np.logaddexp.reduce(each), rtol=1e-3, atol=1e-2)


def test_several_components_are_scikit_learns_own():
    segmenter, frames = TinySegmenter(), made_frames(3)
    detector = create_detector("gmm", components=2, covariance="full").fit(segmenter, frames)
    state = detector.state()
    scene = scene_of(segmenter)
    rows = scene.output.features["stem"].permute(0, 2, 3, 1).reshape(-1, 6).numpy().astype(np.float64)
    each = []
    for weights, means, factors in zip(state["weights"], state["means"], state["factors"], strict=True):
        model = GaussianMixture(2, covariance_type="full")
        model.weights_, model.means_, model.precisions_cholesky_ = weights.numpy(), means.numpy(), factors.numpy()
        each.append(model.score_samples(rows))
    found = detector.formula(scene.output.features["stem"]).flatten()
    np.testing.assert_allclose(found, -np.stack(each).max(0), rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(state["weights"].sum(1), torch.ones(len(state["weights"])))


def test_frames_in_another_order_give_the_same_mixtures():
    segmenter, frames = TinySegmenter(), made_frames(4)
    options = {"samples": 150, "components": 2}
    first, second = (create_detector("gmm", **options).fit(segmenter, some) for some in (frames, frames[::-1]))
    other = create_detector("gmm", **options, seed=1).fit(segmenter, frames)
    assert all(torch.equal(tensor, second.state()[key]) for key, tensor in first.state().items())
    assert not torch.equal(first.state()["means"], other.state()["means"])


def test_fewer_vectors_than_components():
    detector = create_detector("gmm", minimum=1, components=40).fit(TinySegmenter(), made_frames(1, (8, 8)))
    weights = detector.state()["weights"]
    assert weights.shape[1] == 40
    assert (weights == 0).any()
    assert anomaly_maps(detector, scene_of(TinySegmenter()))[0].isfinite().all()


def test_rare_classes_are_dropped_and_listed():
    segmenter = TinySegmenter(seed=1)
    detector = create_detector("gmm", iterations=1).fit(segmenter, made_frames())
    few = [CLASSES[index] for index, group in enumerate(gathered(segmenter, made_frames())) if len(group) < 100]
    assert few
    assert detector.fitted_on["dropped_classes"] == few
    assert set(detector.fitted_on["not_converged"]) == set(CLASSES) - set(few)
    assert detector.fitted_on["feature"] == "stem"
    with pytest.raises(DataError, match="lower minimum"):
        create_detector("gmm", minimum=10**6).fit(segmenter, made_frames())


def test_states_and_options_that_do_not_fit():
    state = create_detector("gmm").fit(TinySegmenter(), made_frames(2)).state()
    for options in ({"components": 4}, {"covariance": "full"}, {"covariance": "tied"}):
        with pytest.raises(CompatibilityError, match="components="):
            create_detector("gmm", **options).load_state(state)
    with pytest.raises(CompatibilityError, match="finite"):
        create_detector("gmm").load_state({**state, "means": state["means"] * float("inf")})
    for option in ({"components": 0}, {"covariance": "round"}, {"regularization": 0.0}, {"reduction": "mean"}):
        with pytest.raises(ConfigError, match=next(iter(option))):
            create_detector("gmm", **option)


class TestReservoir:
    def test_it_keeps_everything_up_to_its_capacity(self):
        reservoir = ClassReservoir(3, 100)
        values, labels = torch.randn(90, 2), torch.arange(90) % 2
        reservoir.update("a", values, labels)
        assert reservoir.count.tolist() == [45, 45, 0]
        for index in range(2):
            kept = sorted(map(tuple, reservoir.sample(index).tolist()))
            assert kept == sorted(map(tuple, values[labels == index].tolist()))
        assert len(reservoir.sample(2)) == 0

    def test_neither_order_nor_cuts_matter_and_memory_is_bounded(self):
        parts = {name: torch.randn(50, 2) for name in "abcd"}
        zeros = torch.zeros(50, dtype=torch.int64)
        samples = []
        for order in ("abcd", "dbca"):
            reservoir = ClassReservoir(1, 30, seed=7)
            for name in order:
                reservoir.update(name, parts[name], zeros)
            samples.append(reservoir.sample(0))
        assert samples[0].shape == (30, 2)
        assert torch.equal(*samples)

    def test_every_vector_is_as_likely_as_any_other(self):
        drawn = torch.zeros(40)
        for seed in range(600):
            reservoir = ClassReservoir(1, 10, seed)
            for part in range(4):
                values = torch.arange(10.0)[:, None] + 10 * part
                reservoir.update(f"frame{part}", values, torch.zeros(10, dtype=torch.int64))
            drawn[reservoir.sample(0)[:, 0].long()] += 1
        # 150 expected each, standard deviation 10.6
        assert (drawn - 150).abs().max() < 48
        assert drawn.view(4, 10).sum(1).sub(1500).abs().max() < 150
