"""Dense nearest neighbours: DNP (``knn``) and its combination with a parametric score (``cdnp``)."""

from anomseg.detectors.knn.cdnp import CDNP
from anomseg.detectors.knn.dnp import KNN

__all__ = ["CDNP", "KNN"]
