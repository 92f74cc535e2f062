"""A segmenter and a detector as one ONNX file, checked against PyTorch before it is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from anomseg.detectors import Detector, segmenter_matches
from anomseg.detectors.base import network_of
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.export.card import make_card, write_metadata
from anomseg.export.graph import DetectorGraph
from anomseg.export.parity import Parity, compare, random_pictures
from anomseg.export.writing import DYNAMO_OPSET, Exporter, write_graph
from anomseg.files import write_bytes, write_json
from anomseg.segmenters import Segmenter, Size
from anomseg.segmenters.base import check_sides
from anomseg.segmenters.onnx_session import import_runtime, open_session, reason_of
from anomseg.types import UInt8Array

DEFAULT_OPSET = 18
OPSETS = range(13, 24)
TRACED_SIZE = (97, 149)
"""Of graphs that take any size: primes, so that the padding and its cropping are traced whatever the divisor."""


@dataclass(frozen=True)
class Exported:
    """What `export_onnx` wrote.

    Attributes:
        path: The ONNX file.
        card_path: The JSON file beside it.
        card: Its content; see `make_card`.
        parity: How far the graph is from PyTorch.
        notes: What a user should know: a fallback that was taken, a detector fitted elsewhere.
    """

    path: Path
    card_path: Path
    card: dict[str, Any]
    parity: Parity
    notes: tuple[str, ...] = ()


def export_onnx(
    segmenter: Segmenter | None,
    detector: Detector,
    path: str | Path,
    *,
    size: Size | None = None,
    dynamic: bool = False,
    threshold: float | None = None,
    opset: int = DEFAULT_OPSET,
    images: Sequence[UInt8Array] = (),
    tolerance: float = 1e-4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write one graph that takes uint8 images and a threshold and gives anomaly map, mask and class map.

    Padding, scaling, normalisation, the network, the detector and the way back to the input's size are inside. The
    graph runs at the size of its input: bring images to the working size first, as `Segmenter.prepare` does.

    The dynamo exporter is tried first, then TorchScript. Either one's graph must say what PyTorch says on random
    pictures (of several sizes where ``dynamic``) and on those given; one that does not is not written.

    Args:
        segmenter: A network in PyTorch; may be None where the detector owns one.
        detector: Ready to score, from one plain forward pass.
        path: The file, replaced if there; its card goes to ``path + ".json"``.
        size: ``(height, width)`` of the input; the network's working size when not given.
        dynamic: Leave height and width free.
        threshold: Default that the card names; the graph takes any.
        opset: ONNX operator set.
        images: Further pictures ``(H, W, 3)`` uint8 to compare on.
        tolerance: Allowed difference, as a share of the larger of 1 and the largest score.
        seed: Of the random pictures.
        progress: Called with pictures compared and all of them.

    Returns:
        What was written.

    Raises:
        ConfigError: An option cannot be used, or the extra ``[export]`` is not installed.
        CompatibilityError: This network or detector cannot be one graph, or the graph says something else.
        DataError: The file cannot be written.
    """
    onnx, _ = import_runtime()
    target = Path(path)
    network = _check_request(network_of(detector, segmenter), detector, target, opset, threshold, tolerance)
    working = _size_of(network, size, dynamic)
    batches = [*_pictures(working, seed), *([_fitted(image, working)] for image in images)]
    notes = [note for note in (segmenter_matches(detector, network, working),) if note]
    was_training, device = network.training, next((p.device for p in network.parameters()), torch.device("cpu"))
    network.eval().cpu()
    try:
        model, parity, exporter, any_batch, failed = _first_that_agrees(
            network, detector, working, opset, batches, tolerance, progress
        )
    finally:
        network.train(was_training).to(device)
    notes += failed
    card = make_card(
        network,
        detector,
        size=working,
        any_batch=any_batch,
        threshold=threshold,
        parity=parity,
        exporter=exporter,
        opset=opset,
    )
    write_metadata(model, card)
    onnx.checker.check_model(model)
    card_path = target.with_name(target.name + ".json")
    write_bytes(target, model.SerializeToString())
    try:
        write_json(card_path, card)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Exported(target, card_path, card, parity, tuple(notes))


