"""Distances of samples to data, and differences of means with intervals over samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Values = NDArray[np.float64]
Json = dict[str, Any]
FLOWS = ("flow alone", "detached", "joint", "noise")
NEIGHBOUR = 5
SAMPLES = 1000
GAPS = (
    ("max-softmax on data less that on joint samples", "end", "data", "joint", False),
    ("max-softmax on samples of the flow alone less joint ones", "start", "flow alone", "joint", True),
    ("max-softmax on detached samples less joint ones", "start", "detached", "joint", True),
    ("distance of joint samples less that of the flow alone", "distance", "joint", "flow alone", False),
    ("distance of joint samples less that of data", "distance", "joint", "data", False),
    ("distance of noise less that of joint samples", "distance", "noise", "joint", False),
)
"""Name, figure, the two kinds of images, and whether they come in pairs (from the same latents)."""


def distances(bank: Values, features: Mapping[str, Values]) -> dict[str, Values]:
    """Distance of each row to the fifth nearest of a bank, in units of the mean of that of ``data``.

    Args:
        bank: ``(M, C)``; every column is brought to a deviation of 1 over it.
        features: ``(N, C)`` by kind, ``data`` among them.
    """
    mean, deviation = bank.mean(0), np.maximum(bank.std(0), 1e-8)
    tree = cKDTree((bank - mean) / deviation)
    far = {name: tree.query((rows - mean) / deviation, k=[NEIGHBOUR])[0][:, 0] for name, rows in features.items()}
    unit = far["data"].mean()
    return {name: one / unit for name, one in far.items()}


def figures_of(values: Mapping[str, Mapping[str, Values]], seed: int) -> Json:
    """``rows``: means by kind and figure; ``gaps``: differences of means; each with its interval.

    Args:
        values: By kind and figure, one value a sample.
        seed: Of the resampling.
    """
    rows = {
        name: {figure: mean_of(found, seed) for figure, found in figures.items()} for name, figures in values.items()
    }
    gaps = {
        name: gap_of(values[first][figure], values[second][figure], seed, paired=paired)
        for name, figure, first, second, paired in GAPS
        if figure in values.get(first, {}) and figure in values.get(second, {})
    }
    return {"rows": rows, "gaps": gaps}


def mean_of(values: Values, seed: int) -> Json:
    """The mean with its interval.

    Example:
        >>> mean_of(np.array([1.0, 1.0]), 0)
        {'value': 1.0, 'ci95': [1.0, 1.0]}
    """
    return _told(float(values.mean()), _resampled(values, np.random.default_rng(seed)))


def gap_of(first: Values, second: Values, seed: int, *, paired: bool) -> Json:
    """First less second of two means, with its interval.

    Args:
        first: One value a sample.
        second: The same of another kind; where paired, of the same latents in the same order.
        seed: Of the resampling.
        paired: Whether samples belong together.
    """
    value = float(first.mean() - second.mean())
    rng = np.random.default_rng(seed)
    if paired:
        return _told(value, _resampled(first - second, rng))
    return _told(value, _resampled(first, rng) - _resampled(second, rng))


def _resampled(values: Values, rng: np.random.Generator) -> Values:
    means: Values = values[rng.integers(0, len(values), (SAMPLES, len(values)))].mean(1)
    return means


def _told(value: float, drawn: Values) -> Json:
    return {"value": value, "ci95": [float(one) for one in np.quantile(drawn, [0.025, 0.975])]}
