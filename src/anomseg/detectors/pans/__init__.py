"""PAnS: a pixel is anomalous where its feature is unlike every class prototype of a cosine classifier."""

from anomseg.detectors.pans.detector import PAnS
from anomseg.detectors.scales import PUBLISHED, scaled_sizes

__all__ = ["PUBLISHED", "PAnS", "scaled_sizes"]
