"""Seeds of random passes: a frame gets the same ones in any batch, order, shard or process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


def frame_seed(seed: int, frame_ids: Sequence[str]) -> int:
    """A seed from the run's seed and the frames' names, the same in every process."""
    text = "\x00".join([str(seed), *frame_ids])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7], "big")


@contextmanager
def frame_randomness(seed: int, frame_id: str, device: torch.device) -> Iterator[None]:
    """Draw random numbers that depend on the seed and the frame's name alone; the generators are then put back.

    Args:
        seed: Of the detector.
        frame_id: Of the one frame that is worked on.
        device: Where it is worked on; a GPU's generator is kept as well.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(frame_seed(seed, [frame_id]))
        yield
