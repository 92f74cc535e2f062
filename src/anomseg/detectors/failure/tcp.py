"""The detector ``tcp``: a head that has learned what probability a network gives to the true class."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor

from anomseg.detectors.base import FailureDetector
from anomseg.detectors.failure.tcp_head import TCPHead, head_of
from anomseg.detectors.features import AUTO, default_feature
from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import FailurePrediction, Flags, Needs


class TCP(FailureDetector):
    """True-class probability (Corbière et al., NeurIPS 2019): one minus what a head says of a feature of the network.

    The network stays as it is; its class logits are not read. It says nothing on the quality of classes.

    Args:
        feature: Name of the feature map that the head reads; ``"auto"`` as `default_feature`. A trained detector has
            its name.
    """

    registry_name = "tcp"
    flags: ClassVar[Flags] = Flags(bounded=True)
    reads_head: ClassVar[bool] = False

    def __init__(self, feature: str = AUTO) -> None:
        super().__init__()
        self.feature = feature
        self._head: TCPHead | None = None

    @classmethod
    def of(cls, head: TCPHead, feature: str) -> Self:
        """The detector of a head at hand, which is kept.

        Args:
            head: The head.
            feature: Name of the feature map that it reads.
        """
        detector = cls(feature)
        detector._head = head.requires_grad_(False).eval()
        return detector

    @property
    def is_fitted(self) -> bool:
        """Whether it came out of a training."""
        return self._head is not None

    def require_fitted(self) -> None:
        """Refuse to go on without a head."""
        if self._head is None:
            raise CompatibilityError(
                "tcp has no head; run 'anomseg train camvid-tcp ...' and give the directory that it writes"
            )

    def feature_name(self, segmenter: Segmenter | None) -> str | None:
        """The feature map that is read; None where that cannot be said."""
        if self.feature != AUTO:
            return self.feature
        return default_feature(segmenter) if segmenter is not None else None

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """One feature map, with as many channels as the head was trained on."""
        name = self.feature_name(segmenter)
        needs = self.ask(segmenter, Needs(logits=False, features=() if name is None else (name,)))
        if segmenter is not None and name is None:
            self.ask(segmenter, Needs(logits=False, features=(AUTO,)))
        if segmenter is not None and name is not None and self._head is not None:
            channels = segmenter.feature_info[name].channels
            if channels != self._head.channels:
                raise CompatibilityError(
                    f"tcp was trained on a feature of {self._head.channels} channels, but {name!r} of this network has "
                    f"{channels}; give the network that it was trained with"
                )
        return needs

    def assess(self, scene: Scene) -> FailurePrediction:
        """One minus the guessed probability of the true class, in [0, 1], at the images' own size."""
        self.require_fitted()
        assert self._head is not None  # noqa: S101 - required
        name = self.feature_name(scene.segmenter)
        assert name is not None  # noqa: S101 - a trained one names it
        with torch.no_grad():
            guess = self._head.to(scene.images.device)(scene.feature_maps((name,))[name])
        return FailurePrediction((1 - scene.resize(guess[:, None])[:, 0]).clamp(0, 1).contiguous())

    def state(self) -> dict[str, Tensor]:
        """The weights of the head; empty where there is none."""
        return {} if self._head is None else dict(self._head.state_dict())

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: It is no head.
        """
        self._head = head_of(state).requires_grad_(False) if state else None
