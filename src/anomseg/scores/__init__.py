"""Pure score functions: tensors in, tensor out, higher = more anomalous (divergences excepted, as they say)."""

from anomseg.scores.calibration import expected_calibration_error, fit_temperature, negative_log_likelihood
from anomseg.scores.cosine import StreamedCosine, feature_cosine
from anomseg.scores.discrepancy import feature_discrepancy
from anomseg.scores.features import gaussian_mixture, mahalanobis, mahalanobis_whitened, whitening_of
from anomseg.scores.heads import dense_hybrid, outlier_head
from anomseg.scores.logits import check_logits, energy, entropy, js_to_uniform, kl_from_uniform, max_logit, msp
from anomseg.scores.maskomaly import QueryRoles, maskomaly, maskomaly_resized, query_roles
from anomseg.scores.masks import eam, mask_semantic, rba, uno
from anomseg.scores.neighbors import combine_dnp, knn_distance
from anomseg.scores.odin import odin_perturb, odin_score
from anomseg.scores.prototypes import cosine_logits, prototype_anomaly
from anomseg.scores.query_overlap import QueryOverlap, fit_anomaly_queries, fit_ground_queries
from anomseg.scores.standardized import (
    class_boundaries,
    dilated_smoothing,
    sml_suppress_and_smooth,
    standardized_max_logit,
    suppress_boundaries,
)
from anomseg.scores.synthcp import synthcp_gate
from anomseg.scores.uncertainty import (
    PredictionMean,
    PredictionSummary,
    mutual_information,
    predictive_entropy,
    probability_entropy,
)

__all__ = [
    "PredictionMean",
    "PredictionSummary",
    "QueryOverlap",
    "QueryRoles",
    "StreamedCosine",
    "check_logits",
    "class_boundaries",
    "combine_dnp",
    "cosine_logits",
    "dense_hybrid",
    "dilated_smoothing",
    "eam",
    "energy",
    "entropy",
    "expected_calibration_error",
    "feature_cosine",
    "feature_discrepancy",
    "fit_anomaly_queries",
    "fit_ground_queries",
    "fit_temperature",
    "gaussian_mixture",
    "js_to_uniform",
    "kl_from_uniform",
    "knn_distance",
    "mahalanobis",
    "mahalanobis_whitened",
    "mask_semantic",
    "maskomaly",
    "maskomaly_resized",
    "max_logit",
    "msp",
    "mutual_information",
    "negative_log_likelihood",
    "odin_perturb",
    "odin_score",
    "outlier_head",
    "predictive_entropy",
    "probability_entropy",
    "prototype_anomaly",
    "query_roles",
    "rba",
    "sml_suppress_and_smooth",
    "standardized_max_logit",
    "suppress_boundaries",
    "synthcp_gate",
    "uno",
    "whitening_of",
]
