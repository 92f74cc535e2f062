"""Search of a bank of features: exact by chunked matrix products, approximate with FAISS."""

from anomseg.detectors.knn.search.base import NeighborIndex, recall
from anomseg.detectors.knn.search.build import build_index, engine_options
from anomseg.detectors.knn.search.exact import ExactIndex

__all__ = ["ExactIndex", "NeighborIndex", "build_index", "engine_options", "recall"]
