"""The segmenter contract: an image goes in, logits (and whatever else the network provides) come out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.errors import CompatibilityError, ConfigError, unknown_name
from anomseg.types import FeatureInfo, UInt8Array

Size = tuple[int, int]


@dataclass(frozen=True)
class SegmentationOutput:
    """What one forward pass gives.

    Attributes:
        logits: ``(B, C, h, w)`` float, before softmax, over the padded input.
        features: ``{name: (B, D, h', w')}`` for the names that were asked for.
        mask_logits: ``(B, Q, h, w)`` of a mask transformer, else None.
        class_logits: ``(B, Q, C + 1)``, the no-object column last, else None.
        negative_class_logits: ``(B, Q, 1)`` where a mask transformer has learned a negative class, else None.
        void_logits: ``(B, 1, h, w)`` where the network has a void output, else None.
        outlier_logits: ``(B, 2, h, w)``, inlier then outlier, where the network has such a head, else None.
        derived: The logits were computed from masks, not by a per-pixel head.
        padded_size: ``(height, width)`` of the batch that went in.
        input_size: ``(height, width)`` before padding.
    """

    logits: Tensor
    padded_size: Size
    input_size: Size
    features: Mapping[str, Tensor] = field(default_factory=dict)
    mask_logits: Tensor | None = None
    class_logits: Tensor | None = None
    negative_class_logits: Tensor | None = None
    void_logits: Tensor | None = None
    outlier_logits: Tensor | None = None
    derived: bool = False

    def upsample(self, maps: Tensor, size: Size) -> Tensor:
        """Bring maps over the padded input to an image's own size.

        Bilinear without aligned corners. Padding is cropped after upsampling to the padded size, so that the
        map is not squeezed.

        Args:
            maps: ``(B, K, h, w)`` float, covering the padded input.
            size: ``(H, W)`` of the image.

        Returns:
            ``(B, K, H, W)`` float.
        """
        if self.padded_size != self.input_size:
            maps = _resize(maps, self.padded_size)[..., : self.input_size[0], : self.input_size[1]]
        return _resize(maps, size)

    def select(self, rows: Sequence[int]) -> SegmentationOutput:
        """The same output for some images of the batch."""
        index = list(rows)

        def pick(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[index]

        return replace(
            self,
            logits=self.logits[index],
            features={name: tensor[index] for name, tensor in self.features.items()},
            mask_logits=pick(self.mask_logits),
            class_logits=pick(self.class_logits),
            negative_class_logits=pick(self.negative_class_logits),
            void_logits=pick(self.void_logits),
            outlier_logits=pick(self.outlier_logits),
        )


def check_sides(size: Sequence[int] | None, divisor: int) -> None:
    """Refuse a working size or a divisor that no image can be brought to.

    Raises:
        ConfigError: A side or the divisor is below 1.
    """
    if divisor < 1 or (size and (len(size) != 2 or min(size) < 1)):
        raise ConfigError(
            f"a working size is (height, width) and a divisor one number, 1 or more: got {size} and {divisor}"
        )


def _resize(maps: Tensor, size: Size) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if maps.shape[1] == 0:  # logits of a backbone without classes; interpolation takes no empty tensor
        return maps.new_zeros(len(maps), 0, *size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


class Segmenter(nn.Module):
    """A semantic-segmentation network behind one contract.

    Subclasses implement `segment`; everything else is here.

    Args:
        classes: Class names, in the order of the logits.
        palette: One RGB triple (0..255) a class; made up where not given.
        size: Working size ``(height, width)`` that images are stretched to; None keeps each image's own size.
        divisor: The input is padded (edge values, right and bottom) to a multiple of it.

    Raises:
        ConfigError: A size or divisor below 1, or colours that are not one RGB triple a class.
    """

    registry_name: ClassVar[str] = "module"
    void: bool = False
    """Whether the network has one output more than classes, its last, which says void."""
    random_weights: bool = False
    """Whether a kind of network that comes with weights was filled at random instead; training takes this off."""

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = None,
        divisor: int = 1,
    ) -> None:
        super().__init__()
        check_sides(size, divisor)
        if palette and (len(palette) != len(classes) or any(len(colour) != 3 for colour in palette)):
            raise ConfigError(f"the palette is one RGB triple for each of the {len(classes)} classes, or left out")
        self.classes = tuple(classes)
        self.palette = tuple(tuple(colour) for colour in palette) if palette else default_palette(len(self.classes))
        self.size: Size | None = (int(size[0]), int(size[1])) if size else None
        self.divisor = divisor
        self.least = 1  # smallest side that the network takes, in multiples of the divisor
        self.title: str | None = None  # what cards call it, where that is not the name of its architecture
        self.origin: Mapping[str, object] = {}  # what its training started from, where its directory says so

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Feature maps that can be asked for, with their channels and stride."""
        return {}

    @property
    def has_features(self) -> bool:
        """Whether any feature map can be asked for; subclasses override it where listing them all takes work."""
        return bool(self.feature_info)

    @property
    def provides(self) -> frozenset[str]:
        """What detectors may ask of this network, by the names of the fields of `Needs`.

        Here: ``logits`` where there are classes, ``gradient``, ``features`` where some are named, ``dropout`` where
        a layer of it drops anything, ``void`` where its last output is void. Subclasses add ``masks``,
        ``outlier_head`` and ``negative``, or take ``gradient`` off.
        """
        found = {"gradient"}
        if self.classes:
            found.add("logits")
        if self.has_features:
            found.add("features")
        if any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in self.modules()):
            found.add("dropout")
        if self.void:
            found.add("void")
        return frozenset(found)

    def split_void(self, outputs: Tensor, batch: Tensor, features: Mapping[str, Tensor]) -> SegmentationOutput:
        """What a per-pixel network of this many outputs gives, for `segment`.

        Args:
            outputs: ``(B, C, h, w)``, or ``(B, C + 1, h, w)`` where the last is `void`.
            batch: What went in.
            features: The feature maps asked for.
        """
        size, count = (batch.shape[-2], batch.shape[-1]), outputs.shape[1] - int(self.void)
        return SegmentationOutput(
            logits=outputs[:, :count],
            padded_size=size,
            input_size=size,
            features=features,
            void_logits=outputs[:, count:] if self.void else None,
        )

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the network on a batch in [0, 1]; normalise inside. Subclasses implement this."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it segments")

    def working_size(self, image_size: Size, size: Size | None = None) -> Size:
        """``(height, width)`` an image of ``image_size`` is resized to; ``size`` overrides the default."""
        return size or self.size or image_size

    def prepare(self, image: UInt8Array, size: Size | None = None) -> Tensor:
        """Resize, scale to [0, 1] and pad one image, so that images of mixed sizes batch.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            size: Working size that overrides the segmenter's own.

        Returns:
            ``(3, h, w)`` float32 in [0, 1]. The resize is Pillow's 8-bit BILINEAR, hence antialiased.
        """
        height, width = self.working_size((image.shape[0], image.shape[1]), size)
        if (height, width) != image.shape[:2]:
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        return self.pad(torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32).div_(255.0)[None])[0]

    def pad(self, batch: Tensor) -> Tensor:
        """Repeat edge values to the right and below until both sides of ``(B, 3, h, w)`` are multiples of `divisor`.

        A network that needs some more of them (`least`) gets those.
        """
        least = self.least * self.divisor
        below, right = (-side % self.divisor if side >= least else least - side for side in batch.shape[-2:])
        return F.pad(batch, (0, right, 0, below), mode="replicate") if below or right else batch

    def forward(
        self, batch: Tensor, *, features: Sequence[str] = (), input_size: Size | None = None
    ) -> SegmentationOutput:
        """Segment a prepared batch; differentiable.

        Args:
            batch: ``(B, 3, h, w)`` float in [0, 1], from `prepare`.
            features: Names of feature maps to return.
            input_size: ``(height, width)`` before padding; the batch's own size when not given.

        Returns:
            The output, logits first.

        Raises:
            ConfigError: A feature name does not exist.
        """
        for name in features:
            if name not in self.feature_info:
                raise unknown_name(
                    f"feature of {self.registry_name}", name, self.feature_info, "segmenter.feature_info"
                )
        output = self.segment(batch, tuple(features))
        if output.logits.ndim != 4 or output.logits.shape[1] != len(self.classes):
            raise CompatibilityError(
                f"{self.registry_name} gave logits of shape {tuple(output.logits.shape)} for {len(self.classes)} "
                "classes; expected (batch, classes, height, width)"
            )
        return replace(output, input_size=input_size or output.input_size)

    def feature_maps(self, batch: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps of a prepared batch, by name; networks that can leave out their classifier do.

        Args:
            batch: ``(B, 3, h, w)`` float in [0, 1].
            names: Names of `feature_info`.
        """
        output = self(batch, features=names)
        return {name: output.features[name] for name in names}

    def config(self) -> dict[str, object]:
        """Options that rebuild this segmenter through the registry, JSON-ready, without weights."""
        return {"size": list(self.size) if self.size else None}

    def fingerprint(self) -> str:
        """SHA-256 over names, shapes and values of all parameters and buffers (float32), 64 hexadecimal digits.

        How often a batch norm was trained counts as never: nothing reads it, and saving leaves it out.
        """
        return weights_hash(self)

    def identity(self) -> dict[str, object]:
        """What a result card says about the network: name, classes, working size, weights hash, origin if known."""
        return {
            "name": self.title or self.registry_name,
            "classes": list(self.classes),
            "size": list(self.size) if self.size else None,
            "sha256": self.fingerprint(),
            **({"origin": dict(self.origin)} if self.origin else {}),
        }


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers; see `Segmenter.fingerprint`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().cpu()
        if name.endswith("num_batches_tracked"):
            array = torch.zeros_like(array)
        array = array.to(torch.float32) if array.is_floating_point() else array
        digest.update(f"{name}{tuple(array.shape)}".encode())
        digest.update(array.contiguous().numpy().tobytes())
    return digest.hexdigest()


def default_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """Distinct colours for ``count`` classes, by the bit-interleaving scheme of the Pascal VOC palette."""
    colours = []
    for label in range(1, count + 1):
        red = green = blue = 0
        value = label
        for bit in range(7, -1, -1):
            red |= (value & 1) << bit
            green |= ((value >> 1) & 1) << bit
            blue |= ((value >> 2) & 1) << bit
            value >>= 3
        colours.append((red, green, blue))
    return tuple(colours)
