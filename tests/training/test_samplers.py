"""Several devices draw together what one would draw."""

import pytest

from anomseg.training import samplers
from anomseg.training.samplers import ShareSampler, StreamSampler


def drawn(monkeypatch, sampler, devices):
    """What each device draws."""
    lists = []
    for rank in range(devices):
        monkeypatch.setattr(samplers, "rank_and_devices", lambda rank=rank: (rank, devices))
        lists.append(list(sampler))
        assert len(sampler) == len(lists[-1])
    return lists


@pytest.mark.parametrize("devices", [1, 2, 3, 6])
@pytest.mark.parametrize("epoch", [0, 4])
def test_each_steps_crops_are_shared_without_repeats(monkeypatch, devices, epoch):
    sampler = StreamSampler(5, 6)
    sampler.set_epoch(epoch)
    shares = drawn(monkeypatch, sampler, devices)
    each = 6 // devices
    for step in range(5):
        together = [number for share in shares for number in share[step * each : (step + 1) * each]]
        assert together == [(epoch * 5 + step) * 6 + place for place in range(6)]


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_validation_images_are_seen_once_each(monkeypatch, devices):
    shares = drawn(monkeypatch, ShareSampler(7), devices)
    assert sorted(number for share in shares for number in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_alone_is_the_only_device():
    assert samplers.rank_and_devices() == (0, 1)
