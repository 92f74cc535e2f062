"""Picking queries by IoU on valid pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.errors import CompatibilityError
from anomseg.scores import QueryOverlap, fit_anomaly_queries, fit_ground_queries


def bits(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool)


def overlap_of(*images: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> QueryOverlap:
    overlap = QueryOverlap(len(images[0][0]))
    for masks, region, valid in images:
        overlap.update(masks, region, valid)
    return overlap


def test_the_verified_examples():
    mask = bits(1, 1, 0, 1, 0, 0)[None]
    assert overlap_of((mask, bits(1, 1, 1, 0, 0, 0), bits(1, 1, 1, 1, 1, 1))).iou.tolist() == [0.5]
    # The published script takes both ignored pixels off a union that they were never in, and says 1.0.
    assert overlap_of((mask, bits(1, 1, 1, 0, 0, 0), bits(1, 1, 1, 1, 0, 0))).iou.tolist() == [0.5]


def test_ignored_pixels_under_the_mask_are_left_out():
    overlap = overlap_of((bits(1, 1, 1, 1)[None], bits(1, 1, 0, 1), bits(1, 1, 1, 0)))
    assert overlap.iou.tolist() == pytest.approx([2 / 3])
    assert overlap.share.tolist() == pytest.approx([2 / 3])


@pytest.mark.parametrize("top_k", [4, 5, 12])
def test_how_many_are_picked(top_k):
    """In the published script 4 and 5 are joined bit by bit to 5, 4 and 8 to 12."""
    masks = torch.zeros(12, 100, dtype=torch.bool)
    for query in range(12):
        masks[query, : 100 - 8 * query] = True  # IoU 1, .92, .84 ... .12; nine reach .3
    overlap = overlap_of((masks, torch.ones(100).bool(), torch.ones(100).bool()))
    assert overlap.best(0.3, top_k) == list(range(min(top_k, 9)))


def test_the_ranking_is_used():
    """The published score has four numbers written into it, whatever was found."""
    masks = torch.zeros(3, 40, dtype=torch.bool)
    masks[0, :12], masks[1, :4], masks[2, :20] = True, True, True
    valid = torch.ones(40, dtype=torch.bool)
    region = torch.arange(40) < 20
    assert fit_anomaly_queries([masks.float()], [region], [valid]) == [2, 0]
    assert fit_ground_queries([masks.float()], [region], [valid], top_k=1) == [2]
    assert fit_anomaly_queries([masks.float()], [region], [valid], min_iou=0.1) == [2, 0, 1]
    assert fit_anomaly_queries([0.9 * masks.float()], [region], [valid]) == []  # not above .9


def test_equal_queries_come_by_number():
    masks = torch.ones(5, 8, dtype=torch.bool)
    assert overlap_of((masks, torch.ones(8).bool(), torch.ones(8).bool())).best(0.25, 3) == [0, 1, 2]


def test_images_without_the_region_say_nothing_of_the_iou():
    shown = (bits(1, 1, 0, 0)[None], bits(1, 1, 0, 0), bits(1, 1, 1, 1))
    hidden = (bits(1, 1, 0, 0)[None], bits(0, 0, 0, 0), bits(1, 1, 1, 1))
    overlap = overlap_of(shown, hidden)
    assert overlap.images == 1
    assert overlap.iou.tolist() == [1.0]
    assert overlap.share.tolist() == [0.5]
    assert overlap_of(hidden).iou.tolist() == [0.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 5), st.integers(1, 4))
def test_mean_over_images_against_numpy(seed, queries, images):
    rng = np.random.default_rng(seed)
    made = [
        (rng.random((queries, 6, 7)) > 0.5, rng.random((6, 7)) > 0.4, rng.random((6, 7)) > 0.2) for _ in range(images)
    ]
    expected = np.mean([[(m & r & v).sum() / ((m | r) & v).sum() for m in masks] for masks, r, v in made], axis=0)
    tensors = [tuple(torch.from_numpy(part) for part in image) for image in made]
    whole = overlap_of(*tensors)
    np.testing.assert_allclose(whole.iou.numpy(), expected)
    halves = overlap_of(*tensors[:1]).merge(overlap_of(*tensors[1:]) if images > 1 else QueryOverlap(queries))
    torch.testing.assert_close(halves.iou, whole.iou)
    assert torch.equal(halves.inside, whole.inside)
    assert halves.images == whole.images


def test_what_does_not_fit_is_refused():
    with pytest.raises(CompatibilityError, match="belong together"):
        QueryOverlap(2).update(torch.ones(2, 3).bool(), torch.ones(4).bool(), torch.ones(4).bool())
    with pytest.raises(CompatibilityError, match="no image"):
        fit_anomaly_queries([], [], [])
