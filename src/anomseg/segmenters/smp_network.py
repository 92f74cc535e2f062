"""Networks of segmentation-models-pytorch behind the segmenter contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.checkpoint import load_strictly
from anomseg.segmenters.naming import default_classes, require_several
from anomseg.segmenters.pixels import check_moments, normalised
from anomseg.segmenters.smp_library import build_network, read_source, statistics
from anomseg.segmenters.taps import Tap, Taps, measured
from anomseg.types import FeatureInfo


class SMPNetwork(Segmenter):
    """A network of segmentation-models-pytorch: encoder, decoder and a per-pixel head, run by its own forward.

    Whatever activation it was made with is left off, so its outputs are logits. Features are ``stage1``, ``stage2``
    and so on, the encoder's maps (a stage that an encoder does not have is left out), and ``decoder``, what the
    segmentation head reads.

    Args:
        weights: A state dict of the whole network (safetensors, or a ``.pth`` that holds tensors only), or a
            directory that the library's ``save_pretrained`` wrote. Nothing is ever downloaded.
        arch: Architecture by the library's own name, such as ``unet``; a directory says it itself.
        encoder: Encoder by the library's own name, such as ``resnet34``, or ``tu-NAME`` for one of timm's; a
            directory says it itself.
        classes: Class names; Cityscapes' where there are nineteen, else ``class_0`` and so on.
        palette: One RGB triple a class.
        void: The last output is void and not among the logits; by default it is where there is one output more
            than class names.
        size: Working size ``(height, width)``; None keeps each image's own.
        mean: Taken off the RGB values in [0, 1]; ImageNet's by default, for an encoder of timm what timm says.
            Encoders trained with other values (Inception, Xception, DPN) want theirs here.
        std: Then divided by; likewise.
        options: Further options of the architecture, such as ``{"decoder_channels": [128, 64, 32, 16, 8]}``.
        random_weights: Build it untrained; cards say so.
        architecture: In place of ``weights``, ``arch``, ``encoder`` and ``options``, what a saved segmenter has beside
            its weights.

    Raises:
        MissingExtraError: The library cannot be imported.
        ConfigError: Neither weights nor ``random_weights``, or an unknown name or option.
        DataError: A file is missing or damaged.
        CompatibilityError: The weights are of another network, or it has a single output.
    """

    registry_name: ClassVar[str] = "smp"

    def __init__(
        self,
        weights: str | None = None,
        arch: str | None = None,
        encoder: str | None = None,
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        void: bool | None = None,
        size: Size | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        options: dict[str, Any] | None = None,
        random_weights: bool = False,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        if architecture is not None:
            # A saved segmenter: its weights are loaded by whoever asked, strictly.
            if weights or arch or encoder or options:
                raise ConfigError("smp: architecture stands in place of weights, arch, encoder and options")
            arch, encoder, options = (architecture.get(key) for key in ("arch", "encoder", "options"))
        elif (weights is None) != random_weights:
            raise ConfigError(
                "smp takes either weights (smp:FILE;arch=unet;encoder=resnet34, or smp:DIR of its save_pretrained) "
                "or random_weights=true"
            )
        source = read_source(weights) if weights is not None else None
        if source is not None and source.arch is not None:
            for given, found in ((arch, source.arch), (encoder, source.encoder)):
                if given not in (None, found):
                    raise CompatibilityError(f"{weights} holds {source.arch} on {source.encoder}, not {given}")
            arch, encoder, options = source.arch, source.encoder, {**source.options, **(options or {})}
        if arch is None or encoder is None:
            raise ConfigError("smp cannot tell the architecture from the weights; add arch=... and encoder=...")
        names, palette, void = _classes(classes, palette, void, source.outputs if source is not None else None)
        super().__init__(names, palette, size)
        self.arch, self.encoder_name, self.options = str(arch), str(encoder), dict(options or {})
        self.void, self.random_weights = void, random_weights
        network = build_network(self.arch, self.encoder_name, len(names) + int(void), self.options)
        if source is not None:
            load_strictly(network, source.state, f"smp checkpoint {weights}")
        default_mean, default_std = statistics(self.encoder_name)
        self.mean, self.std = tuple(mean or default_mean), tuple(std or default_std)
        check_moments(self.mean, self.std)
        # DPT's coarsest map has twice the stride of the tokens.
        self.divisor = int(network.encoder.output_stride) * (2 if arch == "dpt" else 1)
        # PAN halves its coarsest map three times more.
        self.least = 8 if self.arch == "pan" else 1
        self.network = network
        self.eval()
        self.taps = _taps(network, self.divisor)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """The encoder's stages and the map that the segmentation head reads."""
        return self.taps.info

    def identity(self) -> dict[str, object]:
        """What a result card says about the network: also which one it is and how its input is made."""
        return {
            **super().identity(),
            "network": f"{self.arch} on {self.encoder_name}",
            "mean": list(self.mean),
            "std": list(self.std),
            "random_weights": self.random_weights,
        }

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the network; see `Segmenter.forward`."""
        with self.taps.recording(features) as found:
            logits = self.network(normalised(batch, self.mean, self.std))
        return self.split_void(logits, batch, found)

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {
            **super().config(),
            "architecture": {"arch": self.arch, "encoder": self.encoder_name, "options": self.options},
            "classes": list(self.classes),
            "palette": [list(colour) for colour in self.palette],
            "void": self.void,
            "mean": list(self.mean),
            "std": list(self.std),
            "random_weights": self.random_weights,
        }


def _taps(network: Any, divisor: int) -> Taps:
    channels = list(network.encoder.out_channels)
    unknown = FeatureInfo(0, 0)
    if hasattr(network.encoder, "has_prefix_tokens"):  # its maps come together with such tokens
        taps = {f"stage{index + 1}": Tap("encoder", unknown, (0, index)) for index in range(len(channels))}
    else:  # the first of the maps is the image itself
        taps = {f"stage{index}": Tap("encoder", unknown, (index,)) for index in range(1, len(channels))}
    taps["decoder"] = Tap("decoder", unknown)
    # Cells enough for every architecture.
    probe = (8 * divisor, 9 * divisor)
    try:
        return measured(network, taps, probe)
    except Exception as error:  # whatever the network raises
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"this smp network does not run on an image of {probe[0]}x{probe[1]}: {reason}; an encoder of timm that is "
            'made for one size may take options={"strict_img_size": false}'
        ) from error


def _classes(
    classes: Sequence[str] | None, palette: Sequence[Sequence[int]] | None, void: bool | None, outputs: int | None
) -> tuple[Sequence[str], Sequence[Sequence[int]] | None, bool]:
    """Class names, palette and whether the last output is void."""
    if classes is None:
        if outputs is None:
            raise ConfigError("smp: random weights have no classes of their own; add classes=[...]")
        classes, palette = default_classes(outputs - int(bool(void)), palette)
    outputs = len(classes) + int(bool(void)) if outputs is None else outputs
    void = outputs == len(classes) + 1 if void is None else void
    if outputs != len(classes) + int(void):
        raise CompatibilityError(
            f"the network has {outputs} outputs, but {len(classes)} classes{' and void' if void else ''} were given"
        )
    require_several(classes)
    return classes, palette, void
