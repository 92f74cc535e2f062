"""The detector: profiles, the fit of ground and anomaly queries, and scoring at the network's input size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import AnomalyFitted, Progress
from anomseg.detectors.maskomaly.picking import Picked, merge_records, pick_queries
from anomseg.detectors.maskomaly.queries import queries_of
from anomseg.detectors.maskomaly.regions import anomaly_region, ground_region
from anomseg.detectors.maskomaly.resample import area_resize, to_image
from anomseg.detectors.options import fraction, one_of, whole
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Frame, Needs

Profile = Literal["zero_shot", "+ground", "+anomaly"]
PROFILES: tuple[Profile, ...] = ("zero_shot", "+ground", "+anomaly")


class Maskomaly(AnomalyFitted):
    """What no confident mask claims, less the borders between masks, in [0, 1] (Ackermann et al., BMVC 2023).

    ``weight S + (1 - weight) A``, see `anomseg.scores.maskomaly`. The profiles add up: ``"zero_shot"`` rejects and
    suppresses borders; ``"+ground"`` also rejects what ground queries claim, found by their overlap with road and
    sidewalk on labelled in-distribution frames; ``"+anomaly"`` also adds what anomaly queries claim, found by their
    overlap with a few labelled anomalies. Without anomaly queries A is 0 and no score exceeds ``weight``.

    Numbers of queries mean something for one checkpoint only: those that were fitted, or saved with a network, are
    refused on another. Given by hand they are taken as they are.

    Scoring is done at the size that the network reads, where the borders between masks are a network's own, and where
    memory does not grow with the picture; the map is then brought to the image by means over areas where it shrinks,
    else bilinearly.

    Args:
        profile: ``"zero_shot"``, ``"+ground"`` or ``"+anomaly"``; the latter two are fitted.
        ground: Ground queries given by hand, maybe none; not given, they are fitted where the profile has them.
        anomaly: Anomaly queries given by hand, likewise.
        reject: A known query rejects where its class probability is above this.
        border: Two known masks above this on a pixel are a border; 1 turns the rule off.
        weight: Of S against A.
        mask_threshold: In the fit, a mask is what lies above this.
        min_iou: In the fit, queries of a smaller mean IoU are left out.
        top_k: At most so many anomaly queries are picked.
        ground_k: At most so many ground queries are picked.
        crop_padding: Take the padding off before scoring. False squeezes the padded map into the image, by means over
            areas, as the published code does.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "maskomaly"
    flags: ClassVar[Flags] = Flags(bounded=True)

    def __init__(
        self,
        profile: Profile = "zero_shot",
        ground: list[int] | None = None,
        anomaly: list[int] | None = None,
        reject: float = 0.7,
        border: float = 0.1,
        weight: float = 0.6,
        mask_threshold: float = 0.9,
        min_iou: float = 0.25,
        top_k: int = 4,
        ground_k: int = 2,
        crop_padding: bool = True,
    ) -> None:
        super().__init__()
        self.profile = one_of("profile", profile, PROFILES)
        self.ground = _numbers("ground", ground)
        self.anomaly = _numbers("anomaly", anomaly)
        self.reject = fraction("reject", reject)
        self.border = fraction("border", border)
        self.weight = fraction("weight", weight)
        self.mask_threshold = fraction("mask_threshold", mask_threshold)
        self.min_iou = fraction("min_iou", min_iou)
        self.top_k = whole("top_k", top_k)
        self.ground_k = whole("ground_k", ground_k)
        self.crop_padding = crop_padding
        self._fitted: dict[str, Picked] = {}

    @property
    def reads_frames(self) -> bool:
        """Whether `fit` reads in-distribution frames: the profile has ground queries, and none are given by hand."""
        return self.profile != "zero_shot" and self.ground is None

    @property
    def reads_anomalies(self) -> bool:
        """Whether `fit` reads labelled anomalies: the profile has such queries, and none are given by hand."""
        return self.profile == "+anomaly" and self.anomaly is None

    @property
    def needs_fit(self) -> bool:
        """Whether it cannot score before `fit`: some queries are to be found."""
        return self.reads_frames or self.reads_anomalies

    @property
    def uses_anomaly_labels(self) -> bool:
        """Whether labelled anomalies choose queries, here or by whoever gave their numbers."""
        return self.reads_anomalies or bool(self.anomaly)

    @property
    def ground_queries(self) -> list[int]:
        """The ground queries in use, best first."""
        return self._in_use("ground", self.ground)

    @property
    def anomaly_queries(self) -> list[int]:
        """The anomaly queries in use, best first."""
        return self._in_use("anomaly", self.anomaly)

    def _in_use(self, kind: str, given: list[int] | None) -> list[int]:
        if given is not None:
            return given
        return self._fitted[kind].queries if kind in self._fitted else []

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Masks and their classes.

        Raises:
            CompatibilityError: The network has none, or its queries are not those that were picked or saved.
        """
        needs = self.ask(segmenter, Needs(logits=False, masks=True))
        picked = self.ground_queries or self.anomaly_queries
        if segmenter is not None and picked and self.segmenter_identity is not None:
            name, before = self.segmenter_identity.get("name"), str(self.segmenter_identity.get("sha256"))
            now = segmenter.fingerprint()
            if before != now:
                raise CompatibilityError(
                    f"maskomaly's queries are those of another checkpoint ({name}, sha256 {before[:12]}) than "
                    f"this one ({segmenter.title or segmenter.registry_name}, {now[:12]}), where "
                    "their numbers mean nothing; fit it again on this one, or name them: ground=[...];anomaly=[...]"
                )
        return needs

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        anomalies: Iterable[Frame] = (),
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Find the queries that the profile has and that are not given by hand; see `AnomalyFitted.fit`.

        Args:
            segmenter: The mask transformer.
            frames: In-distribution frames with class maps, for the ground; not read where it is not needed.
            anomalies: Frames with anomaly labels; likewise.
            size: Working size that overrides the segmenter's.
            progress: Called after each frame of both kinds.

        Raises:
            CompatibilityError: There is nothing to fit, no network, or one without queries.
            DataError: No frame of a kind could be used, or none shows what is looked for.
        """
        if not self.needs_fit:
            raise CompatibilityError(
                f"maskomaly needs no fitting with profile={self.profile}"
                + (" and its queries given by hand" if self.profile != "zero_shot" else "")
                + "; use it as it is, or choose profile=+ground or +anomaly"
            )
        if segmenter is None:
            raise CompatibilityError("maskomaly is fitted on the queries of a mask transformer; give a segmenter")
        self.ask(segmenter, Needs(logits=False, masks=True))
        options: dict[str, Any] = {
            "threshold": self.mask_threshold,
            "min_iou": self.min_iou,
            "crop": self.crop_padding,
            "size": size,
            "progress": progress,
        }
        found = {}
        if self.reads_frames:
            found["ground"] = pick_queries("ground", segmenter, frames, ground_region, top_k=self.ground_k, **options)
        if self.reads_anomalies:
            found["anomaly"] = pick_queries(
                "anomaly", segmenter, anomalies, anomaly_region, top_k=self.top_k, **options
            )
        self._fitted = {kind: picked for kind, (picked, _) in found.items()}
        self.fitted_on = merge_records(segmenter, {kind: record for kind, (_, record) in found.items()})
        self.segmenter_identity = self.fitted_on["segmenter"]
        return self

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size.

        Raises:
            CompatibilityError: It has not been fitted, a query is named that does not exist, or a graph is being
                recorded: one that follows these queries would be wrong for those of the next picture.
        """
        self.require_fitted()
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            raise CompatibilityError("maskomaly looks at a picture's queries first, which no fixed graph can hold")
        output = scene.output
        classes, masks = queries_of(output, ", ".join(scene.frame_ids))
        try:
            roles = scores.query_roles(classes, self.ground_queries, self.anomaly_queries, self.reject)
        except CompatibilityError as error:
            raise CompatibilityError(f"maskomaly: {error}") from error
        crop = output.input_size if self.crop_padding else None
        score = scores.maskomaly_resized(roles, masks, output.padded_size, crop, self.border, self.weight)
        resize = to_image if self.crop_padding else area_resize
        return resize(score.float(), scene.image_size).clamp(0, 1)

    def state(self) -> dict[str, Tensor]:
        """Of each kind that was fitted, the queries picked and the mean IoU of all, ``(Q,)``."""
        return {key: value for kind, picked in self._fitted.items() for key, value in picked.state(kind).items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: Tensors are missing, too many, or hold no numbers of queries.
        """
        kinds = [kind for kind, fitted in (("ground", self.reads_frames), ("anomaly", self.reads_anomalies)) if fitted]
        expected = [f"{kind}_{part}" for kind in kinds for part in ("queries", "iou")]
        if state and sorted(state) != sorted(expected):
            raise CompatibilityError(
                f"the state of maskomaly with profile={self.profile} holds {', '.join(expected) or 'nothing'}, "
                f"got {sorted(state)}"
            )
        self._fitted = {kind: Picked.from_state(kind, state) for kind in kinds} if state else {}

    def card(self) -> dict[str, Any]:
        """What every result card says: also the queries in use, and the profile that they amount to."""
        grounded = self.reads_frames or bool(self.ground)
        profile = "+anomaly" if self.uses_anomaly_labels else "+ground" if grounded else "zero_shot"
        queries = {"ground": self.ground_queries, "anomaly": self.anomaly_queries}
        return {**super().card(), "profile": profile, "queries": queries}


def _numbers(name: str, queries: list[int] | None) -> list[int] | None:
    if queries is None:
        return None
    if any(isinstance(query, bool) or not isinstance(query, int) or query < 0 for query in queries):
        raise ConfigError(f"{name} are numbers of queries, from 0: {name}=[19,24]; got {queries}")
    return list(dict.fromkeys(queries))
