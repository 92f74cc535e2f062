"""The detector contract: a scene goes in, an anomaly map comes out; higher means more anomalous, everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError, FrameError, unknown_name
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import FailurePrediction, Flags, Frame, Needs

if TYPE_CHECKING:
    from anomseg.detectors.calibrated import SavedCalibration

Upsample = Literal["logits", "score"]
Progress = Callable[[Frame, FrameError | None], None]
"""Called after each frame of a fit, with the error where the frame was skipped."""


_LACKING = {
    "logits": "reads class logits, and {} has no classes; use a segmentation network rather than a backbone",
    "masks": "reads the queries of a mask transformer, and {} has none; use bundled-mask, or a "
    "MaskFormer, Mask2Former, OneFormer or EoMT of yours",
    "features": "reads feature maps, and {} names none; use a network whose layers can be asked for",
    "void": "reads a void output, and {} has none; use a network that was trained with one, such as erfnet",
    "outlier_head": "reads an inlier/outlier head, and {} has none; train one with negatives",
    "negative": "reads a negative class, and {} has none; name it with the segmenter's option negative=CLASS",
    "dropout": "samples dropout, and {} has no dropout layer; its passes would all be the same",
    "gradient": "needs gradients with respect to the image, and {} gives none; use the network in PyTorch",
    "prototypes": "compares with class prototypes, and {} has none; train a network with classifier: cosine",
}


class Detector:
    """Base of all detectors.

    A constructor only stores its arguments under their own names; `fit` fills tensors that `state` returns.

    Attributes:
        fitted_on: What it was fitted on (frames, their fingerprints, the network), JSON-ready; None before.
        segmenter_identity: `Segmenter.identity` of the network it belongs to; None where it belongs to none.
        segmenter: The network that it scores where it owns one (``flags.owns_network``); None elsewhere.
        calibration: What its raw scores mean in false alarms, where that was found out; ``score`` stays raw.
        uses_gradients: ``score`` calls autograd, so it must not run under `torch.inference_mode`.
        maps_state: Its state may be larger than memory is to spare: loading leaves it in its file, mapped.
        memory_mapped: Its state lies in the file that it was loaded from.
        reads_head: It may read the network's first pass; else no more than what `Scene.feature_maps` gives, so that the
            classifier need not run.
        segments: It names a known class for every pixel, apart from its network, see `segment`.
    """

    registry_name: ClassVar[str]
    flags: ClassVar[Flags] = Flags()
    uses_gradients: ClassVar[bool] = False
    maps_state: ClassVar[bool] = False
    reads_head: ClassVar[bool] = True
    segments: ClassVar[bool] = False
    memory_mapped: bool = False
    segmenter: Segmenter | None = None
    calibration: SavedCalibration | None = None

    def __init__(self) -> None:
        self.fitted_on: dict[str, Any] | None = None
        self.segmenter_identity: dict[str, Any] | None = None

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """What this detector reads of a network, asked before any work.

        Args:
            segmenter: The network it would score; None where the user gave none.

        Raises:
            CompatibilityError: The network lacks something the detector cannot do without.
        """
        return self.ask(segmenter, Needs(logits=True))

    def ask(self, segmenter: Segmenter | None, needs: Needs) -> Needs:
        """Make sure that a network can give what this detector needs.

        Args:
            segmenter: The network; None is accepted, since there is nothing to ask.
            needs: What is needed.

        Returns:
            ``needs``.

        Raises:
            CompatibilityError: The network lacks it; the message says which networks have it.
            ConfigError: A feature map by that name does not exist.
        """
        if segmenter is not None:
            for name in needs.capabilities():
                if name not in segmenter.provides:
                    raise CompatibilityError(
                        f"{self.registry_name} {_LACKING[name].format(segmenter.title or segmenter.registry_name)}"
                    )
            for name in needs.features:
                if name not in segmenter.feature_info:
                    kind = f"feature of {segmenter.registry_name}"
                    raise unknown_name(kind, name, segmenter.feature_info, "segmenter.feature_info")
        return needs

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps of a scene whose images share one size.

        Args:
            scene: Images and the network's answers.

        Returns:
            ``(B, H, W)`` float32 at the images' own size, higher = more anomalous.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it scores")

    def assess(self, scene: Scene) -> FailurePrediction:
        """Where the network's own segmentation of a scene is likely wrong.

        What no known class explains is a place where a segmentation goes wrong, so that every detector has an answer:
        its anomaly map, and nothing on single classes. Methods made for this give more, see `FailureDetector`.

        Args:
            scene: Images of one size and the network's answers, as `score` is given them.

        Returns:
            Error map, higher = more likely wrong, and the expected quality of each class where it is known.
        """
        return FailurePrediction(self.score(scene))

    def pictures(self, scene: Scene) -> dict[str, Tensor]:
        """Pictures that explain its map, which `predict` writes beside it as ``<image>_<name>.png``.

        Args:
            scene: Images of one size and the network's answers, as `score` was given them.

        Returns:
            By name (lower-case letters, digits, underscores) ``(B, H, W, 3)`` uint8 RGB at the images' own size; most
            detectors have none.
        """
        del scene
        return {}

    def segment(self, scene: Scene) -> Tensor:
        """Its own class of every pixel, apart from its network's; asked for where ``segments`` is set.

        Args:
            scene: Images and the network's answers, as `score` is given them.

        Returns:
            ``(B, H, W)`` int64 at the images' own size, in the classes of the network that it scores.
        """
        del scene
        raise CompatibilityError(f"{self.registry_name} names no classes of its own; use its network's prediction")

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Estimate what the detector needs from in-distribution frames; most detectors need nothing.

        Args:
            segmenter: The network it will score.
            frames: In-distribution frames, read once; those that cannot be read are skipped and recorded.
            size: Working size ``(height, width)`` that overrides the segmenter's, as scoring will.
            progress: Called after each frame.

        Returns:
            Itself.

        Raises:
            CompatibilityError: This detector has nothing to fit, or the network lacks what it reads.
            DataError: No frame could be used.
        """
        del segmenter, frames, size, progress
        raise CompatibilityError(f"{self.registry_name} needs no fitting; use it as it is")

    def state(self) -> dict[str, Tensor]:
        """Fitted tensors by name, empty before `fit`; what `save_detector` writes."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: Tensors are missing or have the wrong shape.
        """
        if state:
            raise CompatibilityError(f"{self.registry_name} has no fitted state, got {sorted(state)}")

    def networks(self) -> dict[str, Segmenter]:
        """Networks that it carries, by their role (lower-case letters, digits, underscores); saved and loaded with it.

        Raises:
            ConfigError: They were named in an option and one of them cannot be loaded.
        """
        return {}

    def load_networks(self, networks: Mapping[str, Segmenter]) -> None:
        """Take back what `networks` returned; what a saved directory holds goes before what the options name.

        Raises:
            CompatibilityError: Networks are missing, too many, or do not fit.
        """
        if networks:
            raise CompatibilityError(f"{self.registry_name} carries no networks, got {sorted(networks)}")

    @property
    def is_fitted(self) -> bool:
        """Whether the detector can score."""
        return not self.needs_fit or bool(self.state())

    def require_fitted(self) -> None:
        """Refuse to go on before `fit`.

        Raises:
            CompatibilityError: The detector has not been fitted.
        """
        if not self.is_fitted:
            raise CompatibilityError(
                f"{self.registry_name} has not been fitted; run 'anomseg fit --detector {self.registry_name} ...' with "
                "the same options, and give the directory that it saves"
            )

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1] by construction, with the present options."""
        return self.flags.bounded

    @property
    def forward_passes(self) -> int:
        """Forward passes of the network per image, with the present options."""
        return self.flags.forward_passes

    @property
    def assess_passes(self) -> int:
        """The same, by `assess`."""
        return self.forward_passes

    @property
    def needs_fit(self) -> bool:
        """Whether it cannot score before `fit`, with the present options."""
        return self.flags.needs_fit

    @property
    def uses_anomaly_labels(self) -> bool:
        """Whether labelled anomalies choose or fit something, with the present options."""
        return self.flags.uses_anomaly_labels

    @property
    def warnings(self) -> list[str]:
        """What a reader of its maps and figures must know: what `fit` has found wanting, one line each."""
        return list((self.fitted_on or {}).get("warnings", ()))

    def get_params(self) -> dict[str, Any]:
        """Constructor arguments and their present values."""
        return {
            name: getattr(self, name) for name in inspect.signature(type(self).__init__).parameters if name != "self"
        }

    def card(self) -> dict[str, Any]:
        """What every result card says about this detector; the fingerprints of single frames stay in the saved form."""
        flags = {name: getattr(self.flags, name) for name in Flags.__dataclass_fields__}
        flags |= {
            name: getattr(self, name) for name in ("bounded", "forward_passes", "needs_fit", "uses_anomaly_labels")
        }
        fitted_on = {key: value for key, value in (self.fitted_on or {}).items() if key != "fingerprints"}
        carried = {role: network.identity() for role, network in self.networks().items()}
        more: dict[str, Any] = {"networks": carried} if carried else {}
        if self.calibration is not None:
            more["calibration"] = self.calibration.card()
        parameters = self.get_params()
        return {"name": self.registry_name, "parameters": parameters, **flags, "fitted_on": fitted_on or None, **more}

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.get_params().items())
        return f"{type(self).__name__}({options})"


class FailureDetector(Detector):
    """Base of detectors that are made to find wrong segmentations rather than unknown content; they give `assess`."""

    def assess(self, scene: Scene) -> FailurePrediction:
        """Where the network's segmentation is likely wrong; see `Detector.assess`."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it assesses")

    def score(self, scene: Scene) -> Tensor:
        """The error map of `assess` as an anomaly map."""
        error_map = self.assess(scene).error_map
        if error_map is None:
            raise CompatibilityError(f"{self.registry_name} judges whole images, not pixels, and gives no map")
        return error_map


