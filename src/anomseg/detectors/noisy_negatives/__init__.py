"""Noisy negatives: a network that learned from pasted images of anything says inlier or outlier beside the class."""

from anomseg.detectors.noisy_negatives.detector import NoisyNegatives

__all__ = ["NoisyNegatives"]
