import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomseg.metrics.grouping import group_edges, grouped


def _counted(values):
    keys, counts = np.unique(np.asarray(values, np.uint32), return_counts=True)
    return keys, counts.astype(np.int64)


KEYS = st.lists(st.integers(0, 2**32 - 1), max_size=80)


@given(KEYS, KEYS, st.integers(2, 20))
def test_every_pixel_stays_and_order_is_kept(inlier, anomaly, groups):
    both = [_counted(inlier), _counted(anomaly)]
    edges = group_edges(*both, groups)
    for keys, counts in both:
        lowest, sums = grouped(keys, counts, edges)
        assert sums.sum() == counts.sum()
        assert (np.diff(lowest.astype(np.int64)) > 0).all()
        assert np.isin(lowest, edges).all()
    if edges.size:
        assert edges[0] == min([*inlier, *anomaly])


@given(KEYS, KEYS)
def test_few_keys_are_kept_as_they_are(inlier, anomaly):
    both = [_counted(inlier), _counted(anomaly)]
    edges = group_edges(*both, 100)
    for keys, counts in both:
        lowest, sums = grouped(keys, counts, edges)
        assert np.array_equal(lowest, keys)
        assert np.array_equal(sums, counts)


def test_groups_are_even_by_rank_whatever_the_scale():
    keys = np.sort(np.random.default_rng(0).choice(2**32, 50_000, replace=False)).astype(np.uint32)
    counts = np.ones(keys.size, np.int64)
    edges = group_edges((keys, counts), (keys[:0], counts[:0]), 100)
    _, sums = grouped(keys, counts, edges)
    assert sums.max() <= 1.1 * keys.size / 99
    assert edges.size <= 130
    crowded = (keys >> 20).astype(np.uint32) + np.arange(keys.size, dtype=np.uint32)
    again = group_edges((crowded, counts), (keys[:0], counts[:0]), 100)
    assert np.array_equal(np.searchsorted(keys, edges), np.searchsorted(crowded, again))
