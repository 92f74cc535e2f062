"""The band around objects: against every pair of pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.errors import ConfigError
from anomseg.metrics import band_label, border_band


def brute(label, width):
    odd = label == 1
    points = np.argwhere(np.ones_like(odd))
    band = np.zeros(label.shape, bool)
    for point in points:
        others = np.argwhere(odd != odd[tuple(point)])
        if len(others):
            band[tuple(point)] = np.sqrt(((others - point) ** 2).sum(1)).min() <= width
    return band


@settings(max_examples=40)
@given(
    st.integers(0, 9999), st.integers(1, 17), st.integers(1, 17), st.sampled_from([1, 1.5, 2, 3, 5]), st.floats(0, 1)
)
def test_equal_to_all_pairs(seed, height, width, reach, share):
    rng = np.random.default_rng(seed)
    label = np.where(rng.random((height, width)) < share**3, 1, rng.choice([0, 255], (height, width))).astype(np.uint8)
    np.testing.assert_array_equal(border_band(label, reach), brute(label, reach))


def test_a_lone_object_far_from_the_edges_and_one_at_the_edge():
    label = np.zeros((60, 80), np.uint8)
    label[20:40, 30:50] = 1
    assert border_band(label, 4).sum() == brute(label, 4).sum()
    label[:] = 0
    label[:, :10] = 1
    np.testing.assert_array_equal(np.flatnonzero(border_band(label, 3)[5]), [7, 8, 9, 10, 11, 12])


def test_the_label_keeps_its_values_inside_and_is_void_outside():
    label = np.array([[0, 0, 255, 1, 1, 1, 1]], np.uint8)
    assert band_label(label, 2).tolist() == [[255, 0, 255, 1, 1, 255, 255]]
    assert (band_label(np.zeros((2, 3), np.uint8), 2) == 255).all()
    assert not border_band(np.ones((2, 3), np.uint8), 2).any()
    with pytest.raises(ConfigError, match=r"band of 0\.5 pixels"):
        border_band(label, 0.5)
