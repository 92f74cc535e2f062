"""Aligned corners over a padded input, against interpolation of the whole and against positions by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.detectors.dicnet.resizing import aligned_resize


def test_worked_grid():
    maps = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[None, None]
    made = aligned_resize(maps, (16, 16), (16, 16), (4, 4))[0, 0]
    torch.testing.assert_close(made[0], torch.tensor([0, 1 / 3, 2 / 3, 1]))
    assert [made[i, j].item() for i in (0, -1) for j in (0, -1)] == [0, 1, 2, 3]
    unaligned = F.interpolate(maps, (4, 4), mode="bilinear", align_corners=False)[0, 0]
    assert unaligned[0].tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize("size", [(24, 40), (45, 61), (7, 9)])
def test_without_padding_it_is_plain_interpolation(size):
    maps = torch.randn(2, 1, 3, 5)
    expected = F.interpolate(maps, size, mode="bilinear", align_corners=True)
    assert torch.equal(aligned_resize(maps, (24, 40), (24, 40), size), expected)


def test_padding_is_cropped_and_not_squeezed_in():
    maps = torch.randn(2, 1, 3, 5)
    whole = F.interpolate(maps, (24, 40), mode="bilinear", align_corners=True)
    made = aligned_resize(maps, (24, 40), (21, 33), (21, 33))
    torch.testing.assert_close(made, whole[..., :21, :33], rtol=1e-4, atol=1e-5)
    squeezed = F.interpolate(maps, (21, 33), mode="bilinear", align_corners=True)
    assert not torch.allclose(made, squeezed, atol=1e-2)


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 7),
    st.integers(0, 7),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
@settings(max_examples=60, deadline=None)
def test_every_pixel_is_read_at_its_own_place(cells, inside, below, beside, size):
    """A map that holds its own coordinates gives back where each pixel was read."""
    padded = (inside[0] + below, inside[1] + beside)
    rows, columns = np.meshgrid(np.arange(cells[0]), np.arange(cells[1]), indexing="ij")
    maps = torch.tensor(np.stack([rows, columns]), dtype=torch.float64)[None]
    made = aligned_resize(maps, padded, inside, size)[0].numpy()
    for axis in range(2):
        pixel = np.arange(size[axis])
        working = pixel * (inside[axis] - 1) / max(size[axis] - 1, 1)
        place = working * (cells[axis] - 1) / max(padded[axis] - 1, 1)
        if padded == inside and size[axis] > 1:
            place = pixel * (cells[axis] - 1) / (size[axis] - 1)
        found = made[axis, :, 0] if axis == 0 else made[axis, 0, :]
        np.testing.assert_allclose(found, place, atol=1e-5)
