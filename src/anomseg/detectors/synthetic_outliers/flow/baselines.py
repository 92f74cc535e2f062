"""What a density is worth: bits per dimension of coders that see single pixels only."""

from __future__ import annotations

import numpy as np

from anomseg.types import UInt8Array


def histogram_bits(fitted: UInt8Array, coded: UInt8Array) -> float:
    """Bits that a channel takes under the histogram of that channel, every level counted once more than seen.

    Args:
        fitted: ``(N, C)`` pixels that the histograms are of.
        coded: ``(M, C)`` pixels that are coded.

    Example:
        >>> grey = np.arange(256, dtype=np.uint8)[:, None]
        >>> histogram_bits(grey, grey)
        8.0
    """
    bits = []
    for known, told in zip(fitted.T, coded.T, strict=True):
        counts = np.bincount(known, minlength=256) + 1
        bits.append(-np.log2(counts / counts.sum())[told].mean())
    return float(np.mean(bits))


def gaussian_bits(fitted: UInt8Array, coded: UInt8Array) -> float:
    """Bits that a channel takes under one Gaussian of a pixel's channels, levels spread evenly over their width.

    Args:
        fitted: ``(N, C)`` pixels whose mean and covariance it has.
        coded: ``(M, C)`` pixels that are coded.
    """
    known, told = fitted.astype(np.float64) + 0.5, coded.astype(np.float64) + 0.5
    channels = known.shape[1]
    spread = np.eye(channels) / 12  # the covariance of a level spread over its width
    covariance = np.atleast_2d(np.cov(known.T)) + spread
    precision, offsets = np.linalg.inv(covariance), told - known.mean(0)
    distance = np.trace(precision @ (offsets.T @ offsets / len(offsets) + spread))
    nats = 0.5 * (distance + np.linalg.slogdet(covariance)[1] + channels * np.log(2 * np.pi))
    return float(nats / np.log(2) / channels)
