"""What an exported file says about itself: in its metadata, and in a JSON file beside it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from anomseg._version import __version__
from anomseg.detectors import Detector
from anomseg.export.graph import INPUTS, OUTPUTS
from anomseg.export.parity import Parity
from anomseg.inference.provenance import describe
from anomseg.segmenters import Segmenter, Size

SCHEMA = 1


def make_card(
    segmenter: Segmenter,
    detector: Detector,
    *,
    size: Size | None,
    any_batch: bool,
    threshold: float | None,
    parity: Parity,
    exporter: str,
    opset: int,
) -> dict[str, Any]:
    """Everything that a program needs to run the file and to say where it comes from, JSON-ready.

    Args:
        segmenter: The network.
        detector: The detector.
        size: ``(height, width)`` of the images; None for any.
        any_batch: The batch size is free; else it is 1.
        threshold: Default of the threshold; None where none was given.
        parity: The check of the graph.
        exporter: Which of PyTorch's exporters wrote it.
        opset: ONNX operator set.
    """
    axes = ["batch" if any_batch else 1, *(size or ("height", "width"))]
    about = describe(segmenter, detector)
    return {
        "schema": SCHEMA,
        "library": f"anomseg {__version__}",
        "inputs": {
            INPUTS[0]: {"dtype": "uint8", "shape": [axes[0], 3, *axes[1:]], "meaning": "RGB, 0 to 255"},
            INPUTS[1]: {"dtype": "float32", "shape": [], "meaning": "scores at or above it are anomalous"},
        },
        "outputs": {
            OUTPUTS[0]: {"dtype": "float32", "shape": axes, "meaning": "higher = more anomalous"},
            OUTPUTS[1]: {"dtype": "uint8", "shape": axes, "meaning": "1 = anomalous"},
            OUTPUTS[2]: {
                "dtype": "uint8" if len(segmenter.classes) <= 256 else "int32",
                "shape": axes,
                "meaning": "index into classes",
            },
        },
        "resize": "Pillow BILINEAR on uint8 to the height and width of the input" if size else None,
        "size": list(size) if size else None,
        "threshold": threshold,
        "classes": list(segmenter.classes),
        "palette": [list(colour) for colour in segmenter.palette],
        "detector": about["detector"],
        "segmenter": about["segmenter"],
        "parity": dataclasses.asdict(parity),
        "exporter": exporter,
        "opset": opset,
    }


def write_metadata(model: Any, card: dict[str, Any]) -> None:
    """Put a card into an ``onnx.ModelProto``: one entry for each of its fields, its value as JSON."""
    del model.metadata_props[:]
    for key, value in card.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    model.producer_name, model.producer_version = "anomseg", __version__
