"""The small frozen types that every floor of the package speaks in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

INLIER, ANOMALY, VOID = 0, 1, 255

UInt8Array = NDArray[np.uint8]
ArrayOrLoader = UInt8Array | Callable[[], UInt8Array] | None


@dataclass(frozen=True)
class Frame:
    """One image with whatever ground truth it has.

    Pixels are decoded on demand, so a list of a thousand frames is cheap.

    Attributes:
        id: Name of the frame, unique in its list; it seeds random detectors and names output files.
        image: Called without arguments it decodes to uint8 RGB, shape ``(H, W, 3)``.
        load_classes: The class map ``(H, W)`` uint8 (255 void) or a callable that decodes it; None without one.
        load_label: The anomaly label ``(H, W)`` uint8 (0 inlier, 1 anomaly, 255 void) or a callable that decodes
            it; None without ground truth (never zeros).
        group: Sequence or scene, the unit of resampling for intervals; the frame's own id when empty.
        meta: Anything else worth keeping, such as ``path`` (the image file).
    """

    id: str
    image: Callable[[], UInt8Array]
    load_classes: ArrayOrLoader = None
    load_label: ArrayOrLoader = None
    group: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """The resampling unit this frame belongs to."""
        return self.group or self.id

    @property
    def classes(self) -> UInt8Array | None:
        """The class map ``(H, W)`` uint8, decoded now; None without one."""
        return self.load_classes() if callable(self.load_classes) else self.load_classes

    @property
    def label(self) -> UInt8Array | None:
        """The anomaly label ``(H, W)`` uint8 in {0, 1, 255}, decoded now; None without ground truth."""
        return self.load_label() if callable(self.load_label) else self.load_label

    @property
    def has_label(self) -> bool:
        """Whether there is anomaly ground truth, answered without decoding."""
        return self.load_label is not None

    @property
    def has_classes(self) -> bool:
        """Whether there is a class map, answered without decoding."""
        return self.load_classes is not None


@dataclass(frozen=True)
class Needs:
    """What a detector asks of a segmenter, before any work.

    Attributes:
        logits: Per-pixel class logits are read.
        masks: Mask and class logits of a mask transformer are read.
        features: Names of the feature maps read.
        void: The network's void output is read.
        outlier_head: Its two-way inlier/outlier output is read.
        negative: Its negative class, learned from negative images by a mask transformer, is read.
        dropout: It is run again with dropout sampled.
        gradient: It is run again for a gradient with respect to the image.
        prototypes: Its logits are read as scaled cosines to one prototype a class.
    """

    logits: bool = True
    masks: bool = False
    features: tuple[str, ...] = ()
    void: bool = False
    outlier_head: bool = False
    negative: bool = False
    dropout: bool = False
    gradient: bool = False
    prototypes: bool = False

    @property
    def first_pass(self) -> bool:
        """Whether the plain pass over the image, which detectors share, is read."""
        read = (self.logits, self.masks, self.features, self.void, self.outlier_head, self.negative, self.prototypes)
        return any(read)

    @property
    def forward(self) -> bool:
        """Whether the network has to run at all."""
        return self.first_pass or self.dropout or self.gradient

    def capabilities(self) -> tuple[str, ...]:
        """What a segmenter has to provide, by name (see `Segmenter.provides`)."""
        named = {**vars(self), "features": bool(self.features)}
        return tuple(name for name, wanted in named.items() if wanted)

    def __or__(self, other: Needs) -> Needs:
        """The union of two requests."""
        flags = {name: vars(self)[name] or vars(other)[name] for name in vars(self) if name != "features"}
        return Needs(**flags, features=tuple(dict.fromkeys((*self.features, *other.features))))


@dataclass(frozen=True)
class Flags:
    """What every result card says about a detector.

    Attributes:
        uses_anomaly_labels: Labelled anomalies were used to choose or fit something.
        uses_negatives: Auxiliary negative images were used in training.
        forward_passes: Forward passes of the network per image.
        owns_network: The detector carries the network that it scores.
        needs_fit: It cannot score before ``fit``.
        bounded: The score lies in [0, 1] by construction, so the maximal detection margin is defined.
    """

    uses_anomaly_labels: bool = False
    uses_negatives: bool = False
    forward_passes: int = 1
    owns_network: bool = False
    needs_fit: bool = False
    bounded: bool = False


@dataclass(frozen=True)
class FeatureInfo:
    """Shape contract of one named feature map: its channels and its stride in input pixels."""

    channels: int
    stride: int


Measure = Literal["iou", "dice"]


@dataclass(frozen=True)
class FailurePrediction:
    """Where a segmentation is likely wrong, and how good it is for each class.

    Attributes:
        error_map: ``(B, H, W)``, or ``(B, D, H, W)`` of volumes, float32; higher = more likely wrong. None where single
            pixels are not judged.
        class_quality: ``(B, C)`` float32 in [0, 1]: the expected overlap of prediction and truth of each class, NaN
            where nothing is said of one. None where classes are not judged.
        measure: The overlap that ``class_quality`` estimates: intersection over union, or Dice.
    """

    error_map: Tensor | None
    class_quality: Tensor | None = None
    measure: Measure = "iou"
