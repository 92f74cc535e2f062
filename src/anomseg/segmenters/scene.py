"""A scene: what a detector is given. It remembers forward passes and upsampled tensors, so detectors share work."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.types import UInt8Array

Value = TypeVar("Value")


class Scene:
    """A batch of prepared images with everything a detector may ask of them.

    All images of a scene share their prepared shape; `by_image_size` splits a scene whose images differ in
    their own size without running the network again.

    Args:
        images: ``(B, 3, h, w)`` float in [0, 1], prepared by the segmenter.
        frame_ids: One id an image.
        image_sizes: ``(H, W)`` of each original image.
        segmenter: The network; None where no detector needs one.
        input_size: ``(height, width)`` of the prepared images before padding.
        features: Feature maps that the first pass computes.
        output: A pass that was already made, or a function that gives it when it is first asked for.
    """

    def __init__(
        self,
        images: Tensor,
        frame_ids: Sequence[str],
        image_sizes: Sequence[Size],
        segmenter: Segmenter | None = None,
        *,
        input_size: Size | None = None,
        features: Sequence[str] = (),
        output: SegmentationOutput | Callable[[], SegmentationOutput] | None = None,
    ) -> None:
        self.images = images
        self.frame_ids = tuple(frame_ids)
        self.image_sizes = tuple(image_sizes)
        self.segmenter = segmenter
        self.features = tuple(features)
        self.input_size: Size = input_size or (images.shape[-2], images.shape[-1])
        self._output = output
        self._upsampled: dict[str, Tensor] = {}
        self._remembered: dict[Hashable, Any] = {}

    @property
    def output(self) -> SegmentationOutput:
        """The first, gradient-free pass over the images; made when first asked for, then remembered.

        Raises:
            CompatibilityError: There is no segmenter.
        """
        if self._output is None:
            self._output = self.forward(features=self.features)
        elif callable(self._output):
            self._output = self._output()
        return self._output

    def feature_maps(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps without gradients: those of the first pass where it was made already, else no more than them.

        The first pass is not made for their sake, so that a network which can do without its classifier does.

        Args:
            names: Names of feature maps.

        Returns:
            ``{name: (B, D, h, w)}`` over the padded input.

        Raises:
            CompatibilityError: There is no segmenter.
        """
        if isinstance(self._output, SegmentationOutput) and all(name in self._output.features for name in names):
            return {name: self._output.features[name] for name in names}
        return self.remembered(("feature maps", *names), partial(self._feature_maps, tuple(names)))

    def _feature_maps(self, names: Sequence[str]) -> dict[str, Tensor]:
        with self._evaluating() as segmenter, torch.no_grad():
            return segmenter.feature_maps(self.images, names)

    @contextmanager
    def _evaluating(self) -> Iterator[Segmenter]:
        """The network in evaluation mode; it is put back into its own at the end."""
        if self.segmenter is None:
            raise CompatibilityError("this scene has no network; give a segmenter")
        was_training = self.segmenter.training
        self.segmenter.eval()
        try:
            yield self.segmenter
        finally:
            self.segmenter.train(was_training)

    @property
    def image_size(self) -> Size:
        """``(H, W)`` that all images of this scene share.

        Raises:
            CompatibilityError: They differ; split the scene with `by_image_size`.
        """
        if len(set(self.image_sizes)) != 1:
            raise CompatibilityError("images of this scene differ in size; score each part of scene.by_image_size()")
        return self.image_sizes[0]

    def forward(
        self,
        images: Tensor | None = None,
        *,
        size: Size | None = None,
        grad: bool = False,
        dropout: bool = False,
        features: Sequence[str] = (),
    ) -> SegmentationOutput:
        """Run the network once more, for methods that need other passes than the first.

        Args:
            images: ``(B, 3, h, w)`` in [0, 1]; the scene's own when not given. Those of the scene's prepared shape
                are padded as its own are.
            size: Resize the images, without their padding, to ``(height, width)`` first, then pad them anew.
            grad: Keep the graph for gradients.
            dropout: Sample dropout layers as in training, all else as in evaluation.
            features: Names of feature maps to return.

        Returns:
            The output of this pass.

        Raises:
            CompatibilityError: There is no segmenter.
        """
        if self.segmenter is None:
            raise CompatibilityError("this scene has no network; give a segmenter")
        batch = self.images if images is None else images
        input_size = self.input_size if batch.shape[-2:] == self.images.shape[-2:] else None
        if size is not None:
            if input_size is not None:
                batch = batch[..., : input_size[0], : input_size[1]]
            batch = nn.functional.interpolate(batch, size=size, mode="bilinear", align_corners=False)
            batch, input_size = self.segmenter.pad(batch), size
        with self._evaluating() as segmenter, torch.set_grad_enabled(grad):
            if dropout:
                for module in segmenter.modules():
                    if isinstance(module, nn.modules.dropout._DropoutNd):
                        module.train()
            return segmenter(batch, features=features, input_size=input_size)

    def logits(self) -> Tensor:
        """Logits of the first pass at the images' own size, ``(B, C, H, W)`` float32, upsampled once."""
        return self.upsampled("logits", lambda: self.output.logits)

    def prediction(self) -> Tensor:
        """Predicted class of each pixel at the images' own size, ``(B, H, W)`` int64.

        Raises:
            CompatibilityError: The network has no classes.
        """
        if "prediction" not in self._upsampled:
            logits = self.logits()
            if logits.shape[1] == 0:
                raise CompatibilityError("a backbone has no classes to predict; use a segmentation network")
            self._upsampled["prediction"] = logits.argmax(1)
        return self._upsampled["prediction"]

    def upsampled(self, key: str, maps: Callable[[], Tensor]) -> Tensor:
        """Maps ``(B, K, h, w)`` over the padded input, brought to the images' own size once under ``key``."""
        if key not in self._upsampled:
            self._upsampled[key] = self.resize(maps())
        return self._upsampled[key]

    def remembered(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What ``make`` gives, made once: for detectors that can share costly work of their own, under a ``key``."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return self._remembered[key]

    def resize(self, maps: Tensor) -> Tensor:
        """Bring maps ``(B, K, h, w)`` over the padded input to the images' own size, ``(B, K, H, W)`` float32."""
        frame = SegmentationOutput(maps, (self.images.shape[-2], self.images.shape[-1]), self.input_size)
        return frame.upsample(maps.to(torch.float32), self.image_size)

    def by_image_size(self) -> Iterable[tuple[list[int], Scene]]:
        """Split into scenes of one image size each, sharing this scene's pass.

        Yields:
            Rows of this batch, and the scene that holds them.
        """
        for size in dict.fromkeys(self.image_sizes):
            rows = [row for row, other in enumerate(self.image_sizes) if other == size]
            if len(rows) == len(self.image_sizes):
                yield rows, self
                continue
            yield (
                rows,
                Scene(
                    self.images[rows],
                    [self.frame_ids[row] for row in rows],
                    [size] * len(rows),
                    self.segmenter,
                    input_size=self.input_size,
                    features=self.features,
                    output=self._part(rows),
                ),
            )

    def _part(self, rows: Sequence[int]) -> SegmentationOutput | Callable[[], SegmentationOutput] | None:
        if isinstance(self._output, SegmentationOutput):
            return self._output.select(rows)
        return partial(self._select, rows) if self.segmenter is not None else None

    def _select(self, rows: Sequence[int]) -> SegmentationOutput:
        return self.output.select(rows)


def make_scene(
    images: Sequence[UInt8Array],
    frame_ids: Sequence[str],
    segmenter: Segmenter | None = None,
    *,
    size: Size | None = None,
    features: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> Scene:
    """Prepare images and wrap them in a scene; they must share their prepared shape.

    Args:
        images: uint8 RGB arrays ``(H, W, 3)``; their own sizes may differ if the working size is fixed.
        frame_ids: One id an image.
        segmenter: The network; without one the images stay at their own size.
        size: Working size that overrides the segmenter's.
        features: Feature maps that the first pass computes.
        device: Where the pass runs.

    Raises:
        CompatibilityError: The prepared images differ in shape.
    """
    preparer = segmenter if segmenter is not None else Segmenter((), size=size)
    sizes: list[Size] = [(image.shape[0], image.shape[1]) for image in images]
    working = {preparer.working_size(image_size, size) for image_size in sizes}
    if len(working) != 1:
        raise CompatibilityError("these images prepare to different shapes; batch only images of one working size")
    batch = torch.stack([preparer.prepare(image, size) for image in images]).to(device)
    return Scene(batch, frame_ids, sizes, segmenter, input_size=working.pop(), features=features)
