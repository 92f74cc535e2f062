"""MC dropout: the spread of predictions with dropout sampled (Gal and Ghahramani, ICML 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from anomseg.detectors.base import Upsample
from anomseg.detectors.options import fraction, whole
from anomseg.detectors.passes import Average, Measure, PassesDetector, one_by_one
from anomseg.detectors.seeding import frame_randomness
from anomseg.scores import PredictionSummary
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Needs


class MCDropout(PassesDetector):
    """Several passes of one network, each with other units dropped; batch norms stay as in evaluation.

    What is dropped depends on the seed and the frame's name alone, so a map is the same in any batch, order, shard or
    process. The images of a batch are worked on one by one.

    Args:
        passes: Forward passes an image; 10 to 50 are usual.
        measure: ``"entropy"`` of the mean prediction, ``"mutual_information"``, or ``"msp"``; see `PassesDetector`.
        average: ``"probabilities"``, or ``"logits"`` as SynthCP's code does.
        p: Share of units dropped in place of the layers' own, while the passes last; layers that drop nothing are
            left alone. The layers' own where not given.
        normalized: Divide entropy and mutual information by ln C, so that they lie in [0, 1].
        seed: Any integer.
        upsample: ``"logits"`` brings each prediction to the image's size, as the published figures do; ``"score"``
            averages at the network's resolution and resizes the map, which is faster and smaller.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "mc_dropout"

    def __init__(
        self,
        passes: int = 10,
        measure: Measure = "entropy",
        average: Average = "probabilities",
        p: float | None = None,
        normalized: bool = True,
        seed: int = 0,
        upsample: Upsample = "logits",
        check_logits: bool = True,
    ) -> None:
        super().__init__(measure, average, normalized, upsample, check_logits)
        self.passes = whole("passes", passes)
        self.p = p if p is None else fraction("p", p)
        self.seed = seed

    @property
    def forward_passes(self) -> int:
        """As many as ``passes``."""
        return self.passes

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Passes with dropout; the plain pass is not read."""
        self.ask(segmenter, Needs(logits=True, dropout=True))
        return Needs(logits=False, dropout=True)

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        # Another measure of the same passes, beside this one in an evaluation, finds them made.
        key = ("mc_dropout", self.passes, self.average, self.p, self.seed, self.upsample, self.check_logits)
        found = scene.remembered(key, lambda: [self._summary_of_one(single) for single in one_by_one(scene)])
        singles = zip(one_by_one(scene), found, strict=True)
        return torch.cat([self.measured(single, summary) for single, summary in singles])

    def _summary_of_one(self, single: Scene) -> PredictionSummary:
        with frame_randomness(self.seed, single.frame_ids[0], single.images.device):
            return self.summarised(single)

    def passes_over(self, scene: Scene) -> Iterator[Tensor]:
        """Yield logits of one pass after the other."""
        for _ in range(self.passes):
            with dropout_rates(scene.segmenter, self.p):
                logits = scene.forward(dropout=True).logits.float()
            yield scene.resize(logits) if self.upsample == "logits" else logits


@contextmanager
def dropout_rates(network: nn.Module | None, p: float | None) -> Iterator[None]:
    """Set the rate of all layers that drop anything, and put their own back at the end.

    Args:
        network: The network; None where there is none.
        p: The rate in [0, 1]; None leaves them as they are.
    """
    layers = (
        []
        if network is None or p is None
        else [
            module for module in network.modules() if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        ]
    )
    own = [layer.p for layer in layers]
    try:
        for layer in layers:
            layer.p = float(p or 0)
        yield
    finally:
        for layer, rate in zip(layers, own, strict=True):
            layer.p = rate
