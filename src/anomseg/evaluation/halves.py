"""Two halves of a run's frames that share no sequence, for thresholds that are taken from one and used on the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from anomseg.types import Frame


def second_half(frames: Sequence[Frame]) -> frozenset[str]:
    """The groups (sequences or scenes; single frames where there are none) that make up the second half.

    Groups are dealt out whole, the largest first and equal ones by name, each to the half that has fewer frames, the
    first of equal ones: two towns become one half each.

    Args:
        frames: All frames of a run, of all its shards.

    Returns:
        Names of groups; empty where there are fewer than two.

    Example:
        >>> sizes = {"t5": 3, "t6": 2, "t7": 2}
        >>> frames = [Frame(f"{t}_{i}", None, group=t) for t, count in sizes.items() for i in range(count)]
        >>> sorted(second_half(frames)), second_half(frames[:3])
        (['t6', 't7'], frozenset())
    """
    sizes = Counter(frame.cluster for frame in frames)
    if len(sizes) < 2:
        return frozenset()
    held = [0, 0]
    second = set()
    for name, count in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        half = int(held[1] < held[0])
        held[half] += count
        if half:
            second.add(name)
    return frozenset(second)
