"""`predict`: images of any kind in, predictions out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anomseg.detectors.base import Detector
from anomseg.errors import FrameError
from anomseg.inference.assessment import FailureAssessment
from anomseg.inference.image_predictor import ImagePredictor
from anomseg.inference.loading import Prefetch
from anomseg.inference.prediction import Prediction
from anomseg.inference.roi import load_roi
from anomseg.inference.sources import ImageLike, Source, is_single, single_source, sources_of
from anomseg.inference.tasks import Task, make_predictor
from anomseg.segmenters.base import Segmenter, Size
from anomseg.types import Frame, UInt8Array

Result = TypeVar("Result")
Decoded = tuple[UInt8Array, dict[str, Any]]


@overload
def predict(
    inputs: np.ndarray | Image.Image | Tensor | Frame,
    segmenter: Segmenter | None,
    detector: Detector,
    *,
    batch_size: int = ...,
    size: Size | None = ...,
    device: str | torch.device | None = ...,
    roi: str | Path | np.ndarray | None = ...,
    seed: int = ...,
    threshold: float | None = ...,
    task: Literal["anomaly"] = ...,
) -> Prediction: ...


@overload
def predict(
    inputs: np.ndarray | Image.Image | Tensor | Frame,
    segmenter: Segmenter | None,
    detector: Detector,
    *,
    batch_size: int = ...,
    size: Size | None = ...,
    device: str | torch.device | None = ...,
    roi: str | Path | np.ndarray | None = ...,
    seed: int = ...,
    threshold: float | None = ...,
    task: Literal["failure"],
) -> FailureAssessment: ...


@overload
def predict(
    inputs: Any,
    segmenter: Segmenter | None,
    detector: Detector,
    *,
    batch_size: int = ...,
    size: Size | None = ...,
    device: str | torch.device | None = ...,
    roi: str | Path | np.ndarray | None = ...,
    seed: int = ...,
    threshold: float | None = ...,
    on_error: Callable[[str, FrameError], None] | None = ...,
    task: Task = ...,
) -> Any: ...


def predict(
    inputs: ImageLike | Iterable[ImageLike],
    segmenter: Segmenter | None,
    detector: Detector,
    *,
    batch_size: int = 1,
    size: Size | None = None,
    device: str | torch.device | None = None,
    roi: str | Path | np.ndarray | None = None,
    seed: int = 0,
    threshold: float | None = None,
    on_error: Callable[[str, FrameError], None] | None = None,
    task: Task = "anomaly",
) -> Any:
    """Score one image, or many.

    Args:
        inputs: One path, array ``(H, W, 3)`` (uint8, or float in [0, 1]), Pillow image, tensor ``(3, H, W)`` or
            `Frame` gives one prediction. A list or iterator of those, or a path that names a folder, a glob or a
            list of paths, gives an iterator. Sizes may be mixed.
        segmenter: The network; None for a detector that needs none or carries its own.
        detector: Ready to score.
        batch_size: Images scored together, where consecutive ones share a working size.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: ``"cpu"``, ``"cuda"``, ``"auto"``; None leaves the network where it is.
        roi: Mask file or array; scores count where it is non-zero (resized to each image by nearest neighbour).
        seed: For detectors with random passes; the result does not depend on the order of images.
        threshold: Score from which a pixel is an anomaly, for `Prediction.mask` and `Prediction.open_set`; it can as
            well be given there.
        on_error: Called with the name and the reason of an image that cannot be used, which is then left out;
            without it the error is raised.
        task: ``anomaly``: what is anomalous; ``failure``: where the network's own segmentation is likely wrong, and
            how good it is for each class, as a `FailureAssessment` with ``error_map`` and ``class_quality``.

    Returns:
        A prediction (an assessment in the task ``failure``), or an iterator of them in the order given.

    Raises:
        FrameError: An image cannot be used, or its scores hold NaN or infinity.
        DataError: A path does not exist.
        CompatibilityError: The detector does not fit the segmenter.
    """
    predictor: ImagePredictor[Any, Any] = make_predictor(
        task, segmenter, detector, size=size, device=device, roi=load_roi(roi), seed=seed, threshold=threshold
    )
    if is_single(inputs):
        source = single_source(inputs)  # type: ignore[arg-type]
        image, about = decode(source)
        return raised(predictor.run([source], [image], [about])[0])
    many: Iterable[Any] = [inputs] if isinstance(inputs, (str, Path)) else inputs  # type: ignore[assignment]
    return _predictions(predictor, sources_of(many), batch_size, on_error)


def _predictions(
    predictor: ImagePredictor[Any, Result],
    sources: Iterable[Source],
    batch_size: int,
    on_error: Callable[[str, FrameError], None] | None,
) -> Iterator[Result]:
    with closing(stream(predictor, sources, batch_size)) as results:
        for source, result in results:
            if isinstance(result, FrameError) and on_error is not None:
                on_error(source.name, result)
            else:
                yield raised(result)


def stream(
    predictor: ImagePredictor[Any, Result], sources: Iterable[Source], batch_size: int = 1
) -> Generator[tuple[Source, Result | FrameError]]:
    """Decode ahead, batch what shares a working size, score.

    Memory holds two batches of images, however many there are.

    Args:
        predictor: Network and detector.
        sources: The images.
        batch_size: Most images scored together.

    Yields:
        Each source with its result, or with the reason why it has none, in order.
    """
    with Prefetch(sources, decode, depth=max(2, batch_size)) as decoded:
        batch: list[tuple[Source, Decoded]] = []
        for source, loaded in decoded:
            if isinstance(loaded, FrameError):
                yield from _flush(predictor, batch)
                yield source, loaded
                batch = []
                continue
            if batch and predictor.working_size(batch[0][1][0]) != predictor.working_size(loaded[0]):
                yield from _flush(predictor, batch)
                batch = []
            batch.append((source, loaded))
            if len(batch) >= batch_size:
                yield from _flush(predictor, batch)
                batch = []
        yield from _flush(predictor, batch)


def _flush(
    predictor: ImagePredictor[Any, Result], batch: list[tuple[Source, Decoded]]
) -> Iterator[tuple[Source, Result | FrameError]]:
    if batch:
        sources = [source for source, _ in batch]
        results = predictor.run(sources, [image for _, (image, _) in batch], [about for _, (_, about) in batch])
        yield from zip(sources, results, strict=True)


def decode(source: Source) -> Decoded:
    """The pixels of a source, and the path and hash of its file.

    Raises:
        FrameError: It cannot be read.
    """
    return source.load(), source.describe()


def raised(result: Result | FrameError) -> Result:
    """The result, or its error raised."""
    if isinstance(result, FrameError):
        raise result
    return result
