"""Which samples a device draws: parts of one stream, so that several devices see together what one would see."""

from __future__ import annotations

from collections.abc import Iterator

from torch import distributed
from torch.utils.data import Sampler


def rank_and_devices() -> tuple[int, int]:
    """The number of this device, and how many train together; ``(0, 1)`` where one trains alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class StreamSampler(Sampler[int]):
    """Consecutive crop numbers; epoch ``e`` begins where epoch ``e - 1`` ended.

    Of each step's crops every device draws its own share, so the steps of several devices are those of one.
    Lightning calls `set_epoch`, on a resumed run too, which is what makes it continue the same stream.

    Args:
        steps: Steps of an epoch.
        batch_size: Crops a step, of all devices together.

    Example:
        >>> sampler = StreamSampler(2, 3)
        >>> sampler.set_epoch(1)
        >>> list(sampler)
        [6, 7, 8, 9, 10, 11]
    """

    def __init__(self, steps: int, batch_size: int) -> None:
        self.steps, self.batch_size, self.epoch = steps, batch_size, 0

    def set_epoch(self, epoch: int) -> None:
        """Move to the numbers of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rank, devices = rank_and_devices()
        share = self.batch_size // devices
        for step in range(self.epoch * self.steps, (self.epoch + 1) * self.steps):
            first = step * self.batch_size + rank * share
            yield from range(first, first + share)

    def __len__(self) -> int:
        return self.steps * (self.batch_size // rank_and_devices()[1])


class ShareSampler(Sampler[int]):
    """Every n-th sample, each on one of n devices and none twice.

    Args:
        count: How many samples there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        rank, devices = rank_and_devices()
        return iter(range(rank, self.count, devices))

    def __len__(self) -> int:
        rank, devices = rank_and_devices()
        return len(range(rank, self.count, devices))
