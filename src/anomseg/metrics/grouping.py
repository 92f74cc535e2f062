"""Few groups of neighbouring scores that stand for many scores, chosen by rank and not by value.

Bins of fixed width would merge what a saturated score (one minus a probability near 0, say) crowds together; ranks
do not care how a score is scaled.
"""

from __future__ import annotations

import numpy as np

from anomseg.metrics.counts import Counts, Keys

GROUPS = 1024


def group_edges(inlier: tuple[Keys, Counts], anomaly: tuple[Keys, Counts], groups: int = GROUPS) -> Keys:
    """Lowest keys of groups that part both classes about evenly, and finely at the top of the ranking.

    Args:
        inlier: Distinct ascending keys and their counts.
        anomaly: The same of the anomalous pixels.
        groups: About how many groups each class is parted into; a class with no more keys keeps each of them.

    Returns:
        Ascending keys; the first is the lowest of all, so every key belongs to a group. Empty where both are.
    """
    edges = [np.zeros(0, np.uint32)]
    for keys, counts in (inlier, anomaly):
        if keys.size <= groups:
            edges.append(keys)
            continue
        at_or_above = np.cumsum(counts[::-1])
        total = float(at_or_above[-1])
        # Precision at low recall hangs on the few highest inliers, hence the ranks spaced by ratio as well.
        ranks = np.concatenate([np.linspace(1, total, groups), np.geomspace(1, total, groups // 4)])
        edges += [keys[::-1][np.searchsorted(at_or_above, np.minimum(ranks, total))], keys[:1]]
    return np.unique(np.concatenate(edges)).astype(np.uint32)


def grouped(keys: Keys, counts: Counts, edges: Keys) -> tuple[Keys, Counts]:
    """Counts by group.

    Args:
        keys: Ascending; none below the first edge.
        counts: Their counts.
        edges: From `group_edges`.

    Returns:
        Lowest keys of the groups that occur, ascending, and their counts.
    """
    if keys.size == 0:
        return keys, counts
    # Few edges are looked up among many keys, not the other way round.
    starts = np.searchsorted(keys, edges)
    occurs = np.flatnonzero(starts < np.append(starts[1:], keys.size))
    return edges[occurs], np.add.reduceat(counts, starts[occurs]).astype(np.int64)
