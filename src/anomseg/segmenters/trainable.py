"""What networks offer to training: deep supervision, and an encoder that may start from weights trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import SegmentationOutput
from anomseg.segmenters.checkpoint import load_strictly
from anomseg.segmenters.cosine import CosineClassifier
from anomseg.segmenters.outlier_head import NegativesNetwork


@runtime_checkable
class DeepSupervision(Protocol):
    """A network with a second classifier on an earlier layer, which only training reads."""

    def training_logits(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Main and auxiliary logits ``(B, C, h, w)`` of a batch in [0, 1], each at its own resolution."""
        ...


@dataclass(frozen=True)
class MaskAnswer:
    """What a mask head answers after one layer of its decoder.

    Attributes:
        class_logits: ``(B, Q, C + 1)``, no-object last.
        mask_logits: ``(B, Q, h, w)``.
    """

    class_logits: Tensor
    mask_logits: Tensor


@runtime_checkable
class MaskSupervision(Protocol):
    """A mask transformer whose every decoder layer can be supervised."""

    def training_masks(self, batch: Tensor) -> list[MaskAnswer]:
        """Answers of the decoder's layers for a batch in [0, 1], the last one last."""
        ...

    def mask_loss(self, answers: Sequence[MaskAnswer], masks: Sequence[Tensor], classes: Sequence[Tensor]) -> Tensor:
        """Loss of these answers after matching queries to masks.

        Args:
            answers: As `training_masks` gives them, at least one image each.
            masks: For each image its ``(N, H, W)`` float masks of zeros and ones.
            classes: For each image the ``(N,)`` int64 class of each mask.

        Returns:
            A scalar.
        """
        ...


@runtime_checkable
class StartableEncoder(Protocol):
    """A network whose encoder may start from weights trained elsewhere, and may be frozen."""

    @property
    def encoder(self) -> nn.Module:
        """The part of the network that those weights are of."""
        ...

    def load_encoder(self, state: Mapping[str, Tensor], what: str) -> None:
        """Set the encoder's weights; ``what`` says where they come from."""
        ...


class EncoderNetwork(NegativesNetwork):
    """An encoder that is known by its published weights, and a head of ours.

    Subclasses set ``encoder`` to a module whose parameters have the published names and ``classifier`` to their last
    layer, and implement `encoder_maps`, `complete`, `classify` and `classify_early`.
    """

    encoder: nn.Module
    classifier: nn.Module
    unused_weights: ClassVar[tuple[str, ...]] = ()
    """Beginnings of parameter names that published checkpoints carry beside the encoder's, such as a classifier's."""
    smallest_batch: ClassVar[int] = 1
    """Crops a training step needs: 2 where a batch norm sees one value a crop."""

    head_reads: ClassVar[tuple[str, ...]] = ("encoder",)
    """The encoder's maps that `head_logits` reads."""
    encoder_layers: ClassVar[tuple[str, ...]] = ("encoder",)
    """Names of the encoder's own maps; the other ones `complete` makes."""
    complete_reads: ClassVar[tuple[str, ...]] = ("encoder",)
    """The encoder's maps that `complete` reads."""

    def encoder_maps(self, batch: Tensor) -> dict[str, Tensor]:
        """The encoder's named maps of a batch in [0, 1]: what does not change as long as the encoder is frozen."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it encodes")

    def complete(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The encoder's maps, and those that the head makes of them before it classifies."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its head makes of the encoder's maps")

    def encode(self, batch: Tensor) -> dict[str, Tensor]:
        """All named feature maps of a batch in [0, 1]."""
        return self.complete(self.encoder_maps(batch))

    def feature_maps(self, batch: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps alone: encoder and head run up to the classifier, which does not.

        Args:
            batch: ``(B, 3, h, w)`` in [0, 1], prepared.
            names: Names of `feature_info`.
        """
        named = self.encode(batch)
        return {name: named[name] for name in names}

    def feature_norm(self, name: str) -> nn.BatchNorm2d | None:
        """The batch norm whose output a feature map is as it stands; None where there is none, or an activation."""
        del name
        return None

    @property
    def provides(self) -> frozenset[str]:
        """As `Segmenter.provides`; also ``prototypes`` where the classifier compares with those."""
        found = super().provides
        return found | {"prototypes"} if isinstance(self.classifier, CosineClassifier) else found

    @property
    def prototypes(self) -> Tensor:
        """Unit prototypes ``(K, D)`` of a network with a cosine classifier.

        Raises:
            CompatibilityError: Its classifier is linear.
        """
        return self._cosine().prototypes

    @property
    def cosine_scale(self) -> float:
        """What a cosine of 1 is as a logit, of a network with a cosine classifier.

        Raises:
            CompatibilityError: Its classifier is linear.
        """
        return self._cosine().scale

    def _cosine(self) -> CosineClassifier:
        if not isinstance(self.classifier, CosineClassifier):
            raise CompatibilityError(
                f"the classifier of this {self.registry_name} is linear and has no prototypes; train one with the "
                "option classifier: cosine"
            )
        return self.classifier

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run encoder and head; see `Segmenter.forward`."""
        return self.answer(self.encode(batch), batch, features)

    def training_logits(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Main and auxiliary logits; see `DeepSupervision`."""
        return self.head_logits(self.encoder_maps(batch))

    def head_logits(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Main and auxiliary logits from the encoder's maps, which may have been computed long ago."""
        named, count = self.complete(maps), len(self.classes)
        return self.classify(named)[:, :count], self.classify_early(named)[:, :count]

    def load_encoder(self, state: Mapping[str, Tensor], what: str) -> None:
        """Set the encoder's weights.

        Args:
            state: Tensors by the published names. Of a checkpoint of a whole network, whose encoder's names begin
                with ``encoder.``, only those are read.
            what: Where they come from, for messages.

        Raises:
            CompatibilityError: A parameter is missing, left over (other than `unused_weights`) or of another shape.
        """
        load_strictly(self.encoder, encoder_weights(state, self.unused_weights), what)

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {
            **super().config(),
            "classes": list(self.classes),
            "palette": [list(colour) for colour in self.palette],
        }


def encoder_weights(state: Mapping[str, Tensor], unused: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """What of a checkpoint is its encoder's, by the encoder's own names.

    Args:
        state: Tensors of an encoder, or of a whole network whose encoder's names begin with ``encoder.``; of the latter
            only those are taken.
        unused: Beginnings of names that are left out.
    """
    prefix = "encoder."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return {name: value for name, value in (own or state).items() if not name.startswith(unused)}
