"""A convolutional Real NVP for patches of several sizes."""

from anomseg.detectors.synthetic_outliers.flow.affine import affine, affine_inverse, bits_of, normal_log_density
from anomseg.detectors.synthetic_outliers.flow.coupling import AffineCoupling, Chain, ResidualConditioner
from anomseg.detectors.synthetic_outliers.flow.layout import latent_shapes
from anomseg.detectors.synthetic_outliers.flow.pixels import dequantise, from_logits, to_logits
from anomseg.detectors.synthetic_outliers.flow.real_nvp import FlowDivergedError, RealNVP
from anomseg.detectors.synthetic_outliers.flow.saved import flow_meta, is_flow_directory, load_flow, save_flow

__all__ = [
    "AffineCoupling",
    "Chain",
    "FlowDivergedError",
    "RealNVP",
    "ResidualConditioner",
    "affine",
    "affine_inverse",
    "bits_of",
    "dequantise",
    "flow_meta",
    "from_logits",
    "is_flow_directory",
    "latent_shapes",
    "load_flow",
    "normal_log_density",
    "save_flow",
    "to_logits",
]