def _check_request(
    segmenter: Segmenter | None,
    detector: Detector,
    target: Path,
    opset: int,
    threshold: float | None,
    tolerance: float,
) -> Segmenter:
    name = detector.registry_name
    if opset not in OPSETS:
        raise ConfigError(f"opset must be from {OPSETS.start} to {OPSETS.stop - 1}, got {opset}")
    if threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"threshold must be a finite number, got {threshold}")
    if not 0 < tolerance < math.inf:
        raise ConfigError(f"tolerance must be a number above 0, such as 1e-4, got {tolerance}")
    if target.is_dir():
        raise DataError(f"{target} is a directory; give the name of the file to write, such as {target / 'model.onnx'}")
    if segmenter is None:
        raise ConfigError(f"{name} owns no network; give a segmenter")
    if segmenter.registry_name == "onnx":
        raise CompatibilityError("this network is an ONNX graph already; export needs it in PyTorch")
    if not detector.needs(segmenter).forward:
        raise CompatibilityError(f"{name} reads no network, so there is nothing to export")
    if detector.uses_gradients or detector.forward_passes != 1:
        why = "gradients" if detector.uses_gradients else f"{detector.forward_passes} forward passes"
        raise CompatibilityError(f"{name} needs {why}, and one graph holds one plain pass; export another detector")
    if "logits" not in segmenter.provides:
        raise CompatibilityError(f"{segmenter.registry_name} gives no class logits, so the graph would have no classes")
    detector.require_fitted()
    return segmenter


def _size_of(segmenter: Segmenter, size: Size | None, dynamic: bool) -> Size | None:
    if dynamic and size:
        raise ConfigError("a size and dynamic sizes exclude each other; give one of them")
    if dynamic:
        return None
    check_sides(size, 1)
    if size is None and segmenter.size is None:
        raise ConfigError("this network has no working size of its own; give --size HEIGHTxWIDTH or --dynamic")
    return size or segmenter.size


def _pictures(size: Size | None, seed: int) -> list[list[UInt8Array]]:
    """Batches of random pictures; the last two show whether batch and sizes are as free as they should be."""
    if size is not None:
        return [[picture] for picture in random_pictures(size, 2, seed)] + [random_pictures(size, 2, seed + 1)]
    sizes = [TRACED_SIZE, (128, 131), (200, 64), (256, 320)]
    batches = [random_pictures(one, 1, seed + index) for index, one in enumerate(sizes)]
    return [*batches, random_pictures((64, 128), 2, seed + len(sizes))]


def _fitted(image: UInt8Array, size: Size | None) -> UInt8Array:
    if size is None or image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _first_that_agrees(
    segmenter: Segmenter,
    detector: Detector,
    size: Size | None,
    opset: int,
    batches: Sequence[Sequence[UInt8Array]],
    tolerance: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[Any, Parity, Exporter, bool, list[str]]:
    """The first graph that says what PyTorch says, its exporter, whether its batch is free, and notes."""
    graph = DetectorGraph(segmenter, detector, size).eval()
    exporters: list[Exporter] = ["dynamo", "torchscript"] if opset >= DYNAMO_OPSET else ["torchscript"]
    failures: dict[Exporter, str] = {}
    for exporter in exporters:
        for any_batch in (True, False) if size else (True,):
            # Exporters take a side of length 1 for a constant, so a free batch is traced with two images.
            pictures = random_pictures(size or TRACED_SIZE, 2 if any_batch else 1)
            example = (torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy()), torch.tensor(0.0))
            # A graph for single images is compared on single images.
            compared = batches if any_batch else [[image] for batch in batches for image in batch]
            try:
                model = write_graph(graph, example, exporter, opset, any_batch=any_batch, any_size=size is None)
                session = open_session(model.SerializeToString())
                parity = compare(session, segmenter, detector, compared, tolerance, progress)
                parity.check()
            except Exception as error:  # exporters raise anything
                failures[exporter] = reason_of(error)
                continue
            notes = (
                [f"the {exporters[0]} exporter failed, {exporter} wrote the graph"] if exporter != exporters[0] else []
            )
            return model, parity, exporter, any_batch, notes + ([] if any_batch else ["the batch size is fixed to 1"])
    advice = "" if size else "; at a fixed size it may work: give --size HEIGHTxWIDTH in place of --dynamic"
    name = f"{segmenter.title or segmenter.registry_name} with {detector.registry_name}"
    reason = f"{exporters[0]}: {failures[exporters[0]]}"
    raise CompatibilityError(f"{name} cannot be written as one ONNX graph ({reason}){advice}")
