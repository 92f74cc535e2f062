"""Averaging over scales before the cosine: the streamed way against the plain one, and what it holds in memory."""

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from anomseg.detectors.synthcp.cells import Features, mean_cosine, on_grid
from anomseg.segmenters.base import SegmentationOutput

GRID = (24, 36)
SIZES = ((5, 8), (6, 9), (12, 18), (30, 40))


class Live(TorchDispatchMode):
    """Counts the values of all tensors made meanwhile that are alive at once, and of the largest one."""

    def __init__(self, *known):
        super().__init__()
        self.known = {map.untyped_storage().data_ptr() for scales in known for each in scales for map in each.maps}
        self.alive, self.peak, self.largest = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else [found]:
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in self.known:
                storage = one.untyped_storage()
                self.alive[storage.data_ptr()] = StorageWeakRef(storage), storage.nbytes() // 4
                self.largest = max(self.largest, storage.nbytes() // 4)
        self.alive = {key: one for key, one in self.alive.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(values for _, values in self.alive.values()))
        return found


def made(channels, sizes=SIZES, seed=0, batch=2, more=()):
    generator = torch.Generator().manual_seed(seed)
    return [
        Features(tuple(torch.randn(batch, one, *size, generator=generator) for one in (channels, *more)), (1.0, 1.0))
        for size in sizes
    ]


def plainly(image, rendering, grid=GRID):
    """Everything at full resolution at once: the mean over scales, then the cosine of all channels."""
    means = []
    for scales in (image, rendering):
        maps = [
            torch.cat([F.interpolate(one, grid, mode="bilinear", align_corners=False) for one in each.maps], 1)
            for each in scales
        ]
        means.append(torch.stack(maps).mean(0))
    return F.cosine_similarity(*means, dim=1)


@pytest.mark.parametrize("piece", [1, 5 * 2 * 24 * 36, 10**9])
@pytest.mark.parametrize("scales", [1, 3, 4])
def test_streamed_it_is_the_cosine_of_the_means(piece, scales):
    image, rendering = made(13, SIZES[:scales], more=(4,)), made(13, SIZES[:scales], seed=1, more=(4,))
    found = mean_cosine(image, rendering, GRID, piece)
    torch.testing.assert_close(found, plainly(image, rendering), atol=1e-5, rtol=1e-5)


def test_the_mean_of_the_cosines_is_something_else():
    """What a stream scale by scale would give."""
    image, rendering = made(13), made(13, seed=1)
    each = [mean_cosine([one], [other], GRID) for one, other in zip(image, rendering, strict=True)]
    assert (torch.stack(each).mean(0) - mean_cosine(image, rendering, GRID)).abs().max() > 0.05


def test_features_at_full_resolution_never_lie_in_memory():
    """Of 64 channels in pieces of two: what is alive at once is a few pieces, not one map, let alone one a scale."""
    image, rendering = made(64), made(64, seed=1)
    cells = 2 * GRID[0] * GRID[1]
    with Live(image, rendering) as live:
        plainly(image, rendering)
    assert live.peak >= 2 * 64 * cells
    with Live(image, rendering) as live:
        mean_cosine(image, rendering, GRID, piece=2 * cells)
    assert live.largest <= 2 * cells
    assert live.peak <= 16 * cells


def test_identical_features_are_at_one_and_lengths_do_not_count():
    image = made(9)
    longer = [Features(tuple(one * 7.5 for one in each.maps), each.inside) for each in image]
    torch.testing.assert_close(mean_cosine(image, image, GRID), torch.ones(2, *GRID))
    torch.testing.assert_close(mean_cosine(image, longer, GRID), torch.ones(2, *GRID))


@pytest.mark.parametrize(("inside", "grid"), [((1.0, 1.0), (7, 9)), ((1.0, 1.0), (6, 8)), ((1.0, 1.0), (3, 3))])
def test_without_padding_it_is_plain_resizing(inside, grid):
    maps = torch.randn(2, 3, 6, 8)
    assert torch.equal(on_grid(maps, inside, grid), F.interpolate(maps, grid, mode="bilinear", align_corners=False))


def test_padding_is_cut_off_to_the_pixel():
    """Of 48 x 64 pixels 36 x 48 are the image: its part of the resized map, away from the cut itself, is the same."""
    maps = torch.randn(1, 3, 6, 8)
    whole = F.interpolate(maps, (24, 32), mode="bilinear", align_corners=False)
    found = on_grid(maps, (36 / 48, 48 / 64), (18, 24))
    torch.testing.assert_close(found, whole[..., :18, :24], atol=1e-5, rtol=1e-5)


def test_what_a_pass_says_of_its_padding():
    output = SegmentationOutput(torch.zeros(1, 2, 6, 8), (48, 64), (36, 32), {"a": torch.zeros(1, 3, 6, 8)})
    features = Features.of(output, ("a",))
    assert features.inside == (0.75, 0.5)
    assert features.finite == [True]
    features.maps[0][0, 1, 2, 3] = float("nan")
    assert features.finite == [False]
