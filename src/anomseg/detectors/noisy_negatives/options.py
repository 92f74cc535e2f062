"""What a stage ``noisy_negatives`` can be told beside what a segmentation stage can, and the kinds of scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from anomseg.errors import ConfigError, unknown_name
from anomseg.training.bounds import check_bounds
from anomseg.training.options import NetworkConfig

Variant = Literal["two_head", "extra_class", "sigmoid", "outlier_exposure"]
Freeze = Literal["encoder", "segmentation", "nothing"]


@dataclass(frozen=True)
class NoisyNegativesConfig(NetworkConfig):
    """What to train on negatives, and how.

    ``freeze_encoder`` follows from ``freeze``. ``auxiliary`` is the share of the auxiliary losses: the other losses
    weigh one less it.

    Attributes:
        variant: ``two_head``: an outlier head beside the classes; ``extra_class``: one class more; ``sigmoid``: one
            sigmoid a class, all zero on negatives; ``outlier_exposure``: a uniform softmax on negatives.
        freeze: ``encoder`` is not trained; ``segmentation``: nothing of a trained network is but the outlier head that
            it is given; ``nothing`` is frozen.
        outlier_weight: Weight of the outlier head's losses, or of the divergence of ``outlier_exposure``.
    """

    variant: Variant = "two_head"
    freeze: Freeze = "encoder"
    outlier_weight: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (("variant", get_args(Variant)), ("freeze", get_args(Freeze))):
            if getattr(self, name) not in choices:
                raise unknown_name(name, getattr(self, name), choices)
        check_bounds("auxiliary", self.auxiliary, 0, 1)
        check_bounds("outlier_weight", self.outlier_weight, 0)
        if self.freeze_encoder:
            raise ConfigError("freeze_encoder follows from freeze here; write freeze: encoder")
        if self.freeze == "segmentation" and self.variant != "two_head":
            raise ConfigError(
                f"freeze: segmentation trains an outlier head alone, and {self.variant} has none; choose "
                "variant: two_head or freeze: encoder"
            )
        object.__setattr__(self, "freeze_encoder", self.freeze == "encoder")
        object.__setattr__(self, "options", self._own_options())

    def _own_options(self) -> dict[str, Any]:
        """The network's options with the outputs that the variant trains, and no others."""
        options: Mapping[str, Any] = self.options
        kept = {name: value for name, value in options.items() if name not in ("outlier_layers", "outlier_width")}
        if self.variant == "two_head":
            kept = dict(options)
            if not options.get("outlier_layers"):
                raise ConfigError(
                    "two_head needs to know what its outlier head reads; name feature maps in options.outlier_layers, "
                    "such as [bottleneck]"
                )
        return {**kept, "extra_class": self.variant == "extra_class"}
