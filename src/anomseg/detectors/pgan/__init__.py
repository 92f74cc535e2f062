"""PGAN-style reconstruction: prototypes of the known classes over several feature maps of any segmentation network."""

from anomseg.detectors.pgan.assignment import assign, moving_average, sinkhorn
from anomseg.detectors.pgan.detector import PGAN
from anomseg.detectors.pgan.extractor import PrototypeExtractor
from anomseg.detectors.pgan.hierarchy import Tree, find_tree, parent_prototypes
from anomseg.detectors.pgan.levels import level_names
from anomseg.detectors.pgan.losses import compactness_loss, contrast_loss, separation_loss
from anomseg.detectors.pgan.pooling import masked_average_pooling, spherical_kmeans
from anomseg.detectors.pgan.scoring import anomaly_of
from anomseg.detectors.pgan.similarity import prototype_distance_anomaly, similarities

__all__ = [
    "PGAN",
    "PrototypeExtractor",
    "Tree",
    "anomaly_of",
    "assign",
    "compactness_loss",
    "contrast_loss",
    "find_tree",
    "level_names",
    "masked_average_pooling",
    "moving_average",
    "parent_prototypes",
    "prototype_distance_anomaly",
    "separation_loss",
    "similarities",
    "sinkhorn",
    "spherical_kmeans",
]
