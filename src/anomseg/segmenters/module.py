"""Any network that returns logits, behind the segmenter contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from anomseg.data.label_space import label_space
from anomseg.errors import CompatibilityError
from anomseg.scores import check_logits
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size


class ModuleSegmenter(Segmenter):
    """Wraps a module or a function that maps a batch to logits.

    The network may return a tensor ``(B, C, h, w)``, a mapping with ``logits`` or ``out``, an object with a
    ``logits`` attribute, or a tuple whose first item is one of these.

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

    Example:
        >>> import torch
        >>> segmenter = ModuleSegmenter(torch.nn.Conv2d(3, 4, 1))
        >>> segmenter.classes
        ('class_0', 'class_1', 'class_2', 'class_3')
        >>> segmenter(torch.rand(2, 3, 8, 9)).logits.shape
        torch.Size([2, 4, 8, 9])
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

        if classes is None:
            side = max(64, divisor)
            probe = torch.full((1, 3, side - side % -divisor, side - side % -divisor), 0.5)
            if isinstance(network, nn.Module):
                network.eval()
            with torch.inference_mode():
                count = _logits_of(network(_normalised(probe, mean, std))).shape[1] - int(void)
            cityscapes = label_space("cityscapes")
            if count == len(cityscapes.names):
                classes, palette = cityscapes.names, palette or cityscapes.palette
            else:
                classes = [f"class_{index}" for index in range(count)]
        super().__init__(classes, palette, size, divisor)
        self.network = network
        kind = network if hasattr(network, "__qualname__") else type(network)
        self.network_name = f"{kind.__module__}.{kind.__qualname__}"
        self.mean, self.std = tuple(mean), tuple(std)
        self.void, self.allow_probabilities = void, allow_probabilities
        self.eval()

    @property
    def provides(self) -> frozenset[str]:
        """Also ``void`` where the last output is void."""
        return super().provides | ({"void"} if self.void else frozenset())

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
        del features
        logits = _logits_of(self.network(_normalised(batch, self.mean, self.std)))
        if not self.allow_probabilities:
            check_logits(logits)
        height, width = batch.shape[-2:]
        count = logits.shape[1] - int(self.void)
        return SegmentationOutput(
            logits=logits[:, :count],
            padded_size=(height, width),
            input_size=(height, width),
            void_logits=logits[:, count:] if self.void else None,
        )


def _normalised(batch: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    return (batch - batch.new_tensor(mean)[:, None, None]) / batch.new_tensor(std)[:, None, None]


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
