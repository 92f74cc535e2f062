"""Reservoirs: which vectors stay, how many, and in how much memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.detectors.reservoir import BalancedReservoir, Reservoir, frame_draws


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None].repeat(1, 2)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 30), max_size=8),
    capacity=st.one_of(st.none(), st.integers(1, 60)),
    seed=st.integers(0, 10**6),
)
def test_the_smallest_numbers_stay_whatever_the_order(counts, capacity, seed):
    parts = [
        (frame_draws(seed, f"f{index}", count), numbered(100 * index, count)) for index, count in enumerate(counts)
    ]
    samples = []
    for order in (parts, parts[::-1]):
        reservoir = Reservoir(capacity)
        for own, rows in order:
            reservoir.offer(own, rows)
            assert capacity is None or len(reservoir._rows) <= capacity  # memory, not just what is told
        assert reservoir.seen == sum(counts)
        samples.append(reservoir.sample())
    assert torch.equal(*samples)
    if sum(counts):
        keys, rows = np.concatenate([own for own, _ in parts]), torch.cat([rows for _, rows in parts])
        assert torch.equal(samples[0], rows[torch.from_numpy(np.argsort(keys)[:capacity])])
    else:
        assert samples[0].shape == (0, 0)


def test_every_vector_is_as_likely_as_any_other_and_so_are_the_first_of_a_sample():
    drawn, among_first = torch.zeros(40), torch.zeros(40)
    for seed in range(800):
        reservoir = Reservoir(10)
        for part in range(4):
            reservoir.offer(frame_draws(seed, f"frame{part}", 10), numbered(10 * part, 10))
        sample = reservoir.sample()[:, 0].long()
        drawn[sample] += 1
        among_first[sample[:5]] += 1
    # 200 and 100 expected, standard deviations 12.2 and 9.4
    assert (drawn - 200).abs().max() < 55
    assert (among_first - 100).abs().max() < 43


def test_what_was_offered_may_change_afterwards():
    rows = numbered(0, 6)
    reservoir = Reservoir(4)
    reservoir.offer(np.linspace(0, 1, 6), rows)
    rows.zero_()
    assert reservoir.sample()[:, 0].tolist() == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(
    frames=st.lists(st.lists(st.integers(0, 3), max_size=25), min_size=1, max_size=6),
    total=st.integers(4, 60),
    seed=st.integers(0, 10**6),
)
def test_balanced_all_of_the_rare_and_equally_many_of_the_rest(frames, total, seed):
    samples = []
    for order in (range(len(frames)), reversed(range(len(frames)))):
        reservoir = BalancedReservoir(4, total, seed)
        for index in order:
            labels = torch.tensor(frames[index], dtype=torch.int64)
            rows = torch.stack([labels.float(), torch.arange(len(labels)) + 100.0 * index], 1)
            reservoir.update(f"frame{index}", rows, labels)
            assert sum(len(one) for one in reservoir._kept.values()) <= total
        samples.append(reservoir.balanced())
    assert torch.equal(*samples)
    seen = np.bincount(np.concatenate([np.array(frame, int) for frame in frames]), minlength=4)
    kept = np.bincount(samples[0][:, 0].long().numpy(), minlength=4) if len(samples[0]) else np.zeros(4, int)
    level = max(level for level in range(total + 1) if np.minimum(seen, level).sum() <= total)
    assert kept.tolist() == np.minimum(seen, level).tolist()


@pytest.mark.parametrize("capacity", [3, None])
def test_shrinking_keeps_the_smallest(capacity):
    reservoir = Reservoir(capacity)
    reservoir.offer(np.array([0.5, 0.1, 0.9]), numbered(0, 3))
    reservoir.shrink(2)
    assert reservoir.sample()[:, 0].tolist() == [1, 0]
    reservoir.offer(np.array([0.2, 0.95]), numbered(10, 2))
    assert reservoir.sample()[:, 0].tolist() == [1, 10]
