"""anomseg: anomaly segmentation for any segmentation network.

Frames flow through a segmenter into a detector, which answers with an anomaly map; maps flow into additive metric
states, pictures and files. The names below are imported when first used, so ``import anomseg`` is quick.

Example:
    >>> import anomseg
    >>> segmenter = anomseg.load_segmenter("bundled")
    >>> frame = anomseg.generated_frames(1, seed=3)[0]
    >>> prediction = anomseg.predict(frame.image(), segmenter, anomseg.create_detector("energy"))
    >>> prediction.anomaly_map.shape
    (360, 480)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from anomseg._version import __version__

if TYPE_CHECKING:
    from anomseg.data import load_frames
    from anomseg.data.generated import generate_scene, generated_frames
    from anomseg.detectors import Detector, create_detector, load_detector, save_detector
    from anomseg.errors import AnomsegError
    from anomseg.evaluation.evaluate import evaluate
    from anomseg.evaluation.shards import merge
    from anomseg.inference.directory import predict_to_directory
    from anomseg.inference.predict import predict
    from anomseg.inference.prediction import Prediction
    from anomseg.segmenters import Scene, SegmentationOutput, Segmenter, load_segmenter, make_scene, save_segmenter
    from anomseg.training import train
    from anomseg.types import Frame, Needs

_HOMES = {
    "AnomsegError": "anomseg.errors",
    "Detector": "anomseg.detectors",
    "Frame": "anomseg.types",
    "Needs": "anomseg.types",
    "Prediction": "anomseg.inference",
    "Scene": "anomseg.segmenters",
    "SegmentationOutput": "anomseg.segmenters",
    "Segmenter": "anomseg.segmenters",
    "create_detector": "anomseg.detectors",
    "evaluate": "anomseg.evaluation",
    "generate_scene": "anomseg.data.generated",
    "generated_frames": "anomseg.data.generated",
    "load_detector": "anomseg.detectors",
    "load_frames": "anomseg.data",
    "load_segmenter": "anomseg.segmenters",
    "make_scene": "anomseg.segmenters",
    "merge": "anomseg.evaluation",
    "predict": "anomseg.inference",
    "predict_to_directory": "anomseg.inference",
    "save_detector": "anomseg.detectors",
    "save_segmenter": "anomseg.segmenters",
    "train": "anomseg.training",
}

__all__ = [
    "AnomsegError",
    "Detector",
    "Frame",
    "Needs",
    "Prediction",
    "Scene",
    "SegmentationOutput",
    "Segmenter",
    "__version__",
    "create_detector",
    "evaluate",
    "generate_scene",
    "generated_frames",
    "load_detector",
    "load_frames",
    "load_segmenter",
    "make_scene",
    "merge",
    "predict",
    "predict_to_directory",
    "save_detector",
    "save_segmenter",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        # Not cached: `anomseg.predict` the function must not be shadowed by a submodule of that name later on.
        return getattr(import_module(_HOMES[name]), name)
    if name in ("scores", "metrics"):
        return import_module(f"anomseg.{name}")
    raise AttributeError(f"module 'anomseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "metrics", "scores"])