class AnomalyFitted(Detector):
    """Base of detectors whose `fit` may also look at a few labelled anomalies."""

    @property
    def reads_frames(self) -> bool:
        """Whether `fit` reads in-distribution frames, with the present options."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it is fitted on")

    @property
    def reads_anomalies(self) -> bool:
        """Whether `fit` reads labelled anomalies, with the present options."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it is fitted on")

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        anomalies: Iterable[Frame] = (),
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Estimate what the detector needs; see `Detector.fit`.

        Args:
            segmenter: The network it will score.
            frames: In-distribution frames, read once.
            anomalies: Frames with anomaly labels, read once after these; a card lists them as fitted on.
            size: Working size that overrides the segmenter's.
            progress: Called after each frame of both kinds.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it is fitted")


def network_of(detector: Detector, segmenter: Segmenter | None) -> Segmenter | None:
    """The network that a detector scores: its own, or else the one given."""
    return detector.segmenter if detector.flags.owns_network else segmenter


def anomaly_maps(detector: Detector, scene: Scene) -> list[Tensor]:
    """Score a scene whose images may differ in size.

    Args:
        detector: A detector that is ready to score.
        scene: Any scene.

    Returns:
        One ``(H, W)`` float32 map an image, on the CPU, in the scene's order.

    Raises:
        CompatibilityError: The detector has not been fitted.
    """
    detector.require_fitted()
    maps: dict[int, Tensor] = {}
    with torch.no_grad() if detector.uses_gradients else torch.inference_mode():
        for rows, part in scene.by_image_size():
            scores = detector.score(part).detach().to("cpu", torch.float32).contiguous()
            maps.update(zip(rows, scores, strict=True))
    return [maps[row] for row in range(len(scene.frame_ids))]
