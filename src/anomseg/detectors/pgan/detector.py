"""The detector ``pgan``: how unlike every prototype a pixel is, over several feature maps of any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from anomseg.detectors.base import Detector
from anomseg.detectors.features import AUTO, feature_names
from anomseg.detectors.options import one_of
from anomseg.detectors.pgan.extractor import PrototypeExtractor, extractor_from
from anomseg.detectors.pgan.probability import logistic
from anomseg.detectors.pgan.scoring import anomaly_of
from anomseg.detectors.pgan.similarity import SIMILARITIES, Similarity, bounded
from anomseg.errors import CompatibilityError, FrameError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs

ROLE = "host"
Probability = Literal["raw", "calibrated"]
_CURVE = "probability"


@dataclass(frozen=True)
class _Compared:
    """What a scene's features come to: scores ``(B, K, h, w)`` in [-1, 1], and anomaly ``(B, h, w)`` in [0, 1]."""

    scores: Tensor
    anomaly: Tensor


class PGAN(Detector):
    """PGAN-style reconstruction: of the method only its abstract is public (Hao, Jin and An, arXiv 2201.05869, 2022).

    A prototype extraction network embeds several feature maps of a segmentation network, which stays as it is, and
    compares them with prototypes of the known classes: ``(1 - max_k s_k) / 2`` with ``s_k`` the weighted sum over the
    maps of the similarity to the nearest prototype of class k. It is trained by the stage ``pgan``, see docs/pgan.md.

    Args:
        levels: Names of the feature maps joined by ``+``, as it was trained.
        similarity: ``"cosine"``, ``"euclidean"`` or ``"dot"``, as it was trained.
        parent_term: Multiply the confidence by the agreement of the parent category, see `anomaly_of`.
        probability: ``"raw"`` gives the score; ``"calibrated"`` a probability by the logistic curve that was fitted in
            training on in-distribution labels alone, in the same order of pixels.
        attached: It scores the network that is given beside it, so that others share the pass; without it the
            detector carries its network.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "pgan"
    segments: ClassVar[bool] = True

    def __init__(
        self,
        levels: str = AUTO,
        similarity: Similarity = "cosine",
        parent_term: bool = False,
        probability: Probability = "raw",
        attached: bool = False,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.similarity = one_of("similarity", similarity, SIMILARITIES)
        self.parent_term = parent_term
        self.probability = one_of("probability", probability, ("raw", "calibrated"))
        self.attached = attached
        self.extractor: PrototypeExtractor | None = None
        self._curve: tuple[float, float] | None = None

    @property
    def flags(self) -> Flags:  # type: ignore[override] # whether it owns a network depends on an option
        """What every card says; it owns its network unless it is attached to another's."""
        return Flags(bounded=True, owns_network=not self.attached)

    @property
    def is_fitted(self) -> bool:
        """Whether it has been trained, and has its network where it carries one."""
        return self.extractor is not None and (self.attached or self.segmenter is not None)

    def require_fitted(self) -> None:
        """Refuse to go on before training."""
        if not self.is_fitted:
            raise CompatibilityError(
                "pgan has not been trained; run 'anomseg train camvid-pgan ...' and give the directory that it writes"
            )

    def adopt(
        self, extractor: PrototypeExtractor, host: Segmenter, curve: tuple[float, float] | None, record: dict[str, Any]
    ) -> None:
        """Take what training has made.

        Args:
            extractor: Trained.
            host: The network whose features it reads.
            curve: Slope and intercept of the probability; None where none was fitted.
            record: See `Detector.fitted_on`.
        """
        self.extractor, self._curve = extractor.requires_grad_(False).eval(), curve
        self.segmenter = None if self.attached else host
        self.fitted_on, self.segmenter_identity = record, host.identity()

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Its feature maps, with as many channels as it was trained on.

        Raises:
            CompatibilityError: It has not been trained, or on another kind of network.
        """
        self.require_fitted()
        network = segmenter if self.attached else self.segmenter
        names = feature_names(self.levels)
        needs = self.ask(network, Needs(logits=False, features=names))
        if network is not None:
            self._check_host(network, names)
        return needs

    def _check_host(self, network: Segmenter, names: Sequence[str]) -> None:
        assert self.extractor is not None  # noqa: S101 - asked for once it is trained
        here = [network.feature_info[name].channels for name in names]
        there = self.extractor.channels
        if here != there:
            raise CompatibilityError(
                f"pgan was trained on maps of {'+'.join(map(str, there))} channels, but {'+'.join(names)} of this "
                f"network have {'+'.join(map(str, here))}; train it on this network"
            )
        known = len(self.extractor.present)
        if len(network.classes) not in (0, known):
            raise CompatibilityError(
                f"pgan has prototypes of {known} classes, and this network has {len(network.classes)}; train it on "
                "this network"
            )

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 in [0, 1] at the images' own size, resized from the finest level's."""
        own = self._own(scene)
        raw = own.resize(self._compared(own).anomaly[:, None])[:, 0].clamp(0, 1)
        if self.probability == "raw":
            return raw.contiguous()
        if self._curve is None:
            raise CompatibilityError(
                "pgan carries no probability: training had no labelled pixels to fit one on; use probability=raw"
            )
        return logistic(raw, *self._curve).to(torch.float32).contiguous()

    def segment(self, scene: Scene) -> Tensor:
        """Class ``(B, H, W)`` int64 of the nearest prototypes, apart from the network's own answer."""
        own = self._own(scene)
        return own.resize(self._compared(own).scores).argmax(1)

    def _own(self, scene: Scene) -> Scene:
        """The scene as its own network sees it, should another one have prepared it."""
        self.require_fitted()
        if self.attached or scene.segmenter is self.segmenter:
            return scene
        network = self.segmenter
        assert network is not None  # noqa: S101 - required above

        def make() -> Scene:
            height, width = scene.input_size
            images = network.to(scene.images.device).pad(scene.images[..., :height, :width])
            return Scene(images, scene.frame_ids, scene.image_sizes, network, input_size=scene.input_size)

        return scene.remembered((id(self), "own"), make)

    def _maps(self, scene: Scene) -> list[Tensor]:
        """The levels of a scene.

        Raises:
            FrameError: A feature is NaN or infinite.
        """
        names = feature_names(self.levels)
        output = scene.output
        if any(name not in output.features for name in names):
            output = scene.forward(features=names)
        maps = [output.features[name] for name in names]
        for row, frame in enumerate(scene.frame_ids):
            if not all(bool(one[row].isfinite().all()) for one in maps):
                raise FrameError(f"{frame}: the network's features hold values that are not finite")
        return maps

    def _on(self, device: torch.device) -> PrototypeExtractor:
        assert self.extractor is not None  # noqa: S101 - callers have required it
        return self.extractor.to(device)

    def _compared(self, scene: Scene) -> _Compared:
        """Scores and anomaly of a scene, computed once for map and classes."""

        def make() -> _Compared:
            extractor = self._on(scene.images.device)
            with torch.no_grad():
                embeddings = extractor.embed(self._maps(scene))
                return _Compared(extractor.scores(embeddings), anomaly_of(extractor, embeddings, self.parent_term))

        return scene.remembered((id(self), "compared"), make)

    def state(self) -> dict[str, Tensor]:
        """Projections, prototypes and what belongs to them, and the probability's curve; empty before training."""
        if self.extractor is None:
            return {}
        found = dict(self.extractor.state_dict())
        return found | ({_CURVE: torch.tensor(self._curve, dtype=torch.float64)} if self._curve else {})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: Tensors are missing or do not fit each other.
        """
        if not state:
            return
        rest = {name: tensor for name, tensor in state.items() if name != _CURVE}
        curve = state.get(_CURVE)
        try:
            extractor = extractor_from(rest, self.similarity)
        except (KeyError, RuntimeError, ValueError, IndexError) as error:
            raise CompatibilityError(
                f"the state of pgan is not complete or does not fit ({' '.join(str(error).split())[:200]}); train again"
            ) from error
        if extractor.levels != len(feature_names(self.levels)) or (curve is not None and curve.shape != (2,)):
            raise CompatibilityError(f"the state of pgan does not fit its levels {self.levels}; train again")
        self.extractor = extractor
        self._curve = None if curve is None else (float(curve[0]), float(curve[1]))

    def networks(self) -> dict[str, Segmenter]:
        """The network under the role ``host``, unless it is attached."""
        return {} if self.segmenter is None else {ROLE: self.segmenter}

    def load_networks(self, networks: Mapping[str, Segmenter]) -> None:
        """Take the network; see `Detector.load_networks`."""
        if set(networks) != (set() if self.attached else {ROLE}):
            wanted = "no network: it is attached" if self.attached else f"one network, under the role {ROLE}"
            raise CompatibilityError(f"pgan carries {wanted}, got {sorted(networks)}")
        self.segmenter = networks.get(ROLE)

    def card(self) -> dict[str, Any]:
        """See `Detector.card`; with the size of the extraction network."""
        if self.extractor is None:
            return super().card()
        classes, per_class, width = self.extractor.prototypes[0].shape
        told = {
            "reconstruction": True,
            "levels": list(feature_names(self.levels)),
            "classes": classes,
            "prototypes": per_class,
            "dimension": width,
            "parameters": sum(one.numel() for one in self.extractor.parameters()),
            "probability_curve": list(self._curve) if self._curve else None,
        }
        return {**super().card(), "extractor": told}

    def _places(self) -> list[tuple[str, int, int]]:
        """Level, class and number of every prototype, in the order of the protocol."""
        self.require_fitted()
        assert self.extractor is not None  # noqa: S101 - required
        present = self.extractor.present.tolist()
        return [
            (name, index, number)
            for level, name in enumerate(feature_names(self.levels))
            for index in range(len(present))
            if present[index]
            for number in range(self.extractor.prototypes[level].shape[1])
        ]

    def prototype_names(self) -> Sequence[str]:
        """Level, class and, where a class has several, number of each prototype."""
        classes = (self.segmenter_identity or {}).get("classes") or []
        several = self.extractor is not None and self.extractor.prototypes[0].shape[1] > 1
        return [
            f"{level}: {classes[index] if index < len(classes) else index}{f' {number + 1}' if several else ''}"
            for level, index, number in self._places()
        ]

    def prototype_classes(self) -> Sequence[int]:
        """The class of each prototype."""
        return [index for _, index, _ in self._places()]

    def prototype_similarity(self, scene: Scene) -> Tensor:
        """Bounded similarity ``(B, P, h, w)`` of every place to every prototype, on the finest level's grid."""
        own = self._own(scene)
        extractor = self._on(own.images.device)
        with torch.no_grad():
            embeddings = extractor.embed(self._maps(own))
            by_level = [
                bounded(extractor.to_prototypes(level, one), self.similarity)[:, extractor.present].flatten(1, 2)
                for level, one in enumerate(embeddings)
            ]
        sizes = [(one.shape[-2], one.shape[-1]) for one in by_level]
        finest = max(sizes, key=lambda size: size[0] * size[1])
        return torch.cat([torch.nn.functional.interpolate(one, finest, mode="bilinear") for one in by_level], 1)

    def prototype_table(self) -> Tensor:
        """Cosines of the prototypes with each other, ``(P, P)``; 0 between levels, whose spaces are not the same."""
        self.require_fitted()
        assert self.extractor is not None  # noqa: S101 - required
        blocks = []
        for one in self.extractor.prototypes:
            rows = one[self.extractor.present].flatten(0, 1)
            blocks.append(rows @ rows.mT)
        return torch.block_diag(*blocks)
