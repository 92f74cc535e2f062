"""The category tree: known sets, trees of one's own, and prototypes of parents."""

import pytest
import torch
from torch.nn import functional as F

from anomseg.data import label_space
from anomseg.detectors.pgan import PrototypeExtractor, anomaly_of, find_tree, parent_prototypes
from anomseg.detectors.pgan.hierarchy import TREES
from anomseg.errors import ConfigError


def test_a_parent_between_its_children():
    leaves = torch.eye(2)[:, None]
    parent = parent_prototypes(leaves, torch.tensor([0, 0]), 1)
    torch.testing.assert_close(parent[0, 0], torch.tensor([0.7071, 0.7071]), atol=1e-4, rtol=0)
    extractor = PrototypeExtractor([2], 2, projection="identity", parents=[0, 0])
    extractor.set_prototypes(0, leaves)
    query = [torch.tensor([3.0, 3.0]).view(1, 2, 1, 1)]
    assert round(anomaly_of(extractor, query).item(), 4) == 0.1464
    assert abs(extractor.parent_scores(query).item() - 1) < 1e-6  # so the parent's own anomaly is 0
    assert abs(anomaly_of(extractor, query, parent_term=True).item() - 0.1464) < 1e-4


def test_parents_are_renormalised_means_of_all_their_childrens_prototypes():
    prototypes = F.normalize(torch.randn(4, 3, 6), dim=2)
    found = parent_prototypes(prototypes, torch.tensor([1, 0, 1, -1]), 2)
    torch.testing.assert_close(found[1, 0], F.normalize((prototypes[0] + prototypes[2]).mean(0), dim=0))
    torch.testing.assert_close(found[0, 0], F.normalize(prototypes[1].mean(0), dim=0))


@pytest.mark.parametrize("space", ["camvid", "cityscapes", "street_hazards"])
def test_every_class_of_the_known_sets_has_its_place(space):
    classes = label_space(space).names
    tree = find_tree("auto", classes)
    assert tree == find_tree(space, classes)
    assert set(tree.parents) == set(TREES[space])
    assert len(tree.of_class) == len(classes)
    assert tree.membership().sum(1).tolist() == [1] * len(classes)
    assert find_tree(tree.as_text(classes), classes).of_class == tree.of_class


def test_camvid_without_a_class_has_the_same_tree():
    classes = [name for name in label_space("camvid").names if name != "bicyclist"]
    tree = find_tree("auto", classes)
    assert tree.parents[tree.of_class[classes.index("pedestrian")]] == "human"


def test_a_tree_of_ones_own_and_classes_that_it_does_not_name():
    tree = find_tree("ground = road+grass, thing=car", ["car", "road", "sky", "grass"])
    assert tree.parents == ("thing", "ground", "sky")
    assert tree.of_class == (0, 1, 2, 1)
    assert find_tree("none", ["a"]) is None
    assert find_tree("auto", ["a", "b"]).of_class == (0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flat=raod", "did you mean 'road'"),
        ("flat=", "flat=road\\+sidewalk"),
        ("flat=road,up=road", "two parents"),
        ("camvit", "did you mean 'camvid'"),
    ],
)
def test_a_tree_that_cannot_be_is_told_in_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        find_tree(text, ["road", "sky"])
    assert "\n" not in str(caught.value)


def test_the_parent_term_only_raises_the_anomaly():
    torch.manual_seed(0)
    extractor = PrototypeExtractor([5, 5], 4, per_class=2, dimension=6, parents=[0, 0, 1, 2])
    maps = extractor.embed([torch.randn(1, 5, 6, 8), torch.randn(1, 5, 3, 4)])
    plain, term = anomaly_of(extractor, maps), anomaly_of(extractor, maps, parent_term=True)
    assert (term >= plain - 1e-6).all()
    assert term.max() <= 1
    without = PrototypeExtractor([5, 5], 4, per_class=2, dimension=6)
    without.load_state_dict({**extractor.state_dict(), "parents": without.parents})
    assert torch.equal(anomaly_of(without, maps), anomaly_of(without, maps, parent_term=True))
