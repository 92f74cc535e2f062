"""Any network that returns logits, behind the segmenter contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn

from anomseg.errors import CompatibilityError
from anomseg.scores import check_logits
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size, check_sides
from anomseg.segmenters.naming import default_classes, require_several
from anomseg.segmenters.pixels import check_moments, normalised
from anomseg.segmenters.taps import Taps, module_taps
from anomseg.types import FeatureInfo


class ModuleSegmenter(Segmenter):
    """Wraps a module or a function that maps a batch to logits.

    The network may return a tensor ``(B, C, h, w)``, a mapping with ``logits`` or ``out``, an object with a
    ``logits`` attribute, or a tuple whose first item is one of these. Every layer of a module whose output is a map
    can be asked for as a feature, under its dotted path (see `module_taps`).

    Args:
        network: Called with ``(B, 3, h, w)`` float32, normalised as `mean` and `std` say.
        classes: Class names; Cityscapes' where the network has nineteen outputs, else ``class_0`` and so on.
            Without them the network is probed once with a small grey image.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own.
        divisor: The input is padded to a multiple of it.
        mean: Taken off the RGB values in [0, 1].
        std: Then divided by.
        void: The last output is void and not among the logits.
        allow_probabilities: Do not refuse outputs that look softmaxed already.

    Raises:
        ConfigError: An option has a value that it cannot have.
        CompatibilityError: The network gives no logits, or those of one class alone.

    Example:
        >>> import torch
        >>> segmenter = ModuleSegmenter(torch.nn.Conv2d(3, 4, 1))
        >>> segmenter.classes
        ('class_0', 'class_1', 'class_2', 'class_3')
        >>> segmenter(torch.rand(2, 3, 8, 9)).logits.shape
        torch.Size([2, 4, 8, 9])
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 2, stride=2), torch.nn.Conv2d(8, 4, 1))
        >>> dict(ModuleSegmenter(network, divisor=2).feature_info)
        {'0': FeatureInfo(channels=8, stride=2), '1': FeatureInfo(channels=4, stride=2)}
    """

    registry_name: ClassVar[str] = "module"

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor], Any],
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = None,
        divisor: int = 1,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        void: bool = False,
        allow_probabilities: bool = False,
    ) -> None:
        import torch  # noqa: PLC0415 - the name is needed in this body alone

        check_moments(mean, std)
        check_sides(size, divisor)
        if classes is None:
            side = max(64, divisor)
            probe = torch.full((1, 3, side - side % -divisor, side - side % -divisor), 0.5)
            if isinstance(network, nn.Module):
                network.eval()
            with torch.inference_mode():
                count = _logits_of(network(normalised(probe, mean, std))).shape[1] - int(void)
            classes, palette = default_classes(count, palette)
        require_several(classes)
        super().__init__(classes, palette, size, divisor)
        self.network = network
        kind = network if hasattr(network, "__qualname__") else type(network)
        self.network_name = f"{kind.__module__}.{kind.__qualname__}"
        self.mean, self.std = tuple(mean), tuple(std)
        self.void, self.allow_probabilities = void, allow_probabilities
        self.eval()

    @cached_property
    def _taps(self) -> Taps:
        # When first asked for: the layers are found by a small pass. Its sides are to each other as 2 to 3, so that
        # maps are told from pooled squares.
        if not isinstance(self.network, nn.Module):
            return Taps(nn.Identity(), {})
        side = max(64, self.divisor)
        side -= side % -self.divisor
        try:
            return module_taps(self.network, (2 * side, 3 * side))
        except Exception:  # of whatever kind a network raises that takes its own size alone
            if self.size is None:
                raise
            return module_taps(self.network, self.size)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Layers that give maps, by their dotted paths; none of a plain callable."""
        return self._taps.info

    @property
    def has_features(self) -> bool:
        """Whether the network is a module, told without the pass that finds its maps."""
        return isinstance(self.network, nn.Module)

    def identity(self) -> dict[str, object]:
        """What a result card says about the network: also which code it is and how its input is made."""
        return {
            **super().identity(),
            "network": self.network_name,
            "mean": list(self.mean),
            "std": list(self.std),
            "divisor": self.divisor,
            "void": self.void,
        }

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the wrapped network; see `Segmenter.forward`."""
        pixels = normalised(batch, self.mean, self.std)
        if features:
            with self._taps.recording(features) as found:
                logits = _logits_of(self.network(pixels))
        else:
            found, logits = {}, _logits_of(self.network(pixels))
        if not self.allow_probabilities:
            check_logits(logits)
        return self.split_void(logits, batch, found)


def _logits_of(answer: Any) -> Tensor:
    if isinstance(answer, tuple | list) and answer:
        return _logits_of(answer[0])
    if isinstance(answer, Mapping):
        for key in ("logits", "out"):
            if key in answer:
                return _logits_of(answer[key])
    elif not isinstance(answer, Tensor) and hasattr(answer, "logits"):
        return _logits_of(answer.logits)
    if not isinstance(answer, Tensor) or answer.ndim != 4:
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise CompatibilityError(f"the network returned {shape}; expected logits (batch, classes, height, width)")
    return answer
