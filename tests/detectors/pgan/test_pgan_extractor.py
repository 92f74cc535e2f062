"""The extraction network: PAnS as its simplest case, invariants, and any segmenter with features under it."""

import numpy as np
import pytest
import torch
from test_segmenter_contract import BUILDERS
from torch.nn import functional as F

from anomseg import scores
from anomseg.detectors import anomaly_maps
from anomseg.detectors.pgan import PGAN, PrototypeExtractor, anomaly_of, level_names
from anomseg.detectors.pgan.extractor import extractor_from
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters import Segmenter, make_scene


def made(**options):
    torch.manual_seed(0)
    return PrototypeExtractor(**{"channels": [5, 7], "classes": 4, "per_class": 2, "dimension": 6, **options})


def maps(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, width, *size, generator=generator) for width, size in zip((5, 7), sizes, strict=False)]


def test_one_prototype_one_level_and_no_projection_is_pans():
    torch.manual_seed(0)
    features, weights = torch.randn(2, 5, 6, 8), torch.randn(4, 5)
    extractor = PrototypeExtractor([5], 4, projection="identity", learnable=True)
    extractor.set_prototypes(0, weights[:, None])
    pans = scores.prototype_anomaly(scores.cosine_logits(features, weights))
    torch.testing.assert_close(anomaly_of(extractor, extractor.embed([features])), pans, atol=1e-6, rtol=0)
    torch.testing.assert_close(10 * extractor([features]), scores.cosine_logits(features, weights), atol=1e-5, rtol=0)


def test_permuting_classes_permutes_scores_and_leaves_the_anomaly():
    extractor, order = made(), torch.tensor([2, 0, 3, 1])
    embeddings = extractor.embed(maps((6, 8), (3, 4)))
    before, anomaly = extractor.scores(embeddings), anomaly_of(extractor, embeddings)
    for one in extractor.prototypes:
        one.data = one.data[order]
    torch.testing.assert_close(extractor.scores(embeddings), before[:, order])
    torch.testing.assert_close(anomaly_of(extractor, embeddings), anomaly)


def test_scores_are_the_weighted_sum_of_the_levels_on_the_finest_grid():
    extractor = made(level_weights=[1.0, 3.0])
    embeddings = extractor.embed(maps((3, 4), (6, 8)))
    fine, coarse = (
        torch.einsum("bdhw,kmd->bkmhw", F.normalize(one, dim=1), own).amax(2)
        for one, own in zip(reversed(embeddings), reversed(extractor.prototypes), strict=True)
    )
    up = F.interpolate(coarse, (6, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(extractor.scores(embeddings), 0.25 * up + 0.75 * fine)


def test_projections_end_linear_so_that_cosines_are_negative_too():
    extractor = made()
    positive = [one.abs() for one in maps((6, 8), (3, 4))]
    assert extractor.to_prototypes(0, extractor.embed(positive)[0]).min() < -0.1


def test_a_class_without_prototypes_never_wins_and_is_no_neutral_half():
    extractor = made()
    embeddings = extractor.embed(maps((6, 8), (3, 4)))
    whole = extractor.scores(embeddings)
    extractor.present[1] = False
    found = extractor.scores(embeddings)
    assert (found[:, 1] == -1).all()
    assert not (found.argmax(1) == 1).any()
    torch.testing.assert_close(found[:, [0, 2, 3]], whole[:, [0, 2, 3]])
    assert (anomaly_of(extractor, embeddings) >= (1 - whole.amax(1)) / 2 - 1e-6).all()


def test_stored_prototypes_have_unit_length():
    extractor = made(learnable=True)
    extractor.set_prototypes(0, torch.randn(4, 2, 6) * 9)
    extractor.prototypes[1].data *= 3
    extractor.normalise()
    for one in extractor.prototypes:
        torch.testing.assert_close(one.norm(dim=2), torch.ones(4, 2))


@pytest.mark.parametrize("projection", ["mlp", "identity"])
def test_an_extractor_is_rebuilt_from_its_tensors(projection):
    extractor = made(projection=projection, parents=[0, 0, 1, 2], level_weights=[1, 2])
    extractor.present[2] = False
    again = extractor_from(dict(extractor.state_dict()), "cosine")
    inputs = maps((6, 8), (3, 4))
    assert torch.equal(again(inputs), extractor(inputs))
    assert again.channels == [5, 7]
    assert again.parent_count == 3
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_the_device_and_the_type_of_the_features_do_not_matter():
    extractor, inputs = made(), maps((6, 8), (3, 4))
    torch.testing.assert_close(extractor([one.half() for one in inputs]), extractor(inputs), atol=0.02, rtol=0)


class _Nameless(Segmenter):
    pass


def test_levels_by_name_and_by_themselves():
    host = BUILDERS["erfnet_pyramid"]()
    assert level_names("auto", host) == ("stage2", "encoder", "bottleneck")
    assert level_names("auto", host, ("stage1", "encoder")) == ("stage1", "encoder")
    assert level_names("encoder + stage1", host) == ("encoder", "stage1")
    with pytest.raises(ConfigError, match="did you mean 'bottleneck'") as caught:
        level_names("stage2+bottelneck", host)
    assert "\n" not in str(caught.value)
    with pytest.raises(CompatibilityError, match="names none"):
        level_names("auto", _Nameless(("a", "b")))


@pytest.mark.parametrize("name", BUILDERS)
def test_it_attaches_to_any_segmenter_with_features_and_leaves_its_logits_alone(name):
    torch.manual_seed(0)
    segmenter = BUILDERS[name]().eval()
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    size = (64, 96)
    plain = make_scene([image], ["a"], segmenter, size=size).output.logits.clone()
    levels, before = level_names("auto", segmenter), segmenter.fingerprint()
    assert 1 <= len(levels) <= 3
    channels = [segmenter.feature_info[one].channels for one in levels]
    detector = PGAN("+".join(levels), attached=True)
    classes = len(segmenter.classes) or 4
    detector.adopt(PrototypeExtractor(channels, classes, 2, 8), segmenter, None, {})
    needs = detector.needs(segmenter)
    assert needs.features == levels
    scene = make_scene([image], ["a"], segmenter, size=size, features=needs.features)
    score = anomaly_maps(detector, scene)[0]
    assert score.shape == (48, 64)
    assert 0 <= score.min() <= score.max() <= 1
    assert score.std() > 0
    assert torch.equal(scene.output.logits, plain)
    own = detector.segment(scene)
    assert own.shape == (1, 48, 64)
    assert own.max() < classes
    assert segmenter.fingerprint() == before
