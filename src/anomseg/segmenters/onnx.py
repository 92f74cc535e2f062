"""A network of the user's own in an ``.onnx`` file, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.scores import check_logits
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size, check_sides
from anomseg.segmenters.naming import default_classes
from anomseg.segmenters.onnx_network import Layout, OnnxNetwork
from anomseg.segmenters.pixels import check_moments, normalised
from anomseg.types import FeatureInfo

PROBE_SIDE = 64


class OnnxSegmenter(Segmenter):
    """Runs an ``.onnx`` file that takes one batch of RGB images and gives class logits before the softmax.

    The file is opened and run once on a grey picture, so that what does not fit is told at once. Its other 4-D float
    outputs are feature maps under their own names. A graph of fixed input size sets the working size, and one of
    fixed batch size is called as often as a batch needs. No gradient flows through it and no dropout is sampled.

    Args:
        model: The file; weights kept in data files beside it are found by their names.
        classes: Class names; Cityscapes' where the network has nineteen outputs, else ``class_0`` and so on.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own. A graph of fixed size has its own.
        divisor: The input is padded to a multiple of it.
        mean: Taken off the RGB values in [0, 1]; not for a graph that takes uint8.
        std: Then divided by; 0.00392157 (1/255) each makes floating-point values of 0 to 255.
        output: Name of the output with the logits, where there are several.
        layout: ``"nchw"``, ``"nhwc"`` or ``"auto"``: channels last where the graph's input says so.
        void: The last output channel is void and not among the logits.
        allow_probabilities: Do not refuse outputs that look softmaxed already.
        threads: Threads of ONNX Runtime; as many as PyTorch uses when not given.
        provider: ``"cpu"``, ``"cuda"``, or ONNX Runtime's own name of an execution provider.

    Raises:
        ConfigError: No file was given, an option does not fit the graph, or ONNX Runtime is not installed.
        DataError: The file is missing, damaged, or cannot be run.
        CompatibilityError: Its inputs or outputs are not those of a segmentation network.
    """

    registry_name: ClassVar[str] = "onnx"

    def __init__(
        self,
        model: str | None = None,
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = None,
        divisor: int = 1,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        output: str | None = None,
        layout: Layout = "auto",
        void: bool = False,
        allow_probabilities: bool = False,
        threads: int | None = None,
        provider: str = "cpu",
    ) -> None:
        if model is None:
            raise ConfigError("onnx needs a file; write onnx:NETWORK.onnx")
        check_moments(mean, std)
        check_sides(size, divisor)
        network = OnnxNetwork(model, output, layout, threads, provider)
        if network.takes_bytes and (any(mean) or any(value != 1 for value in std)):
            raise ConfigError(f"{network.name} takes uint8, so it normalises inside: leave mean and std out")
        if network.fixed_size:
            if size and tuple(size) != network.fixed_size:
                height, width = network.fixed_size
                raise ConfigError(f"{network.name} takes {height}x{width} only: leave size out, or export it anew")
            size, divisor = network.fixed_size, 1
        elif any(network.sides) and not size:
            raise ConfigError(f"{network.name} fixes one side of its input; give size=[height,width]")
        maps, features = _probe(network, size, divisor)
        count = maps - int(void)
        if count < 2:
            raise CompatibilityError(
                f"output {network.logits} of {network.name} has {maps} channel{'s' if maps > 1 else ''}, so "
                f"{count} class{'es' if count != 1 else ''}: a class map, a mask or a probability; export all logits"
            )
        if classes is None:
            classes, palette = default_classes(count, palette)
        if count != len(classes):
            raise ConfigError(
                f"output {network.logits} of {network.name} has {count} classes{' beside void' if void else ''}, "
                f"but {len(classes)} names were given"
            )
        super().__init__(classes, palette, size, divisor)
        self.network, self.void, self.allow_probabilities = network, void, allow_probabilities
        self.mean, self.std = tuple(mean), tuple(std)
        self._features = features
        self.eval()

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """The graph's other 4-D float outputs whose stride is a whole number."""
        return self._features

    @property
    def provides(self) -> frozenset[str]:
        """``logits``, ``features`` where the graph has further maps, ``void`` where its last channel is void."""
        return super().provides - {"gradient"}

    def fingerprint(self) -> str:
        """SHA-256 over the file and its data files, 64 hexadecimal digits."""
        return self.network.digest

    def identity(self) -> dict[str, object]:
        """What a result card says about the network: also its file, and how its input is made."""
        return {
            **super().identity(),
            "file": self.network.name,
            "output": self.network.logits,
            "mean": list(self.mean),
            "std": list(self.std),
            "divisor": self.divisor,
            "void": self.void,
        }

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the graph on the CPU's copy of a batch; see `Segmenter.forward`."""
        names = (self.network.logits, *features)
        found = {
            name: torch.from_numpy(maps).to(batch.device)
            for name, maps in self.network.run(self._input(batch), names).items()
        }
        logits = found.pop(self.network.logits)
        if not self.allow_probabilities:
            try:
                check_logits(logits)
            except CompatibilityError as error:
                raise CompatibilityError(
                    f"{self.network.name} gives probabilities: export it without its softmax, or switch this check "
                    "off with allow_probabilities=true"
                ) from error
        return self.split_void(logits, batch, found)

    def _input(self, batch: Tensor) -> NDArray[np.float32]:
        images = batch.detach().to("cpu", torch.float32)
        if self.network.takes_bytes:
            return (images * 255).round().clamp(0, 255).numpy()
        return normalised(images, self.mean, self.std).numpy()


def _probe(network: OnnxNetwork, size: Size | None, divisor: int) -> tuple[int, dict[str, FeatureInfo]]:
    """Channels of the logits, and the further maps, from one pass over a grey picture."""
    height, width = size or (PROBE_SIDE, PROBE_SIDE)
    height, width = height + -height % divisor, width + -width % divisor
    grey = np.full((1, 3, height, width), 127 if network.takes_bytes else 0.5, np.float32)
    try:
        found = network.run(grey, (network.logits, *network.maps))
    except DataError as error:
        hint = (
            "" if network.fixed_size else "; if it takes certain sizes only, say so with divisor=32 or size=[512,1024]"
        )
        raise DataError(f"{error} (on a grey picture of {height}x{width}{hint})") from error
    features = {}
    for name in network.maps:
        channels, rows, columns = found[name].shape[1:]
        stride = max(1, round(height / rows))
        if (rows * stride, columns * stride) == (height, width):
            features[name] = FeatureInfo(channels, stride)
    return found[network.logits].shape[1], features
